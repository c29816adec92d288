//! The method `seasonal_naive`: what is expected is the last season before training ended, again and again, and sigma the scale of how one season differed
//! from the one before (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, 5.2).
//!
//! It is there to be beaten: a method that does no better is not worth its arithmetic.

use super::fit::rounded;
use super::grid::Grid;
use super::method::{Fit, Fitted};
use super::peers::Shape;
use super::request::{Request, Skipped};
use super::robust::scale;
use super::stl_zscore::{check, floor};
use dataflows::{Method, MetricType, Model, Seasonal};
use serde_json::json;
use std::sync::Arc;

/// Numbers are rounded to a step of at most this share of sigma, so that the document is small and readable.
const ROUNDING_SHARE: f64 = 1e-3;

/// See the file's head.
pub(super) struct SeasonalNaive;

impl Fit for SeasonalNaive {
    fn span_min(&self, request: &Request) -> usize {
        2 * request.period
    }

    fn fit(&self, grid: &Grid, request: &Request, _shape: Option<&Shape>) -> Result<Fitted, Skipped> {
        check(grid, request)?;
        let season = last_season(grid);
        let pairs = grid.values.iter().zip(grid.values.iter().skip(grid.period));
        let errors = pairs.map(|(before, after)| after - before).filter(|error| error.is_finite());
        let sigma = scale(errors).max(floor(grid));
        let step = sigma * ROUNDING_SHARE;
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let level = rounded(season.iter().sum::<f64>() / season.len() as f64, step);
        let model = Model {
            bucket_width: grid.width,
            trained_from: grid.start,
            trained_until: request.until(),
            level,
            sigma: rounded(sigma, step),
            seasonal: Seasonal::Daily(season.iter().map(|value| rounded(value - level, step)).collect()),
            calendar: Arc::clone(&grid.calendar),
            method: Method::SeasonalNaive,
            metric_type: MetricType::Gauge,
            cadence: dataflows::Cadence::Steady,
        };
        Ok(Fitted { model, kept: grid.observed(), parameters: json!({ "window_seconds": request.window / 1000 }) })
    }
}

/// The last value of each phase; where a phase has none at all, that of the phase before it.
fn last_season(grid: &Grid) -> Vec<f64> {
    let mut season = vec![f64::NAN; grid.period];
    for (i, value) in grid.values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        season[grid.phase(i)] = *value;
    }
    let mut before = season.iter().rev().copied().find(|value| value.is_finite()).unwrap_or(0.0);
    for value in &mut season {
        before = if value.is_finite() { *value } else { before };
        *value = before;
    }
    season
}
