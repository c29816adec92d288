//! One series as the scorer follows it: the verdicts that may still change, in order, and what is remembered of those before them.

use crate::Time;
use crate::calibration::Watch;
use crate::episode::{Episode, Fold};
use crate::judge::{Known, judge};
use crate::model::Model;
use crate::policy::Policy;
use crate::provisional::Provisional;
use crate::tracking::Track;
use crate::verdict::{Bucket, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of a series that can change no more is handed out once it is so many buckets ahead of what was handed out last, or follows another model.
/// A restart folds the buckets in between again: an hour of them, for a twelfth of the writing.
const TRACK_BUCKETS: u32 = 12;

/// So far back from the first bucket that may change, buckets may not be part of the state that was handed out last: [`TRACK_BUCKETS`], those that end
/// with the log, and as many again for good measure.
pub const UNTRACKED_BUCKETS: u32 = 2 * TRACK_BUCKETS;

/// What a series has come to, as far as it can change no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// What the method remembers: what a restart goes on from.
    pub track: Track,
    /// How the model's promise was kept by the end of each day since the last time, the day under way included.
    pub days: Vec<Watch>,
}

/// A verdict that may change, and what the series is remembered by after it.
pub(crate) struct Entry {
    pub(crate) verdict: Verdict,
    /// What the method remembers.
    pub(crate) track: Option<Track>,
    pub(crate) after: Fold,
    pub(crate) closed: Option<Box<Episode>>,
}

#[derive(Default)]
pub(crate) struct Series {
    /// Newest training first; behind them, where that is known, that the series is warming.
    pub(crate) models: Vec<Arc<Model>>,
    /// What is remembered of the buckets before the first entry.
    pub(crate) base: Fold,
    /// The same, by the method.
    pub(crate) base_track: Option<Track>,
    /// Days that are over and were not handed out yet, as they ended.
    pub(crate) days: Vec<Watch>,
    /// Of the state that was handed out last: its last bucket, the end of its model's training, and since when the series drifted.
    pub(crate) handed_out: Option<(Time, Time, Option<Time>)>,
    pub(crate) entries: BTreeMap<Time, Entry>,
    /// Verdicts from here on do not know of a bucket before them that has changed.
    pub(crate) stale: Option<Time>,
    /// Closed episodes older than the first entry, that were not retired yet.
    pub(crate) done: Vec<Episode>,
    /// What an earlier run said, for buckets whose model the store may have let go meanwhile.
    pub(crate) scored: BTreeMap<Time, Known>,
    /// What was said of this series, and not taken back.
    pub(crate) said: Vec<Episode>,
    /// What was said of the open bucket that is flagged.
    pub(crate) provisional: Option<Box<Provisional>>,
}

impl Series {
    pub(crate) fn last_fold(&self) -> &Fold {
        self.entries.last_key_value().map_or(&self.base, |(_, entry)| &entry.after)
    }

    /// What the method remembers of the buckets before `start`.
    pub(crate) fn track_before(&self, start: Time) -> Option<&Track> {
        self.entries.range(..start).next_back().map_or(self.base_track.as_ref(), |(_, entry)| entry.track.as_ref())
    }

    /// Judges the buckets from `from` on again, and says what is different.
    pub(crate) fn judge_again(
        &mut self,
        from: Time,
        silenced: &dyn Fn(&Bucket) -> bool,
        policy: &Policy,
        say: &mut dyn FnMut(Verdict, isize),
    ) -> Option<Time> {
        let mut track = self.track_before(from).cloned();
        let mut first = None;
        for (start, entry) in self.entries.range_mut(from..) {
            let bucket = entry.verdict.bucket;
            let (revised, after) = judge(bucket, &self.models, track.as_ref(), self.scored.get(start), silenced(&bucket), policy);
            if revised != entry.verdict {
                say(entry.verdict, -1);
                say(revised, 1);
                entry.verdict = revised;
                first = first.or(Some(*start));
            }
            entry.track.clone_from(&after);
            track = after;
        }
        first
    }

    pub(crate) fn is_stale_from(&mut self, start: Time) {
        self.stale = Some(self.stale.map_or(start, |known| known.min(start)));
    }

    /// Folds the verdicts from `from` on again.
    pub(crate) fn refold(&mut self, from: Time, policy: &Policy) {
        let mut fold = self.entries.range(..from).next_back().map_or(&self.base, |(_, entry)| &entry.after).clone();
        for (_, entry) in self.entries.range_mut(from..) {
            entry.closed = fold.step(&entry.verdict, policy);
            entry.after = fold.clone();
        }
    }

    /// Lets go of verdicts on buckets before `settled`.
    pub(crate) fn settle(&mut self, settled: Time) {
        while let Some(entry) = self.entries.first_entry().filter(|entry| *entry.key() < settled) {
            let entry = entry.remove();
            self.base = entry.after;
            self.settle_track(entry.track);
            self.done.extend(entry.closed.map(|closed| *closed));
        }
        while self.scored.first_key_value().is_some_and(|oldest| *oldest.0 < settled) {
            self.scored.pop_first();
        }
    }

    /// Moves the state on that can change no more, and keeps the count of a day that is over.
    pub(crate) fn settle_track(&mut self, after: Option<Track>) {
        if let (Some(before), Some(after)) = (&self.base_track, &after)
            && before.watch.tally.day != after.watch.tally.day
            && before.watch.tally.scored > 0
        {
            self.days.push(before.watch.clone());
        }
        self.base_track = after;
    }

    /// The state to be handed out, if that is due: what a restart could not fold on from is not late by then. That a series begins or ends to drift is
    /// said at once.
    pub(crate) fn hand_out(&mut self, settled: Time, policy: &Policy) -> Option<Settled> {
        let track = self.base_track.as_ref()?;
        let drifting = track.watch.drifting_since;
        let due = match self.handed_out {
            Some((last, model, since)) => {
                let is_news = track.model != model || drifting != since || settled - last >= policy.buckets(TRACK_BUCKETS);
                track.last_start > last && is_news
            }
            None => true,
        };
        due.then(|| {
            self.handed_out = Some((track.last_start, track.model, drifting));
            let mut days = std::mem::take(&mut self.days);
            days.extend((track.watch.tally.scored > 0).then(|| track.watch.clone()));
            Settled { track: track.clone(), days }
        })
    }

    /// Says how the episodes differ from what was said last.
    pub(crate) fn tell(&mut self, say: &mut dyn FnMut(Episode, isize)) {
        let closed = self.entries.values().filter_map(|entry| entry.closed.as_deref());
        let now: Vec<Episode> = self.done.iter().chain(closed).chain(self.last_fold().open()).copied().collect();
        self.said.iter().filter(|episode| !now.contains(episode)).for_each(|episode| say(*episode, -1));
        now.iter().filter(|episode| !self.said.contains(episode)).for_each(|episode| say(*episode, 1));
        self.said = now;
    }
}
