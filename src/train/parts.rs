//! A series taken apart for people to look at: what STL makes of the buckets that were seen, whatever method scores them.

use super::decompose::{Decomposition, decompose};
use super::grid::{self, Grid};
use super::request::Request;
use crate::history::TrainingRow;
use dataflows::Time;
use std::collections::BTreeMap;

/// Trend and seasonal part by the start of the bucket, of the rows of one series in the fourteen days before `until`, gaps included; the residual is what
/// remains of a mean. Empty where STL says nothing: of less than two days, of nothing but anomalies, or of buckets that do not divide a day.
pub fn take_apart(rows: &[TrainingRow], until: Time, bucket_width: Time) -> BTreeMap<Time, [f64; 2]> {
    let Ok(period) = Request::period_of(bucket_width) else { return BTreeMap::new() };
    let request = Request { bucket_width, period, ..Request::new(until, until) };
    let grids = grid::regular(rows.to_vec(), &request).unwrap_or_default();
    let Some(grid) = grids.first().filter(|grid| grid.values.len() >= 2 * period && period >= 4) else { return BTreeMap::new() };
    let Some(Decomposition { trend, seasonal, .. }) = decompose(grid, &grid.values, &usual(grid)) else { return BTreeMap::new() };
    let part = |(i, (trend, seasonal)): (usize, (f64, f64))| (grid.time(i), [trend, seasonal]);
    trend.into_iter().zip(seasonal).enumerate().map(part).collect()
}

/// The buckets that were seen and are no anomalies.
fn usual(grid: &Grid) -> Vec<bool> {
    grid.values.iter().zip(&grid.anomalous).map(|(value, anomalous)| value.is_finite() && !anomalous).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::SeriesId;

    const HOUR: Time = 3_600_000;

    /// Twelve days by the hour: 50, a daily swing of 8, a climb of 1 a day; a spike of 100 on the tenth noon, and a gap.
    fn rows() -> Vec<TrainingRow> {
        let row = |i: i32| {
            let swing = 8.0 * (f64::from(i % 24) / 24.0 * std::f64::consts::TAU).sin();
            let spike = if i == 228 { 100.0 } else { 0.0 };
            let mean = 50.0 + f64::from(i) / 24.0 + swing + spike;
            TrainingRow { series: SeriesId(1), start: Time::from(i) * HOUR, mean, anomalous: i == 228 }
        };
        (0..288).filter(|i| !(100..110).contains(i)).map(row).collect()
    }

    #[test]
    fn the_parts_add_up_to_what_was_seen_and_a_spike_stays_in_the_residual() {
        let parts = take_apart(&rows(), 288 * HOUR, HOUR);
        assert_eq!(parts.len(), 288, "gaps have parts too");
        for row in rows() {
            let [trend, seasonal] = parts[&row.start];
            let (residual, day) = (row.mean - trend - seasonal, row.start as f64 / 86_400_000.0);
            assert!((trend - 50.0 - day).abs() < 1.0, "trend {trend} on day {day}");
            assert!((residual - if row.anomalous { 100.0 } else { 0.0 }).abs() < 1.5, "residual {residual} on day {day}");
        }
    }

    #[test]
    fn too_little_to_take_apart_has_no_parts() {
        assert!(take_apart(&[], 288 * HOUR, HOUR).is_empty());
        assert!(take_apart(&rows()[..40], 288 * HOUR, HOUR).is_empty(), "less than two days");
        assert!(take_apart(&rows(), 288 * HOUR, 7 * HOUR).is_empty(), "seven hours do not divide a day");
    }
}
