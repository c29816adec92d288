//! A small model for the tests of this folder.

use super::{Provenance, Trained};
use crate::series::SeriesName;
use dataflows::{Calendar, Method, MetricType, Model, Seasonal, Time};
use std::sync::Arc;

/// A model of `server:ENTITY:cpu_usage_percent`, with a period of 4 and a weekend.
pub(super) fn trained(entity: &str, trained_until: Time, level: f64) -> Trained {
    let seasonal = Seasonal::Weekly { weekday: vec![0.1, 0.2, -0.3, 1.0 / 3.0], weekend: vec![-1.0, 0.0, 1e-7, 2.0] };
    let offsets = vec![(0, 3_600_000), (1_774_746_000_000, 7_200_000)];
    let model = Model {
        bucket_width: 300_000,
        trained_from: 0,
        trained_until,
        level,
        sigma: 2.0,
        seasonal,
        calendar: Arc::new(Calendar { zone: "Europe/Berlin".into(), offsets, holidays: vec![20_812] }),
        method: Method::StlZscore,
        metric_type: MetricType::Gauge,
        cadence: dataflows::Cadence::Steady,
    };
    let parameters = serde_json::json!({ "rounds": 3, "outlier_sigmas": 4.5 }).as_object().cloned().unwrap_or_default();
    let provenance = Provenance {
        method: "stl_zscore".into(),
        parameters,
        buckets: 4000,
        masked: 3,
        fill: 0.9921,
        input_hash: "00ff00ff00ff00ff".into(),
        trained_at: 1_769_000_000_123,
    };
    Trained { series: SeriesName::new("server", entity, "cpu_usage_percent"), model: Arc::new(model), provenance }
}
