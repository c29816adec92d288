//! What a model promises of deviations to come, and what of a history still counts after a promise was broken.

use super::grid::Grid;
use super::request::Request;
use super::robust::interpolated_quantile;
use dataflows::calibration::DEVIATION_MAX;
use dataflows::{Promise, Season, Tally, Time, Track, Tracker, Watch};
use std::sync::Arc;

const DAY: Time = 86_400_000;

/// A broken promise is noticed about so long after it was broken: the average that shows it is over a day.
const NOTICE: Time = DAY / 2;

/// Scales take half a day of buckets, and no fewer than these, after a broken promise as at the beginning.
pub(super) const BUCKETS_MIN: usize = 100;

/// What is high among averages of a day, as a quantile of them...
const HIGH: f64 = 0.95;

/// ...and at least the mean and this share of it, over the root of the days that there are: a few days do not know yet what is high.
const HIGH_SHARE: f64 = 0.5;

/// The start of the first bucket that the scales are taken from, for a series whose promise was found broken at a time.
pub(super) fn recent_from(broken_at: Time, request: &Request) -> Time {
    let buckets = Time::try_from((request.period / 2).max(BUCKETS_MIN)).unwrap_or(Time::MAX / 2);
    let latest = request.until() - buckets.saturating_mul(request.bucket_width);
    (broken_at - NOTICE).min(latest)
}

/// The grid from a time on, where that alone is enough for a season: then what came before need not be looked at at all.
pub(super) fn cut(grid: &Grid, recent: Time) -> Option<Grid> {
    let places = usize::try_from((recent - grid.start).div_euclid(grid.width)).ok()?;
    let first = (places..grid.values.len()).find(|place| grid.values[*place].is_finite())?;
    let is_enough = grid.values.len() - first >= 2 * grid.period;
    is_enough.then(|| Grid {
        start: grid.time(first),
        values: grid.values[first..].to_vec(),
        anomalous: grid.anomalous[first..].to_vec(),
        ..grid.clone()
    })
}

/// Folds a history as if it came bucket by bucket: the state after it is the one that the model starts from, and what deviations were like from the
/// bucket number `from` on is its promise. Before it, levels are still being found, or the series was another.
pub(super) fn prime(tracker: &mut Tracker, buckets: &[(Time, f64, Season)], from: usize, width: Time) {
    // The average is over a day. It begins with what is to come, or the first days would look like a drift.
    let (_, ahead, _) = fold(tracker, buckets, from, width, 1.0);
    let (track, tally, squares) = fold(tracker, buckets, from, width, ahead.mean_square());
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let days = (f64::from(tally.scored) * width as f64 / DAY as f64).max(0.1);
    let least = tally.mean_square() * (1.0 + HIGH_SHARE / days.sqrt());
    let high = interpolated_quantile(&squares, HIGH).unwrap_or(1.0).max(least);
    let promise = Some(Arc::new(Promise::of(&tally, high)));
    let watch = Watch { promise, tally: Tally::default(), drifting_since: None, broken_at: None, ..track.watch };
    tracker.primed = Track { watch, ..track };
}

/// One run over the history: the state after it, the buckets from `from` on in numbers, and the average after each of them, which is `square` before.
fn fold(tracker: &Tracker, buckets: &[(Time, f64, Season)], from: usize, width: Time, square: f64) -> (Track, Tally, Vec<f64>) {
    let (mut tally, mut squares) = (Tally::default(), Vec::with_capacity(buckets.len().saturating_sub(from)));
    let mut track = tracker.primed.clone();
    for (place, (start, value, season)) in buckets.iter().enumerate() {
        let reading = track.read(tracker, *start, width, *value, *season);
        if place == from {
            track.watch.square = square.min(DEVIATION_MAX * DEVIATION_MAX);
        }
        if place >= from {
            tally.add(reading.deviation(), track.watch.last, reading.z_score());
        }
        track = track.after(&reading, tracker, width);
        if place >= from {
            squares.push(track.watch.square);
        }
    }
    (track, tally, squares)
}
