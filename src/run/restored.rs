//! What a restart goes on from.

use super::{Job, names};
use crate::history::incident::{self, EntityPlacement};
use crate::history::silence::{self, SilenceRow};
use crate::history::track::{self, Tracked};
use crate::history::unsettled::{self, Unsettled};
use crate::history::{History, HistoryError, Position};
use dataflows::followed::UNTRACKED_BUCKETS;
use dataflows::{SeriesId, Silence, State, Time, Unscored, Verdict};
use std::collections::HashMap;

/// How far an earlier run had come, and what it had settled: that stays so, though this one may allow more lateness, since the records behind it are not
/// read again.
///
/// # Errors
/// A history that cannot be read.
pub fn position(job: &mut Job, history: &mut dyn History) -> Result<Position, HistoryError> {
    let source = job.source.identity();
    // Only those who may still be missing, or have verdicts that may change: a history of years holds many more.
    let horizon = history.position(&source, Time::MAX)?.horizon.unwrap_or(Time::MIN);
    let position = history.position(&source, horizon.saturating_sub(names::kept_for(&job.timing)))?;
    if horizon > Time::MIN {
        job.timing.floor = incident::settled(history, &source)?.unwrap_or(Time::MIN);
    }
    Ok(position)
}

/// What an earlier run left, as the graph and the committing thread need it.
pub struct Restored {
    /// How far it had come.
    pub position: Position,
    /// By series, the start of its last bucket with samples that can change no more. What it was silent in since is found out again.
    pub settled: HashMap<SeriesId, Time>,
    /// The verdicts on buckets that may still change, as far as they took a model, or that nothing may be said of now.
    pub scored: Vec<Verdict>,
    /// What of it may still change.
    pub unsettled: Unsettled,
    /// What the methods of the series go on from.
    pub tracked: Vec<Tracked>,
    /// Where entities stand.
    pub placements: Vec<EntityPlacement>,
    /// The silences that hold.
    pub silences: Vec<Silence>,
}

impl Restored {
    /// Reads it from history, behind a position.
    ///
    /// # Errors
    /// A history that cannot be read.
    pub fn read(job: &Job, position: Position, history: &mut dyn History) -> Result<Self, HistoryError> {
        let source = job.source.identity();
        let silences = silence::all(history)?.iter().map(SilenceRow::silence).collect();
        // Records may have been read before any bucket was over, and where their entities stand is said once.
        let placements = incident::placements(history, &source)?;
        let Some(horizon) = position.horizon else {
            let (settled, scored, unsettled, tracked) = (HashMap::new(), Vec::new(), Unsettled::default(), Vec::new());
            return Ok(Self { position, settled, scored, unsettled, tracked, placements, silences });
        };
        let boundary = job.timing.first_unsettled(horizon);
        let settled = history.last_buckets(heard_since(job, horizon), boundary)?;
        let window = job.policy.buckets(job.policy.episode.window);
        let unsettled = unsettled::unsettled(history, &source, boundary, window)?;
        let untracked = job.policy.buckets(UNTRACKED_BUCKETS) + job.timing.out_of_orderness;
        let tracked = track::tracked(history, &source, boundary.saturating_sub(untracked), boundary)?;
        let mut scored = Vec::new();
        let took_a_model = |verdict: &Verdict| {
            let is_unscored = matches!(verdict.state, State::Unscored(Unscored::Warming | Unscored::Reset));
            verdict.score.is_some() || is_unscored || verdict.bucket.aggregate.is_none()
        };
        history.verdicts(boundary, Time::MAX, &mut |verdict| scored.extend(Some(verdict).filter(took_a_model)))?;
        Ok(Self { position, settled, scored, unsettled, tracked, placements, silences })
    }
}

/// The start of the first bucket in which a series may have been heard last to be missing in one that may still change: there it may be that it is forgotten
/// in the next.
pub fn heard_since(job: &Job, horizon: Time) -> Time {
    horizon.saturating_sub(job.timing.known_for() + job.timing.bucket_width)
}
