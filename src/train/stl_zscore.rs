//! The method `stl_zscore`: STL on the window, a level, a profile and one sigma; the baseline.

use super::calendar::weekend_correction;
use super::decompose::{OUTLIER_SIGMAS, ROUNDS, decompose};
use super::fit::rounded;
use super::grid::Grid;
use super::method::{Fit, Fitted};
use super::outlook::outlook;
use super::peers::Shape;
use super::profile::Profile;
use super::request::{Request, Skipped};
use super::seasons::Seasons;
use dataflows::{Method, MetricType, Model, Seasonal};
use serde_json::json;
use std::sync::Arc;

/// Sigma is at least this share of the series' standard deviation, and ...
const SIGMA_SHARE_MIN: f64 = 1e-3;

/// ... this share of its largest absolute value: what is less is arithmetic, not behaviour.
const SIGMA_RELATIVE_MIN: f64 = 1e-6;

/// The numbers of a model are rounded to a decimal step of at most this share of sigma, so that the document is small and readable.
const ROUNDING_SHARE: f64 = 1e-3;

/// See the file's head.
pub(super) struct StlZscore;

impl Fit for StlZscore {
    fn span_min(&self, request: &Request) -> usize {
        request.periods_min.max(2) * request.period
    }

    fn fit(&self, grid: &Grid, request: &Request, _shape: Option<&Shape>) -> Result<Fitted, Skipped> {
        check(grid, request)?;
        let usable = usable(grid);
        let correction = weekend_correction(grid, &usable);
        let values = adjusted(grid, correction.as_deref());
        let parts = decompose(grid, &values, &usable).ok_or_else(|| Skipped::Internal { problem: "STL failed".into() })?;
        let detrended: Vec<f64> = values.iter().zip(&parts.trend).map(|(value, trend)| value - trend).collect();
        let profile = Profile::of(&Seasons::of(grid, &detrended, &parts.kept));
        let outlook = outlook(grid, &values, &usable, &profile);
        let sigma = outlook.sigma.max(floor(grid));
        let model = model(grid, request, profile.all, correction, outlook.level, sigma);
        let parameters = json!({
            "window_seconds": request.window / 1000,
            "rounds": ROUNDS,
            "outlier_sigmas": OUTLIER_SIGMAS,
            "smoothing_buckets": profile.smoothing,
            "level_seasons": outlook.level_seasons,
        });
        Ok(Fitted { model, kept: parts.kept.iter().filter(|kept| **kept).count(), parameters })
    }
}

/// Whether anything can be said of the series at all by one scale.
pub(super) fn check(grid: &Grid, request: &Request) -> Result<(), Skipped> {
    let span = grid.values.len();
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let fill = grid.observed() as f64 / span as f64;
    if fill < request.fill_min {
        return Err(Skipped::MostlyEmpty { fill, needed: request.fill_min });
    }
    let value = grid.values[0];
    if grid.values.iter().all(|other| other.is_nan() || *other == value) {
        return Err(Skipped::Constant { value });
    }
    Ok(())
}

/// The buckets with samples that history does not call anomalous. Where most of a whole season is called so, it is believed to be
/// the series' new behaviour: masked for ever, a level shift would be an alarm for ever.
fn usable(grid: &Grid) -> Vec<bool> {
    let observed: Vec<bool> = grid.values.iter().map(|value| value.is_finite()).collect();
    let (mut seen, mut flagged) = (0_usize, 0_usize);
    let mut usable: Vec<bool> = observed.iter().zip(&grid.anomalous).map(|(seen, flag)| *seen && !flag).collect();
    for i in 0..observed.len() {
        seen += usize::from(observed[i]);
        flagged += usize::from(observed[i] && grid.anomalous[i]);
        let first = (i + 1).saturating_sub(grid.period);
        if let Some(left) = first.checked_sub(1) {
            seen -= usize::from(observed[left]);
            flagged -= usize::from(observed[left] && grid.anomalous[left]);
        }
        if i + 1 >= grid.period && 2 * flagged > seen {
            usable[first..=i].copy_from_slice(&observed[first..=i]);
        }
    }
    usable
}

/// The values, less the correction as far as weekends go.
fn adjusted(grid: &Grid, correction: Option<&[f64]>) -> Vec<f64> {
    let Some(correction) = correction else { return grid.values.clone() };
    let value = |(i, value): (usize, &f64)| value - grid.calendar.rest_share(grid.time(i)) * correction[grid.phase(i)];
    grid.values.iter().enumerate().map(value).collect()
}

/// The least sigma that means something: the rounding error of the smallest step the series takes (a uniform variable's, step / √12), and
/// small shares of its spread and size.
pub(super) fn floor(grid: &Grid) -> f64 {
    let mut values: Vec<f64> = grid.values.iter().copied().filter(|value| value.is_finite()).collect();
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let n = values.len() as f64;
    let mean = values.iter().map(|value| value / n).sum::<f64>();
    let deviation = values.iter().map(|value| (value - mean).powi(2) / n).sum::<f64>().sqrt();
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    values.sort_unstable_by(f64::total_cmp);
    let steps = values.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0);
    let step = steps.fold(f64::INFINITY, f64::min);
    let resolution = if step.is_finite() { step / 12_f64.sqrt() } else { 0.0 };
    resolution.max(SIGMA_SHARE_MIN * deviation).max(SIGMA_RELATIVE_MIN * largest).max(f64::MIN_POSITIVE)
}

/// The model, its numbers rounded, its weekday profile with mean zero.
fn model(grid: &Grid, request: &Request, mut weekday: Vec<f64>, correction: Option<Vec<f64>>, level: f64, sigma: f64) -> Model {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let mean = weekday.iter().sum::<f64>() / weekday.len() as f64;
    weekday.iter_mut().for_each(|value| *value -= mean);
    let round = |value: f64| rounded(value, sigma * ROUNDING_SHARE);
    let profile = |values: &[f64]| values.iter().map(|value| round(*value)).collect();
    let seasonal = match correction {
        None => Seasonal::Daily(profile(&weekday)),
        Some(correction) => {
            let weekend: Vec<f64> = weekday.iter().zip(&correction).map(|(value, more)| value + more).collect();
            Seasonal::Weekly { weekday: profile(&weekday), weekend: profile(&weekend) }
        }
    };
    Model {
        bucket_width: grid.width,
        trained_from: grid.start,
        trained_until: request.until(),
        level: round(level + mean),
        sigma: rounded(sigma, sigma * ROUNDING_SHARE),
        seasonal,
        calendar: Arc::clone(&grid.calendar),
        method: Method::StlZscore,
        metric_type: MetricType::Gauge,
        cadence: dataflows::Cadence::Steady,
    }
}
