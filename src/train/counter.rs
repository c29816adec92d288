//! Counters: numbers that only grow, but for resets; and what the series of one metric say of its type together.

use super::grid::Grid;
use crate::series::SeriesName;
use dataflows::MetricType;
use std::collections::BTreeMap;

/// A fall below this share of the value before is a reset: the process began anew, and a bucket holds some of what it has counted since. ...
const RESET_SHARE: f64 = 0.5;

/// ...and no more than this share of the buckets may be one. Every other fall makes a series a gauge.
const RESETS_MAX: f64 = 0.01;

/// A counter grows in this share of its buckets at least: of what hardly ever moves, nobody can say.
const GROWTH_MIN: f64 = 0.1;

/// Fewer buckets say nothing.
const BUCKETS_MIN: usize = 100;

/// So many series must fall at least for a metric to be a gauge, since one may have begun anew twice at once.
const FALL_MIN: usize = 2;

/// What the history of a series says of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It falls, and not to begin anew: a gauge.
    Falls,
    /// It begins anew more often than a process does; where that is one that does not come up, it says nothing of the others.
    Restarts,
    /// It grows, and never falls but to begin anew.
    Grows,
    /// It hardly ever moves, or there is too little of it.
    Still,
}

impl Evidence {
    /// What a history looks like.
    pub(super) fn of(grid: &Grid) -> Self {
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
                return Self::Falls;
            }
            place += 1;
        }
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let share = |part: usize| part as f64 / values.len().max(1) as f64;
        match (share(resets) <= RESETS_MAX, share(grown) >= GROWTH_MIN && values.len() >= BUCKETS_MIN) {
            (true, true) => Self::Grows,
            (true, false) => Self::Still,
            (false, _) => Self::Restarts,
        }
    }

    /// The type of a series of which nothing else is known. What hardly ever moves is a gauge: a counter's fall would not be seen.
    pub(super) fn alone(self) -> MetricType {
        if self == Self::Grows { MetricType::Counter } else { MetricType::Gauge }
    }
}

/// How many series say what, by entity type and metric.
#[derive(Debug, Default)]
pub(super) struct Votes(BTreeMap<(String, String), Ballot>);

#[derive(Clone, Copy, Debug, Default)]
struct Ballot {
    fall: usize,
    grow: usize,
}

impl Votes {
    /// Counts a series.
    pub(super) fn add(&mut self, series: &SeriesName, evidence: Evidence) {
        let ballot = self.0.entry((series.entity_type.clone(), series.metric.clone())).or_default();
        match evidence {
            Evidence::Falls => ballot.fall += 1,
            Evidence::Grows => ballot.grow += 1,
            Evidence::Restarts | Evidence::Still => {}
        }
    }

    /// The type of a series among the others of its metric: a disk that never fell in two weeks is no counter, where most others did.
    pub(super) fn metric_type(&self, series: &SeriesName, evidence: Evidence) -> MetricType {
        let ballot = self.0.get(&(series.entity_type.clone(), series.metric.clone())).copied().unwrap_or_default();
        if ballot.fall >= FALL_MIN && ballot.fall > ballot.grow { MetricType::Gauge } else { evidence.alone() }
    }
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
            metric_type: None,
            broken_at: None,
            input_hash: 0,
            calendar: Arc::default(),
        }
    }

    fn of(value: impl Fn(usize) -> f64) -> MetricType {
        Evidence::of(&grid((0..2000).map(value).collect())).alone()
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
    fn where_most_series_of_a_metric_fall_all_are_gauges() {
        use Evidence::{Falls, Grows, Restarts, Still};
        let series = |metric: &str, i: usize| SeriesName::new("host", &format!("web-{i}"), metric);
        let typed = |counts: [usize; 3], evidence: Evidence| {
            let mut votes = Votes::default();
            let all = [Falls, Grows, Restarts].into_iter().zip(counts).flat_map(|(evidence, n)| std::iter::repeat_n(evidence, n));
            all.enumerate().for_each(|(i, evidence)| votes.add(&series("disk.used", i), evidence));
            // Another metric has no say.
            (0..9).for_each(|i| votes.add(&series("uptime", i), Falls));
            votes.metric_type(&series("disk.used", 0), evidence)
        };
        // Failed once: 8 of 20 disks that never fell in two weeks were judged by their growth.
        assert_eq!(typed([12, 8, 0], Grows), MetricType::Gauge);
        assert_eq!(typed([1, 1, 0], Grows), MetricType::Counter, "one began anew twice at once");
        assert_eq!(typed([5, 16, 0], Grows), MetricType::Counter);
        assert_eq!(typed([1, 9, 12], Grows), MetricType::Counter, "a bad release is no evidence");
        for evidence in [Falls, Grows, Restarts, Still] {
            assert_eq!(typed([0, 3, 0], evidence), evidence.alone(), "{evidence:?}");
        }
    }

    #[test]
    fn growth_is_per_bucket_over_a_gap_and_unknown_at_a_reset() {
        let grown = growth(&grid(vec![f64::NAN, 10.0, 13.0, f64::NAN, 17.0, 4.0, 5.0]));
        assert!(grown[..2].iter().chain([&grown[3], &grown[5]]).all(|value| value.is_nan()));
        assert_eq!((grown[2], grown[4], grown[6]), (3.0, 2.0, 1.0));
    }
}
