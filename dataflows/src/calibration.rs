//! Whether deviations are as large as the model of a series promised: counted by the day, and averaged over about a day.
//!
//! What is counted is part of a series' [`crate::Track`], and so a function of its buckets in their order: a late sample, a model or a silence folds it
//! again like everything else. It is handed out once it can change no more, as the whole count of a day rather than what was added to it, so that what a
//! restart or a second attempt at a commit says once more is the same.

use crate::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const DAY: Time = 86_400_000;

/// A deviation counts as at most so many scales: an hour of outage is an anomaly, and no drift of the model.
pub const DEVIATION_MAX: f64 = 3.0;

/// An ordinary band is so many scales to either side.
const BAND: f64 = 2.0;

/// The z-score that is an alarm where nobody says otherwise.
const ALARM: f64 = 3.0;

/// Sums are kept in millionths, as whole numbers, so that those of a day are exact.
const UNIT: f64 = 1e6;

/// The average is over a day, but no fewer buckets than these, however wide they are.
const BUCKETS_MIN: u32 = 48;

/// A series begins to drift where the mean square is this many times what was high in training, and ends where it is this many times. On a set of service
/// indicators, one of many kinds and one of servers, with models that are never trained again and all anomalies left in, a series began to drift once in
/// 62, 32 and 18 days; from 1.5 times on, in 52, 17 and 11. Averages of half a day see noise that doubles in half the time, but drift half as often again.
const DRIFTING: (f64, f64) = (2.0, 1.6);

/// What was high in training counts as at least this: deviations far within the scale's floor may well double.
const HIGH_MIN: f64 = 0.25;

/// A mean square of deviations that are cut at [`DEVIATION_MAX`] cannot come near this.
const SQUARE_MAX: f64 = 0.75 * DEVIATION_MAX * DEVIATION_MAX;

/// The scored buckets of one day, UTC, of one series, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The beginning of the day.
    pub day: Time,
    /// Buckets that a model scored, and no silence covers.
    pub scored: u32,
    /// Those with a `|z|` above 3, whatever the threshold is.
    pub alarms: u32,
    /// Those further from the expected value than two scales of the model.
    pub beyond: u32,
    /// The squares of the deviations, in millionths of a squared scale, none larger than [`DEVIATION_MAX`] scales.
    pub squares: i64,
    /// Each deviation times the one before, likewise.
    pub products: i64,
}

/// What a model said of deviations to come, from those in its training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// The mean square of a deviation, in squared scales.
    pub mean_square: f64,
    /// What the average of about a day stayed below in nineteen buckets of twenty.
    pub high: f64,
    /// The share of buckets outside of two scales, 0..1.
    pub beyond: f64,
    /// The share of buckets with a `|z|` above 3, 0..1.
    pub alarms: f64,
    /// How much of a deviation the next one repeats, -1..1.
    pub autocorrelation: f64,
}

/// How the promise is kept, after some bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The day under way.
    pub tally: Tally,
    /// The mean square of the deviations of about the last day.
    pub square: f64,
    /// The last deviation.
    pub last: f64,
    /// What was promised; `None` of a model that says nothing.
    pub promise: Option<Arc<Promise>>,
    /// The start of the bucket at which deviations were found too large; `None` while the promise is kept.
    pub drifting_since: Option<Time>,
    /// The same of the last time, whether it is over or not.
    pub broken_at: Option<Time>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { tally: Tally::default(), square: 1.0, last: 0.0, promise: None, drifting_since: None, broken_at: None }
    }
}

impl Tally {
    /// Counts a bucket whose deviation, in scales, follows another one.
    pub fn add(&mut self, deviation: f64, before: f64, z_score: f64) {
        self.scored += 1;
        self.alarms += u32::from(z_score.abs() > ALARM);
        self.beyond += u32::from(deviation.abs() > BAND);
        let before = before.clamp(-DEVIATION_MAX, DEVIATION_MAX);
        let deviation = deviation.clamp(-DEVIATION_MAX, DEVIATION_MAX);
        self.squares += whole(deviation * deviation);
        self.products += whole(deviation * before);
    }

    /// The mean square of a deviation; 0 without a bucket.
    pub fn mean_square(&self) -> f64 {
        self.share(self.squares) / UNIT
    }

    /// How much of a deviation the next one repeats, -1..1.
    pub fn autocorrelation(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let (products, squares) = (self.products as f64, self.squares as f64);
        if squares > 0.0 { products / squares } else { 0.0 }
    }

    /// So many per scored bucket.
    pub fn share(&self, count: impl Into<i64>) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let count = count.into() as f64;
        count / f64::from(self.scored.max(1))
    }
}

impl Promise {
    /// The promise of a training that saw these buckets, and these averages of about a day.
    pub fn of(tally: &Tally, high: f64) -> Self {
        Self {
            mean_square: tally.mean_square(),
            high,
            beyond: tally.share(tally.beyond),
            alarms: tally.share(tally.alarms),
            autocorrelation: tally.autocorrelation(),
        }
    }

    /// From which mean square on a series drifts, and below which it does no more.
    pub fn limits(&self) -> (f64, f64) {
        let high = self.high.max(HIGH_MIN);
        ((DRIFTING.0 * high).min(SQUARE_MAX), (DRIFTING.1 * high).min(SQUARE_MAX * DRIFTING.1 / DRIFTING.0))
    }

    /// Whether every number is one.
    fn is_finite(&self) -> bool {
        [self.mean_square, self.high, self.beyond, self.alarms, self.autocorrelation].iter().all(|number| number.is_finite())
    }
}

impl Watch {
    /// As it goes on under the model whose training ended in this state: what is counted, and since when a series drifts, is not the model's.
    pub fn following(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        Self { tally: before.tally, drifting_since: before.drifting_since, broken_at: before.broken_at, ..self.clone() }
    }

    /// After the bucket that starts at `start`, whose deviation is in scales of the model.
    pub fn after(&self, start: Time, width: Time, deviation: f64, z_score: f64) -> Self {
        let day = start.div_euclid(DAY) * DAY;
        let mut tally = if self.tally.day == day { self.tally } else { Tally { day, ..Tally::default() } };
        tally.add(deviation, self.last, z_score);
        let square = deviation.abs().min(DEVIATION_MAX).powi(2);
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let step = (width.max(1) as f64 / DAY as f64).min(1.0 / f64::from(BUCKETS_MIN));
        let square = self.square + step * (square - self.square);
        let drifting_since = self.since(start, square);
        let broken_at = drifting_since.or(self.broken_at);
        Self { tally, square, last: deviation, promise: self.promise.clone(), drifting_since, broken_at }
    }

    /// Since when the series drifts, now that the mean square is this.
    fn since(&self, start: Time, square: f64) -> Option<Time> {
        let (begins, ends) = self.promise.as_ref()?.limits();
        if square > begins { self.drifting_since.or(Some(start)) } else { self.drifting_since.filter(|_| square >= ends) }
    }

    /// Whether every number is one.
    pub fn is_finite(&self) -> bool {
        self.square.is_finite() && self.last.is_finite() && self.promise.as_ref().is_none_or(|promise| promise.is_finite())
    }
}

/// A number in millionths.
fn whole(number: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)] // at most nine million
    let whole = (number * UNIT).round() as i64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: Time = 300_000;

    fn watch(high: f64) -> Watch {
        let promise = Promise { mean_square: 1.0, high, beyond: 0.05, alarms: 0.0, autocorrelation: 0.0 };
        Watch { promise: Some(Arc::new(promise)), ..Watch::default() }
    }

    /// After so many buckets of this deviation, to one side and the other.
    fn after(mut watch: Watch, buckets: Time, deviation: f64) -> Watch {
        let from = watch.tally.day + Time::from(watch.tally.scored) * BUCKET;
        for i in 0..buckets {
            watch = watch.after(from + i * BUCKET, BUCKET, if i % 2 == 0 { deviation } else { -deviation }, 0.0);
        }
        watch
    }

    #[test]
    fn deviations_that_grow_are_a_drift_until_they_shrink_and_an_outage_is_none() {
        let healthy = after(watch(1.1), 288, 1.0);
        assert_eq!(healthy.drifting_since, None);
        assert_eq!(after(healthy.clone(), 24, 1000.0).drifting_since, None);
        let drifting = after(healthy, 400, 2.0);
        let since = drifting.drifting_since.unwrap();
        assert!((288 + 100..288 + 288).contains(&(since / BUCKET)), "seen after {} buckets", since / BUCKET - 288);
        assert_eq!(after(drifting.clone(), 20, 1.9).drifting_since, Some(since), "it goes on since when it began");
        let over = after(drifting, 400, 1.0);
        assert_eq!((over.drifting_since, over.broken_at), (None, Some(since)));
    }

    #[test]
    fn a_day_is_counted_on_its_own_and_exactly() {
        let second = after(watch(1.0), 288 + 100, 0.5);
        let Tally { day, scored, beyond, squares, products, .. } = second.tally;
        assert_eq!((day, scored, beyond, squares, products), (DAY, 100, 0, 25_000_000, -25_000_000));
        assert_eq!((second.tally.mean_square(), second.tally.autocorrelation()), (0.25, -1.0));
        let mut tally = second.tally;
        tally.add(-7.0, 2.0, -3.5);
        assert_eq!((tally.alarms, tally.beyond, tally.squares - squares, tally.products - products), (1, 1, 9_000_000, -6_000_000));
    }

    #[test]
    fn a_model_that_promises_nothing_is_never_broken() {
        assert_eq!(after(Watch::default(), 1000, 3.0).drifting_since, None);
        let under_another = watch(1.0).following(Some(&after(watch(1.0), 500, 3.0)));
        assert!(under_another.drifting_since.is_some() && under_another.tally.scored > 0 && under_another.square == 1.0);
        assert_eq!(under_another.after(600 * BUCKET, BUCKET, 1.0, 0.0).drifting_since, None, "the new model's promise is kept");
    }
}
