//! The verdict on one bucket: what its model, the state before it, silences and limits make of it.
//!
//! **Invariant.** Nothing here remembers anything: the same arguments give the same verdict.

use crate::Time;
use crate::model::Model;
use crate::number::Number;
use crate::policy::{Limits, Policy};
use crate::tracking::Track;
use crate::verdict::{Aggregate, Bucket, Score, State, Unscored, Verdict};
use std::sync::Arc;

/// What an earlier run said of a bucket, as far as it took a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// It scored the bucket, which had this mean, so.
    Scored(Number, Score),
    /// It said that the counter began anew.
    Reset,
    /// It said that the series is warming.
    Warming,
    /// It said this of a bucket without samples.
    Silent(State),
}

/// What a verdict depends on besides its bucket.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The models of the series, newest training first.
    pub models: &'a [Arc<Model>],
    /// The state that the buckets before led to; `None`: none did.
    pub track: Option<&'a Track>,
    /// The start of the last bucket with samples before it, which matters where it has none; 0, which is long ago, where nobody remembers one; `None` of a
    /// series that no model ever waited for: if it is silent, it is missing.
    pub heard: Option<Time>,
    /// What an earlier run scored it with, which counts where no model does.
    pub known: Option<&'a Known>,
    /// Whether a silence covers it.
    pub silenced: bool,
    /// Whether an earlier run may have said something of it: that it did not counts where the model that it knew is gone.
    pub is_recalled: bool,
}

/// The verdict on a bucket, of its series alone, and the state after it.
///
/// What is missing, without a model, or out of the ordinary under a silence leaves the state as it was: it says nothing of how the series behaves. Of the
/// last, the state knows no more than that there were samples.
pub fn judge(bucket: Bucket, given: Given<'_>, policy: &Policy) -> (Verdict, Option<Box<Track>>) {
    let mut verdict = Verdict { bucket, ..Verdict::NONE };
    let after = judge_in_place(&mut verdict, given, policy);
    (verdict, after)
}

/// The same, where the verdict stays: `verdict` holds the bucket already. One that is put together elsewhere and moved at once keeps a processor waiting for
/// what it has just written.
// For the same reason as `Model::score`.
#[inline(always)]
pub(crate) fn judge_in_place(verdict: &mut Verdict, given: Given<'_>, policy: &Policy) -> Option<Box<Track>> {
    let Given { models, track, known, silenced, .. } = given;
    let before = || track.cloned().map(Box::new);
    let Verdict { bucket, score: scored, state } = verdict;
    let Some(aggregate) = &bucket.aggregate else {
        (*scored, *state) = (None, without_samples(&given, bucket.start, policy.forget));
        return before();
    };
    let known = known.filter(|known| !matches!(known, Known::Silent(_)));
    let mean = aggregate.mean;
    let model = in_force(models, bucket.start);
    let (score, after) = match (model, known) {
        (Some(model), _) => model.score(track, bucket.start, mean.0, aggregate.count),
        // To the bit where nothing has changed: sigma may itself come from z.
        (None, Some(Known::Scored(known, score))) if *known == mean => (Some(*score), before()),
        (None, Some(Known::Scored(_, score))) => (Some(score.of(mean.0)), before()),
        (None, Some(Known::Reset)) => (None, before()),
        (None, Some(Known::Warming | Known::Silent(_)) | None) => {
            let is_warming = known.is_some() || is_warming(models, bucket.start);
            (*scored, *state) = (None, State::Unscored(if is_warming { Unscored::Warming } else { Unscored::NoModel }));
            return before();
        }
    };
    let Some(score) = score else {
        (*scored, *state) = (None, State::Unscored(Unscored::Reset));
        return after;
    };
    let said = state_of(mean.0, &score, silenced, policy.limits(bucket.metric));
    (*scored, *state) = (Some(score), said);
    if said == State::Silenced { skip(track, model, bucket.start, aggregate) } else { after }
}

/// What is said of a bucket without samples.
#[cold]
fn without_samples(given: &Given<'_>, start: Time, forget: Time) -> State {
    let Given { models, heard, known, silenced, is_recalled, .. } = given;
    // Of a series that is too young for a model it is known whether it comes often enough to be missed.
    let model = in_force(models, start).or_else(|| models.iter().find(|model| model.trained_until <= start));
    let heard = heard.unwrap_or(start);
    let missed = |model: &Arc<Model>| model.cadence.is_missed(model, heard, start, forget);
    let is_missed = match (model, known) {
        (Some(model), _) => missed(model),
        (None, Some(Known::Silent(_))) => true,
        // All that the store still has are newer. That an earlier run said nothing may be since none were due by one that is gone, or since it did not look.
        (None, _) if *is_recalled && !models.is_empty() => {
            models.iter().rev().find(|model| model.as_warming().is_none()).is_some_and(missed)
        }
        (None, _) => start.saturating_sub(heard) <= forget,
    };
    match is_missed {
        false => State::NotDue,
        true if *silenced => State::Silenced,
        true => State::Missing,
    }
}

/// The state after a bucket that a silence covers.
fn skip(track: Option<&Track>, model: Option<&Arc<Model>>, start: Time, Aggregate { mean, count, .. }: &Aggregate) -> Option<Box<Track>> {
    match model {
        Some(model) => model.skip(track, start, mean.0, *count),
        None => track.map(|track| Box::new(track.skip(start, mean.0, *count))),
    }
}

/// The same verdict by another policy: what was scored is scored, and limits alone decide what is said of it. What a silence covers stays so.
pub fn judge_by(verdict: &Verdict, policy: &Policy) -> Verdict {
    match (verdict.state, verdict.score, verdict.bucket.aggregate) {
        (State::Normal | State::Anomalous | State::Accompanying, Some(score), Some(aggregate)) => {
            Verdict { state: state_of(aggregate.mean.0, &score, false, policy.limits(verdict.bucket.metric)), ..*verdict }
        }
        _ => *verdict,
    }
}

/// What is said of a bucket that has a score.
fn state_of(mean: f64, score: &Score, silenced: bool, limits: &Limits) -> State {
    match limits.are_passed(mean, score.expected.0, score.z_score.0) {
        true if silenced => State::Silenced,
        true => State::Anomalous,
        false => State::Normal,
    }
}

/// The state after a bucket whose verdict is settled: by the model that scored it, which need not be the one in force. One that was trained until an earlier
/// time may have come since.
pub fn track_after(track: Option<Box<Track>>, verdict: &Verdict, models: &[Arc<Model>]) -> Option<Box<Track>> {
    let Verdict { bucket, score, state } = verdict;
    let (start, Some(aggregate)) = (bucket.start, bucket.aggregate) else { return track };
    let again = |model: &Arc<Model>| model.score(track.as_deref(), start, aggregate.mean.0, aggregate.count);
    let mut tried = usable(models, start).filter(|_| score.is_some()).map(|model| (model, again(model)));
    let scored = tried.find(|(_, (found, _))| found == score);
    let scored = scored.or_else(|| in_force(models, start).map(|model| (model, again(model))));
    match (state, scored) {
        (State::Normal | State::Anomalous | State::Accompanying | State::Unscored(Unscored::Reset), Some((_, (_, after)))) => after,
        (State::Silenced, scored) => skip(track.as_deref(), scored.map(|(model, _)| model), start, &aggregate),
        _ => track,
    }
}

/// The newest model whose training ended before a bucket.
pub(crate) fn in_force(models: &[Arc<Model>], start: Time) -> Option<&Arc<Model>> {
    usable(models, start).next()
}

/// All models whose training ended before a bucket, the newest first.
fn usable(models: &[Arc<Model>], start: Time) -> impl Iterator<Item = &Arc<Model>> {
    models.iter().filter(move |model| model.trained_until <= start && model.as_warming().is_none())
}

/// Whether a bucket without a model in force is of a series that is too young for one.
pub(crate) fn is_warming(models: &[Arc<Model>], start: Time) -> bool {
    models.iter().any(|model| model.trained_until <= start && model.as_warming().is_some())
}
