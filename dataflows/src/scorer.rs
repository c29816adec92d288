//! The verdicts of one worker: which model scores a bucket, and what it says.
//!
//! Plain state without timely; [`crate::operators::score_buckets`] drives it.
//!
//! **Invariant.** A verdict is a function of the bucket, the models of its series and the policy; never of a clock or of the order of arrival.

use crate::Time;
use crate::identity::{HashedMap, SeriesId};
use crate::model::Model;
use crate::verdict::{Bucket, Score, State, Unscored, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// At most so many models of a series are kept, however often it is trained: with 65 minutes of verdicts, trainings every five minutes.
const MODELS_MAX: usize = 14;

/// What makes a scored bucket an anomaly, and for how long its verdict may change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// A bucket with `|z_score|` above this is anomalous.
    pub threshold: f64,
    /// The width of a bucket plus the lateness, in milliseconds: how long a verdict is kept after the end of its bucket.
    pub retention: Time,
}

#[derive(Default)]
struct Series {
    /// Newest training first.
    models: Vec<Arc<Model>>,
    verdicts: BTreeMap<Time, Verdict>,
}

/// The verdicts of one worker.
pub struct Scorer {
    policy: Policy,
    series: HashedMap<SeriesId, Series>,
}

/// The verdict on a bucket under these models, newest training first.
pub fn judge(bucket: Bucket, models: &[Arc<Model>], policy: &Policy) -> Verdict {
    let Some(aggregate) = bucket.aggregate else {
        return Verdict { bucket, score: None, state: State::Missing };
    };
    match models.iter().find(|model| model.trained_until <= bucket.start) {
        None => Verdict { bucket, score: None, state: State::Unscored(Unscored::NoModel) },
        Some(model) => {
            let score: Score = model.score(bucket.start, aggregate.mean.0);
            let state = if score.z_score.0.abs() > policy.threshold { State::Anomalous } else { State::Normal };
            Verdict { bucket, score: Some(score), state }
        }
    }
}

impl Scorer {
    /// No models yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, series: HashedMap::default() }
    }

    /// Takes a model, and revises the verdicts that it changes. A model trained until the same time replaces its predecessor.
    pub fn learn(&mut self, series: SeriesId, model: Arc<Model>, say: &mut dyn FnMut(Verdict, isize)) {
        let entry = self.series.entry(series).or_default();
        entry.models.retain(|known| known.trained_until != model.trained_until);
        entry.models.push(model);
        entry.models.sort_by_key(|model| std::cmp::Reverse(model.trained_until));
        // What scores the oldest verdict that may still change is kept, and what is newer; without verdicts, the one in force and the one before.
        let oldest = entry.verdicts.first_key_value().map(|oldest| *oldest.0);
        let needed =
            |oldest: Time| entry.models.iter().position(|model| model.trained_until <= oldest).map_or(MODELS_MAX, |place| place + 1);
        entry.models.truncate(oldest.map_or(2, needed).clamp(2, MODELS_MAX));
        for verdict in entry.verdicts.values_mut() {
            let revised = judge(verdict.bucket, &entry.models, &self.policy);
            if revised != *verdict {
                say(*verdict, -1);
                say(revised, 1);
                *verdict = revised;
            }
        }
    }

    /// Judges a new or revised bucket.
    pub fn score(&mut self, bucket: Bucket, say: &mut dyn FnMut(Verdict, isize)) {
        let entry = self.series.entry(bucket.series()).or_default();
        let verdict = judge(bucket, &entry.models, &self.policy);
        say(verdict, 1);
        entry.verdicts.insert(bucket.start, verdict);
        let settled = entry.verdicts.last_key_value().map_or(Time::MIN, |latest| latest.0.saturating_sub(self.policy.retention));
        while entry.verdicts.first_key_value().is_some_and(|oldest| *oldest.0 < settled) {
            entry.verdicts.pop_first();
        }
    }

    /// Takes back what was said of a bucket that no longer holds.
    pub fn withdraw(&mut self, bucket: &Bucket, say: &mut dyn FnMut(Verdict, isize)) {
        let verdict = self.series.get_mut(&bucket.series()).and_then(|entry| entry.verdicts.remove(&bucket.start));
        verdict.into_iter().for_each(|verdict| say(verdict, -1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Seasonal;
    use crate::number::Number;
    use crate::verdict::Aggregate;
    use crate::{EntityId, MetricId};

    const MINUTE: Time = 60_000;

    fn bucket(start: Time) -> Bucket {
        let mean = Number(90.0);
        let aggregate = Aggregate { count: 1, mean, min: mean, max: mean, stddev: Number(0.0) };
        Bucket { entity: EntityId(1), metric: MetricId(1), start, aggregate: Some(aggregate) }
    }

    fn model(trained_until: Time, level: f64) -> Arc<Model> {
        let seasonal = Seasonal::Daily(vec![0.0; 288]);
        Arc::new(Model { bucket_width: 5 * MINUTE, trained_from: 0, trained_until, level, sigma: 1.0, seasonal })
    }

    /// Failed once: with two models kept, the third training took the score from buckets that the first had scored.
    #[test]
    fn hourly_training_takes_no_score_away() {
        let mut scorer = Scorer::new(Policy { threshold: 3.0, retention: 65 * MINUTE });
        let series = bucket(0).series();
        let mut relation: BTreeMap<Verdict, isize> = BTreeMap::new();
        for minute in (0..360).step_by(5) {
            let mut say = |verdict, sign| *relation.entry(verdict).or_default() += sign;
            if minute % 60 == 0 {
                scorer.learn(series, model(minute * MINUTE, 50.0), &mut say);
            }
            scorer.score(bucket(minute * MINUTE), &mut say);
        }
        let unscored = relation.iter().filter(|(verdict, count)| **count > 0 && verdict.score.is_none()).count();
        assert_eq!(unscored, 0);
        assert!(relation.values().all(|count| *count == 0 || *count == 1));
    }

    #[test]
    fn a_model_that_comes_late_revises_what_it_would_have_scored() {
        let mut scorer = Scorer::new(Policy { threshold: 3.0, retention: 65 * MINUTE });
        let mut said = Vec::new();
        scorer.score(bucket(10 * MINUTE), &mut |verdict, sign| said.push((verdict.state, sign)));
        scorer.learn(bucket(0).series(), model(10 * MINUTE, 50.0), &mut |verdict, sign| said.push((verdict.state, sign)));
        let unscored = State::Unscored(Unscored::NoModel);
        assert_eq!(said, [(unscored, 1), (unscored, -1), (State::Anomalous, 1)]);
    }
}
