//! Soon, then sure: what is said of a bucket that is still open.
//!
//! Nothing here is part of the final relation: it depends on when somebody looked.

use crate::Time;
use crate::identity::{EntityId, MetricId, SeriesId};
use crate::number::Number;
use crate::policy::Limits;
use crate::verdict::{Aggregate, Bucket, Score, Severity};
use serde::{Deserialize, Serialize};

/// The sigma of the last samples alone is widened by this: they are looked at dozens of times in a bucket.
const LAST_FACTOR: f64 = 4.0 / 3.0;

/// So many last samples are looked at on their own, since an anomaly need not begin with a bucket.
pub const LAST: usize = 2;

/// Without earlier buckets of the series, so many samples of the open one say how much they differ. Fewer say nothing: one alone does not differ at all.
const SEEN_MIN: f64 = 6.0;

/// A bucket as far as it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// What it would be if nothing more came.
    pub bucket: Bucket,
    /// The mean of its [`LAST`] latest samples; `None` while it has fewer.
    pub last: Option<f64>,
}

/// What buckets of the same series looked like from within.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inside {
    /// Samples per bucket, on average.
    pub count: f64,
    /// The variance of the samples around the mean of their bucket.
    pub variance: f64,
}

impl Inside {
    /// From earlier buckets; `None` without any.
    pub fn of<'a>(aggregates: impl Iterator<Item = &'a Aggregate>) -> Option<Self> {
        let (mut buckets, mut count, mut variance) = (0.0, 0.0, 0.0);
        for aggregate in aggregates {
            #[allow(clippy::cast_precision_loss)] // samples of one bucket
            let samples = aggregate.count as f64;
            (buckets, count, variance) = (buckets + 1.0, count + samples, variance + aggregate.stddev.0 * aggregate.stddev.0);
        }
        (buckets > 0.0).then(|| Self { count: count / buckets, variance: variance / buckets })
    }

    /// The scale of the difference between the mean of `seen` samples and what is expected of the whole bucket.
    ///
    /// To the residual's sigma comes the error of a mean of some of the samples as an estimate of the mean of all of them: s²/n · (1 - n/N)
    /// (Cochran, Sampling Techniques, 1977, section 2.6).
    fn sigma(&self, residual: f64, seen: f64) -> f64 {
        let unseen = (1.0 - seen / self.count).max(0.0);
        (residual * residual + self.variance / seen * unseen).sqrt()
    }
}

/// An anomaly as it looks now; the end of its bucket will confirm or withdraw it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provisional {
    /// The thing measured.
    pub entity: EntityId,
    /// What is measured.
    pub metric: MetricId,
    /// The start of the bucket.
    pub start: Time,
    /// What was seen: the mean so far, or that of the last samples.
    pub value: Number,
    /// Its arithmetic, with a sigma that allows for what has not been seen.
    pub score: Score,
    /// How loud.
    pub severity: Severity,
}

impl Provisional {
    /// The series that it is about.
    pub fn series(&self) -> SeriesId {
        SeriesId::of(self.entity, self.metric)
    }

    /// What is to be said of an open bucket: the worse of the bucket so far and its last samples; `None` where neither is anomalous. `score` says what the
    /// bucket would come to if it ended with a mean, where anything can be said of it.
    pub fn of(open: &Open, score: impl Fn(f64) -> Option<Score>, inside: Option<Inside>, limits: &Limits) -> Option<Self> {
        let aggregate = open.bucket.aggregate?;
        #[allow(clippy::cast_precision_loss)] // samples of one bucket
        let seen = aggregate.count as f64;
        let inside = match inside {
            Some(inside) => inside,
            None if seen < SEEN_MIN => return None,
            // That of the samples, which is less around their own mean.
            None => Inside { count: f64::INFINITY, variance: aggregate.stddev.0 * aggregate.stddev.0 * seen / (seen - 1.0) },
        };
        let of = |value: f64, widened: &dyn Fn(f64) -> f64| {
            let final_score = score(value)?;
            // What the whole bucket would not be flagged for is nothing to tell of a part of it.
            if !limits.are_passed(value, final_score.expected.0, final_score.z_score.0) {
                return None;
            }
            let (expected, sigma) = (final_score.expected.0, widened(final_score.sigma.0));
            let z_score = (value - expected) / sigma;
            limits.are_passed(value, expected, z_score).then(|| Self {
                entity: open.bucket.entity,
                metric: open.bucket.metric,
                start: open.bucket.start,
                value: Number(value),
                score: Score { expected: final_score.expected, sigma: Number(sigma), z_score: Number(z_score) },
                severity: Severity::of(z_score, limits.threshold),
            })
        };
        #[allow(clippy::cast_precision_loss)] // two
        let few = LAST as f64;
        let whole = of(aggregate.mean.0, &|sigma| inside.sigma(sigma, seen));
        let last = open.last.and_then(|last| of(last, &|sigma| LAST_FACTOR * (sigma * sigma + inside.variance / few).sqrt()));
        whole.into_iter().chain(last).max_by(|one, other| one.score.z_score.0.abs().total_cmp(&other.score.z_score.0.abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(mean: f64) -> Option<Score> {
        Some(Score { expected: Number(50.0), sigma: Number(1.0), z_score: Number(mean - 50.0) })
    }

    fn open(count: u64, mean: f64, last: Option<f64>) -> Open {
        let mean = Number(mean);
        let aggregate = Aggregate { count, mean, min: mean, max: mean, stddev: Number(4.0) };
        Open { bucket: Bucket { entity: EntityId(1), metric: MetricId(1), start: 300, aggregate: Some(aggregate) }, last }
    }

    const INSIDE: Inside = Inside { count: 60.0, variance: 16.0 };

    fn say(open: &Open) -> Option<Provisional> {
        Provisional::of(open, score, Some(INSIDE), &Limits::default())
    }

    #[test]
    fn the_less_was_seen_the_more_it_takes() {
        // One sample of 60: sigma is √(1 + 16 · 59/60) = 4.1; a full bucket: 1.
        assert_eq!(say(&open(1, 58.0, None)), None);
        assert!(say(&open(1, 63.0, None)).is_some());
        let full = say(&open(60, 53.5, None)).unwrap();
        assert!((full.score.sigma.0 - 1.0).abs() < 1e-12 && full.severity == Severity::Medium);
    }

    #[test]
    fn what_begins_in_the_middle_of_a_bucket_shows_in_its_last_samples() {
        assert_eq!(say(&open(40, 50.4, Some(57.0))), None);
        let spike = say(&open(40, 50.4, Some(66.0))).unwrap();
        assert_eq!((spike.value, spike.score.expected), (Number(66.0), Number(50.0)));
    }

    #[test]
    fn without_earlier_buckets_the_bucket_itself_says_how_much_samples_differ() {
        let say = |count: u64, mean: f64| Provisional::of(&open(count, mean, None), score, None, &Limits::default());
        assert!(say(6, 55.0).is_none() && say(6, 58.0).is_some());
        // Failed once: one sample was taken for exact.
        assert_eq!(say(5, 90.0), None);
    }
}
