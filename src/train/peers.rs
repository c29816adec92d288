//! What the shape of a day is among the peers of a series, and what a young series borrows of it.
//!
//! A series with less than three days of history has too little of a profile of its own. Servers that do the same have days of the same shape, though not
//! of the same size: so the shape comes from the others, the size from the series itself, and the more it has seen the less it borrows.

use super::robust::mad;
use crate::series::SeriesName;
use dataflows::tracking::clip;
use dataflows::{Method, MetricType, Model, Seasonal};
use std::collections::BTreeMap;

/// Fewer peers than these have no shape in common: two may differ, and who is right?
const PEERS_MIN: usize = 3;

/// A series borrows all of its profile up to so many periods of history, and nothing from so many on.
const OWN: (f64, f64) = (1.0, 3.0);

/// A deviation counts for at most so many scales where the size is found.
const OUTLIER: f64 = 3.0;

/// The sum of the profiles of some series, each in its own scales, so that its size does not matter; and how many there are.
#[derive(Clone, Debug)]
struct Sum {
    weekday: Vec<f64>,
    weekend: Vec<f64>,
    series: usize,
    /// Those with a profile for weekends.
    weekly: usize,
}

/// The shapes of all entity types, metrics and metric types: one each, however many series there are.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<(String, String, MetricType), Sum>);

/// What the days of the peers of a series look like.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) weekday: Vec<f64>,
    /// Where most of them have a profile for weekends.
    pub(super) weekend: Option<Vec<f64>>,
    /// How many they are.
    pub(super) series: usize,
}

/// Whether a history of so many buckets borrows from peers.
pub(super) fn is_young(span: usize, period: usize) -> bool {
    own_share(span, period) < 1.0
}

/// How much of its profile a series with so many buckets has of its own, 0 to 1.
pub(super) fn own_share(span: usize, period: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let periods = span as f64 / period as f64;
    ((periods - OWN.0) / (OWN.1 - OWN.0)).clamp(0.0, 1.0)
}

impl Peers {
    /// Counts a model of a series that is not young. The sums are the same to the last bit for the same order of series only.
    pub(super) fn add(&mut self, series: &SeriesName, model: &Model) {
        let Method::SeasonalLevel(tracker) = &model.method else { return };
        let (weekday, weekend, weekly) = match &model.seasonal {
            Seasonal::Daily(profile) => (profile, profile, 0),
            Seasonal::Weekly { weekday, weekend } => (weekday, weekend, 1),
        };
        let empty = || Sum { weekday: vec![0.0; weekday.len()], weekend: vec![0.0; weekday.len()], series: 0, weekly: 0 };
        let sum = self.0.entry((series.entity_type.clone(), series.metric.clone(), model.metric_type)).or_insert_with(empty);
        for (sum, profile) in [(&mut sum.weekday, weekday), (&mut sum.weekend, weekend)] {
            sum.iter_mut().zip(profile).for_each(|(sum, value)| *sum += value / tracker.slow_scale);
        }
        (sum.series, sum.weekly) = (sum.series + 1, sum.weekly + weekly);
    }

    /// The shape for a series; `None` with too few peers.
    pub(super) fn shape(&self, series: &SeriesName, metric_type: MetricType) -> Option<Shape> {
        let sum = self.0.get(&(series.entity_type.clone(), series.metric.clone(), metric_type)).filter(|sum| sum.series >= PEERS_MIN)?;
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let mean = |sums: &[f64]| sums.iter().map(|value| value / sum.series as f64).collect::<Vec<f64>>();
        let is_weekly = 2 * sum.weekly > sum.series;
        // Where few have a profile for weekends, weekdays speak for all days: they are the more.
        Some(Shape { weekday: mean(&sum.weekday), weekend: is_weekly.then(|| mean(&sum.weekend)), series: sum.series })
    }
}

/// By how much the shape must be multiplied to come to a series: least squares of its deviations from its own mean of late on those of the shape, wild ones
/// clipped; never below 0. What both are compared with moves, so that a drift in one day is not taken for half a wave.
pub(super) fn amplitude(values: &[f64], shape: &[f64], window: usize) -> f64 {
    let (values, shape) = (less_the_mean(values, window), less_the_mean(shape, window));
    let product = |values: &[f64]| values.iter().zip(&shape).map(|(value, shape)| value * shape).sum::<f64>();
    let square = product(&shape);
    if square <= 0.0 {
        return 0.0;
    }
    let rough = (product(&values) / square).max(0.0);
    let left: Vec<f64> = values.iter().zip(&shape).map(|(value, shape)| value - rough * shape).collect();
    let most = OUTLIER * mad(&left);
    let clipped: Vec<f64> = left.iter().zip(&shape).map(|(left, shape)| clip(*left, most) + rough * shape).collect();
    (product(&clipped) / square).max(0.0)
}

/// The values, less the mean of so many around each.
fn less_the_mean(values: &[f64], window: usize) -> Vec<f64> {
    let mut sums = vec![0.0; values.len() + 1];
    (0..values.len()).for_each(|i| sums[i + 1] = sums[i] + values[i]);
    let around = |i: usize| {
        let (from, until) = (i.saturating_sub(window / 2), (i + window - window / 2).min(values.len()));
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let n = (until - from) as f64;
        (sums[until] - sums[from]) / n
    };
    values.iter().enumerate().map(|(i, value)| value - around(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(i: usize) -> f64 {
        (i as f64 / 288.0 * std::f64::consts::TAU).sin()
    }

    #[test]
    fn half_a_day_tells_the_size_of_a_shape_past_a_drift_and_a_spike() {
        let shape: Vec<f64> = (0..144).map(|i| 2.0 * wave(i) + wave(6 * i)).collect();
        let mut values: Vec<f64> = shape.iter().enumerate().map(|(i, value)| 40.0 + 0.01 * i as f64 + 3.0 * value).collect();
        values[70] += 100.0;
        let found = amplitude(&values, &shape, 288);
        assert!((2.5..3.5).contains(&found), "{found} instead of 3");
        let opposite: Vec<f64> = values.iter().map(|value| -value).collect();
        assert_eq!(amplitude(&opposite, &shape, 288), 0.0);
        assert_eq!(amplitude(&values, &[0.0; 144], 288), 0.0);
    }

    #[test]
    fn the_share_of_its_own_grows_from_the_first_day_to_the_third() {
        let shares = [144, 288, 576, 864, 4032].map(|span| own_share(span, 288));
        assert_eq!(shares, [0.0, 0.0, 0.5, 1.0, 1.0]);
    }
}
