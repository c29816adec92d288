//! When records are due: backfill ticks, then live ticks, then perhaps an end.

use super::entity::BUCKET_MS;
use dataflows::Time;

/// Times as a function of tick numbers. All entities are measured at each tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    /// The time of tick 0, a multiple of the bucket.
    pub(super) first: Time,
    /// Ticks of the backfill, one per bucket that ends by `start`.
    pub(super) backfill: i64,
    /// Where the live part begins, a whole second.
    pub(super) start: Time,
    /// Milliseconds between live ticks.
    pub(super) interval: i64,
    /// All ticks, where the live part has an end.
    pub(super) total: Option<i64>,
}

impl Timeline {
    /// `backfill` and `live` are in milliseconds; the times of the backfill are those of whole buckets between its beginning and `start`.
    pub(super) fn new(start: Time, backfill: i64, interval: i64, live: Option<i64>) -> Self {
        let start = start.div_euclid(1000) * 1000;
        let first = (start - backfill + BUCKET_MS - 1).div_euclid(BUCKET_MS);
        let ticks = (start.div_euclid(BUCKET_MS) - first).max(0);
        let total = live.map(|live| ticks + (live + interval - 1) / interval);
        Self { first: first * BUCKET_MS, backfill: ticks, start, interval, total }
    }

    /// The event time of a tick; for a backfill tick the start of the bucket that it stands for.
    pub(super) fn time(&self, tick: i64) -> Time {
        if tick < self.backfill { self.first + tick * BUCKET_MS } else { self.start + (tick - self.backfill) * self.interval }
    }

    /// How many ticks are due at `now`, in the live part.
    pub(super) fn due(&self, now: Time) -> i64 {
        let live = if now < self.start { 0 } else { now.saturating_sub(self.start) / self.interval + 1 };
        let due = self.backfill.saturating_add(live);
        self.total.map_or(due, |total| due.min(total))
    }

    /// The first time after the log, where there is one.
    pub(super) fn end(&self) -> Option<Time> {
        self.total.map(|total| self.start + (total - self.backfill) * self.interval)
    }

    /// How many samples make a five-minute mean, for the noise that they leave in it.
    pub(super) fn samples(&self) -> f64 {
        (BUCKET_MS as f64 / self.interval as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bucket_gets_both_backfill_and_live_records() {
        for start in [0, 1, 999, 299_999, 300_000, 450_123] {
            let timeline = Timeline::new(start, 14 * 86_400_000, 5000, Some(12_000));
            let last = timeline.time(timeline.backfill - 1);
            assert!(last + BUCKET_MS <= timeline.start && timeline.start - last < 2 * BUCKET_MS);
            assert!(timeline.first >= start - 14 * 86_400_000 - 1000);
            assert_eq!(timeline.total, Some(timeline.backfill + 3));
            assert_eq!(timeline.due(timeline.start + 4999), timeline.backfill + 1);
            assert_eq!(timeline.due(i64::MAX), timeline.backfill + 3);
        }
        assert_eq!(Timeline::new(600_000, 0, 5000, None).backfill, 0);
    }
}
