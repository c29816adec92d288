//! From the grid of one series to its model, by the method of its metric.

use super::grid::Grid;
use super::method::Fitted;
use super::request::{Request, Skipped};
use crate::models::{Provenance, Trained};
use crate::series::SeriesName;

/// Fits the model of one series.
pub(super) fn fit_grid(series: &SeriesName, grid: &Grid, request: &Request) -> Result<Trained, Skipped> {
    let method = request.methods.of(&series.metric).implementation();
    let (span, needed) = (grid.values.len(), method.span_min(request));
    if grid.not_finite {
        return Err(Skipped::NotFinite);
    }
    if span < needed {
        return Err(Skipped::TooShort { span, needed });
    }
    let fitted = method.fit(&series.metric, grid, request)?;
    let provenance = provenance(grid, request, &fitted);
    Ok(Trained { series: series.clone(), model: fitted.model, provenance })
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
