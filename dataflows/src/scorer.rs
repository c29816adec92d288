//! The verdicts of one worker: which model scores a bucket, and what it says.
//!
//! Plain state without timely; [`crate::operators::score_buckets`] drives it.
//!
//! **Invariant.** A verdict is a function of the bucket, the models of its series and the policy; never of a clock or of the order of arrival.

use crate::Time;
use crate::buckets::HashedMap;
use crate::identity::SeriesId;
use crate::model::Model;
use crate::verdict::{Bucket, Score, State, Unscored, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many models of a series are kept: the one in force and the one before it, for buckets that are older than the newest training.
const MODELS_KEPT: usize = 2;

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
        entry.models.truncate(MODELS_KEPT);
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
