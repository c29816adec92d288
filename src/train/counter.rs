//! Counters: numbers that only grow, but for resets.

use super::grid::Grid;
use dataflows::MetricType;

/// A fall below this share of the value before is a reset: the process began anew, and a bucket holds some of what it has counted since. ...
const RESET_SHARE: f64 = 0.5;

/// ...and no more than this share of the buckets may be one. Every other fall makes a series a gauge.
const RESETS_MAX: f64 = 0.01;

/// A counter grows in this share of its buckets at least: of what hardly ever moves, nobody can say.
const GROWTH_MIN: f64 = 0.1;

/// Fewer buckets say nothing.
const BUCKETS_MIN: usize = 100;

/// What the history of a series looks like.
pub(super) fn metric_type(grid: &Grid) -> MetricType {
    let values: Vec<f64> = grid.values.iter().copied().filter(|value| value.is_finite()).collect();
    let (mut grown, mut resets) = (0_usize, 0_usize);
    let is_reset = |before: f64, after: f64| after >= 0.0 && after < RESET_SHARE * before;
    let mut place = 1;
    while let (Some(before), Some(now)) = (values.get(place - 1), values.get(place)) {
        if now >= before {
            grown += usize::from(now > before);
        } else if is_reset(*before, *now) {
            resets += 1;
        } else if *now >= 0.0 && values.get(place + 1).is_some_and(|next| next < now && is_reset(*before, *next)) {
            // Late in its bucket: the mean of that one is still high, and the next one is low.
            (resets, place) = (resets + 1, place + 1);
        } else {
            return MetricType::Gauge;
        }
        place += 1;
    }
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let share = |part: usize| part as f64 / values.len().max(1) as f64;
    let is_counter = values.len() >= BUCKETS_MIN && share(grown) >= GROWTH_MIN && share(resets) <= RESETS_MAX;
    if is_counter { MetricType::Counter } else { MetricType::Gauge }
}

/// The growth per bucket since the bucket before that has samples, in the place of the values: NaN at the first, and at a reset.
pub(super) fn growth(grid: &Grid) -> Vec<f64> {
    let mut last: Option<(usize, f64)> = None;
    let grown = grid.values.iter().enumerate().map(|(place, value)| {
        if !value.is_finite() {
            return f64::NAN;
        }
        let before = last.replace((place, *value));
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        before.map_or(f64::NAN, |(at, before)| if *value < before { f64::NAN } else { (value - before) / (place - at) as f64 })
    });
    grown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::SeriesId;
    use std::sync::Arc;

    fn grid(values: Vec<f64>) -> Grid {
        let anomalous = vec![false; values.len()];
        Grid {
            series: SeriesId(1),
            start: 0,
            width: 300_000,
            period: 288,
            values,
            anomalous,
            not_finite: false,
            metrics: 1,
            broken_at: None,
            input_hash: 0,
            calendar: Arc::default(),
        }
    }

    fn of(value: impl Fn(usize) -> f64) -> MetricType {
        metric_type(&grid((0..2000).map(value).collect()))
    }

    #[test]
    fn what_only_grows_but_for_resets_is_a_counter() {
        assert_eq!(of(|i| (i % 700) as f64 * 3.0), MetricType::Counter);
        assert_eq!(of(|i| (i / 5) as f64), MetricType::Counter);
        // Failed once: what began anew late in a bucket left a mean of seven tenths.
        assert_eq!(of(|i| if i == 1400 { 0.7 * 1399.0 } else { (i % 1401) as f64 }), MetricType::Counter);
        for (what, value) in [
            ("constant", (|_| 5.0) as fn(usize) -> f64),
            ("wave", |i| (i as f64 / 40.0).sin()),
            ("sawtooth", |i| (i % 20) as f64),
            ("a step", |i| if i < 1000 { 1.0 } else { 2.0 }),
            ("growth with small falls", |i| i as f64 - if i % 100 == 99 { 3.0 } else { 0.0 }),
        ] {
            assert_eq!(of(value), MetricType::Gauge, "{what}");
        }
    }

    #[test]
    fn growth_is_per_bucket_over_a_gap_and_unknown_at_a_reset() {
        let grown = growth(&grid(vec![f64::NAN, 10.0, 13.0, f64::NAN, 17.0, 4.0, 5.0]));
        assert!(grown[..2].iter().chain([&grown[3], &grown[5]]).all(|value| value.is_nan()));
        assert_eq!((grown[2], grown[4], grown[6]), (3.0, 2.0, 1.0));
    }
}
