//! From the grid of one series to its model, by the method of its metric.

use super::cadence::{cadence, of_young};
use super::grid::Grid;
use super::method::Fitted;
use super::peers::Shape;
use super::request::{Request, Skipped};
use crate::models::{Provenance, Trained};
use crate::series::SeriesName;
use dataflows::{Model, Warming};
use serde_json::json;
use std::sync::Arc;

/// Fits the model of one series; with the shape of its peers where it is to borrow from them.
pub(super) fn fit_grid(series: &SeriesName, grid: &Grid, request: &Request, shape: Option<&Shape>) -> Result<Trained, Skipped> {
    let method = request.methods.of(&series.metric).implementation();
    let (seen, needed) = (grid.values.len(), method.span_min(request));
    if grid.not_finite {
        return Err(Skipped::NotFinite);
    }
    if seen < needed {
        return Err(Skipped::Warming { seen, needed });
    }
    let mut fitted = method.fit(grid, request, shape)?;
    fitted.model.cadence = cadence(grid);
    let provenance = provenance(grid, request, &fitted);
    Ok(Trained { series: series.clone(), model: Arc::new(fitted.model), provenance })
}

/// What is said of a series that is too young for a model.
pub(super) fn warming(series: &SeriesName, grid: &Grid, request: &Request, (seen, needed): (usize, usize)) -> Trained {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let warming = Warming { seen: count(seen), needed: count(needed), as_of: request.until() };
    let model = Model { cadence: of_young(grid), ..Model::warming(grid.width, grid.start, warming) };
    let fitted = Fitted { model, kept: grid.observed(), parameters: json!({}) };
    let provenance = provenance(grid, request, &fitted);
    Trained { series: series.clone(), model: Arc::new(fitted.model), provenance }
}

/// The nearest multiple of the largest power of ten that is at most `step`; the value itself where that is out of reach.
pub(super) fn rounded(value: f64, step: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation)] // the exponent of a double
    let digits = -(step.log10().floor()) as i32;
    let result = if digits >= 0 {
        let factor = 10_f64.powi(digits);
        (value * factor).round() / factor
    } else {
        let factor = 10_f64.powi(-digits);
        (value / factor).round() * factor
    };
    // Adding 0 turns -0 into 0, which reads better.
    if result.is_finite() { result + 0.0 } else { value }
}

fn provenance(grid: &Grid, request: &Request, fitted: &Fitted) -> Provenance {
    let observed = grid.observed();
    let all = (request.until() - grid.start) / grid.width;
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let fill = observed as f64 / all.max(1) as f64;
    Provenance {
        method: fitted.model.method.name().into(),
        parameters: fitted.parameters.as_object().cloned().unwrap_or_default(),
        buckets: u32::try_from(observed).unwrap_or(u32::MAX),
        masked: u32::try_from(observed - fitted.kept).unwrap_or(u32::MAX),
        fill: (fill * 1e4).round() / 1e4,
        input_hash: format!("{:016x}", grid.input_hash),
        trained_at: request.trained_at,
    }
}
