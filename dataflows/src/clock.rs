//! Event time of one partition: its watermark, and what becomes of a sample that comes late or from the future.
//!
//! **Invariant.** Whether a record is late is decided from the records before it in its own partition, so that it does not depend
//! on how partitions are interleaved, on the number of workers, or on a restart.

use crate::Time;
use serde::{Deserialize, Serialize};

/// How event time is cut and how long an answer may still change. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The width of a bucket.
    pub bucket_width: Time,
    /// How far the watermark stays behind the largest time seen: disorder up to this is no lateness at all.
    pub out_of_orderness: Time,
    /// How long after its watermark a sample still revises its bucket.
    pub lateness: Time,
    /// A time this far beyond the clock is refused.
    pub skew: Time,
    /// A series that was silent for longer than this is forgotten rather than missing.
    pub forget: Time,
    /// What is known of a series is kept for so much longer than that: its model may have a plan with gaps.
    pub patience: Time,
    /// Buckets that start before this were settled by an earlier run, whatever lateness it allowed; `Time::MIN` on a first one.
    pub floor: Time,
}

impl Timing {
    /// The start of the bucket that `time` falls into.
    pub fn start(&self, time: Time) -> Time {
        time.div_euclid(self.bucket_width).saturating_mul(self.bucket_width)
    }

    /// Whether a bucket can change no more once the watermark has come to `watermark`.
    #[inline]
    pub fn is_settled(&self, start: Time, watermark: Time) -> bool {
        start < self.floor || start.saturating_add(self.bucket_width + self.lateness) <= watermark
    }

    /// Whether the bucket that `time` falls into is settled. Nearly always its place in event time says so without that of its bucket, which takes a division.
    #[inline]
    pub fn is_late(&self, time: Time, watermark: Time) -> bool {
        let is_plainly_open = time.saturating_add(self.lateness) >= watermark && time.saturating_sub(self.bucket_width) >= self.floor;
        !is_plainly_open && self.is_settled(self.start(time), watermark)
    }

    /// For how long after it was heard last a series may be missed in a bucket that may still change.
    pub fn known_for(&self) -> Time {
        self.forget + self.patience + self.lateness + self.bucket_width
    }

    /// The start of the first bucket that is not settled once the watermark has come to `watermark`.
    pub fn first_unsettled(&self, watermark: Time) -> Time {
        let settled = watermark.saturating_sub(self.bucket_width + self.lateness);
        if settled == Time::MIN { self.floor } else { self.floor.max(self.start(settled) + self.bucket_width) }
    }
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It counts.
    Accepted,
    /// Its bucket can change no more.
    TooLate,
    /// Its time lies beyond clock + skew.
    Future,
}

/// The event time of one partition, advanced record by record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionClock {
    latest: Time,
}

impl PartitionClock {
    /// A clock that has seen times up to `latest`; `Time::MIN` for one that has seen none.
    pub fn new(latest: Time) -> Self {
        Self { latest }
    }

    /// The largest time so far that did not lie in the future; `Time::MIN` for none.
    pub fn latest(&self) -> Time {
        self.latest
    }

    /// The promise that earlier samples are late; `Time::MIN` before the first record.
    pub fn watermark(&self, timing: &Timing) -> Time {
        self.latest.saturating_sub(timing.out_of_orderness)
    }

    /// Takes the time of a record that is known to lie neither in the future nor in a bucket that can change no more.
    #[inline]
    pub fn advance(&mut self, time: Time) {
        self.latest = self.latest.max(time);
    }

    /// Decides on the next record of the partition, and moves the watermark unless it lies in the future. `now` is the clock that the future is measured from.
    #[inline]
    pub fn admit(&mut self, time: Time, now: Time, timing: &Timing) -> Admission {
        if time > now.saturating_add(timing.skew) {
            return Admission::Future;
        }
        let is_late = timing.is_late(time, self.watermark(timing));
        // What is late by the clock itself lies behind it. What lies before the floor need not: it is read again after a restart, and time goes on with it.
        self.latest = self.latest.max(time);
        if is_late { Admission::TooLate } else { Admission::Accepted }
    }
}

/// Whether a partition takes part in the common watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Activity {
    /// Records come, or may come at any moment.
    Active,
    /// No records for a while: it holds nobody back.
    Idle,
    /// Its end was read.
    Ended,
}

/// What the reader of a partition tells all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Report {
    /// How far event time has come.
    Watermark {
        /// The partition.
        partition: u32,
        /// Its watermark.
        watermark: Time,
        /// Whether it counts.
        activity: Activity,
    },
    /// A record fell into this bucket, the first one of its partition. A series that has none there is missing.
    Alive {
        /// The partition.
        partition: u32,
        /// The start of the bucket.
        start: Time,
    },
}

/// The watermarks of all partitions, and what they have in common.
#[derive(Clone, Debug)]
pub struct Watermarks {
    partitions: std::collections::BTreeMap<u32, (Time, Activity)>,
    low: Time,
    /// Whether something was reported since `low` was found.
    news: bool,
}

impl Watermarks {
    /// No partition yet; the common watermark starts at `low` (`Time::MIN` on a first run).
    pub fn new(low: Time) -> Self {
        Self { partitions: std::collections::BTreeMap::new(), low, news: false }
    }

    /// Takes note of one partition.
    pub fn report(&mut self, partition: u32, watermark: Time, activity: Activity) {
        let entry = self.partitions.entry(partition).or_insert((watermark, activity));
        *entry = (entry.0.max(watermark), activity);
        self.news = true;
    }

    /// The watermark of one partition; `Time::MIN` for one unheard of.
    pub fn of(&self, partition: u32) -> Time {
        self.partitions.get(&partition).map_or(Time::MIN, |entry| entry.0)
    }

    /// The largest watermark of any partition; `Time::MIN` before the first.
    pub fn high(&self) -> Time {
        self.partitions.values().map(|entry| entry.0).max().unwrap_or(Time::MIN)
    }

    /// The common watermark: the smallest of the active partitions, `Time::MAX` once all have ended. It never goes back, and stays
    /// where it is while no partition is active.
    #[inline]
    pub fn low(&mut self) -> Time {
        if self.news { self.low_anew() } else { self.low }
    }

    #[cold]
    fn low_anew(&mut self) -> Time {
        self.news = false;
        let active = self.partitions.values().filter(|entry| entry.1 == Activity::Active).map(|entry| entry.0).min();
        let ended = !self.partitions.is_empty() && self.partitions.values().all(|entry| entry.1 == Activity::Ended);
        self.low = self.low.max(active.unwrap_or(if ended { Time::MAX } else { Time::MIN }));
        self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing =
        Timing { bucket_width: 300, out_of_orderness: 30, lateness: 600, skew: 100, forget: 3_000, patience: 0, floor: Time::MIN };

    #[test]
    fn a_clock_in_the_future_moves_no_watermark() {
        let mut clock = PartitionClock::new(Time::MIN);
        assert_eq!(clock.admit(1_000, 1_000, &TIMING), Admission::Accepted);
        assert_eq!(clock.admit(4_000_000, 1_000, &TIMING), Admission::Future);
        assert_eq!(clock.watermark(&TIMING), 970);
    }

    #[test]
    fn a_sample_counts_until_its_bucket_is_settled() {
        let mut clock = PartitionClock::new(2_129);
        assert_eq!(clock.admit(1_200, 9_999, &TIMING), Admission::Accepted);
        assert_eq!(clock.admit(2_130, 9_999, &TIMING), Admission::Accepted);
        assert_eq!(clock.admit(1_499, 9_999, &TIMING), Admission::TooLate, "1200 + 300 + 600 = 2100 = 2130 - 30");
    }

    #[test]
    fn what_an_earlier_run_settled_stays_settled_under_a_longer_lateness() {
        let longer = Timing { lateness: 6_000, floor: 1_200, ..TIMING };
        assert!(longer.is_settled(900, 1_000) && !longer.is_settled(1_200, 1_000));
        assert_eq!((TIMING.first_unsettled(2_100), TIMING.first_unsettled(2_099), longer.first_unsettled(2_100)), (1_500, 1_200, 1_200));
        assert_eq!(TIMING.first_unsettled(Time::MIN), Time::MIN);
    }

    /// Failed: a log that was settled to its end and read again left its clock at the beginning of time.
    #[test]
    fn what_an_earlier_run_settled_moves_the_clock_still() {
        let mut clock = PartitionClock::new(Time::MIN);
        let restarted = Timing { floor: 1_200, ..TIMING };
        assert_eq!(clock.admit(1_100, 9_999, &restarted), Admission::TooLate);
        assert_eq!((clock.latest(), clock.watermark(&restarted)), (1_100, 1_070));
    }

    #[test]
    fn an_idle_partition_holds_nobody_back_and_a_new_one_does_not_turn_time_back() {
        let mut watermarks = Watermarks::new(Time::MIN);
        watermarks.report(0, 500, Activity::Active);
        watermarks.report(1, 100, Activity::Active);
        assert_eq!(watermarks.low(), 100);
        watermarks.report(1, 100, Activity::Idle);
        assert_eq!(watermarks.low(), 500);
        watermarks.report(2, 50, Activity::Active);
        assert_eq!(watermarks.low(), 500);
        watermarks.report(0, 900, Activity::Idle);
        watermarks.report(2, 60, Activity::Idle);
        assert_eq!(watermarks.low(), 500, "all idle: time stands still");
    }

    #[test]
    fn the_end_of_every_partition_is_the_end_of_time() {
        let mut watermarks = Watermarks::new(Time::MIN);
        watermarks.report(0, 500, Activity::Ended);
        watermarks.report(1, 100, Activity::Active);
        assert_eq!(watermarks.low(), 100);
        watermarks.report(1, 200, Activity::Ended);
        assert_eq!(watermarks.low(), Time::MAX);
    }
}
