//! What the scorer takes over from an earlier run, by way of history.

use super::Scorer;
use crate::Time;
use crate::episode::Fold;
use crate::followed::{Entry, Past};
use crate::identity::SeriesId;
use crate::judge::{Known, track_after};
use crate::tracking::Track;
use crate::verdict::{State, Unscored, Verdict};

impl Scorer {
    /// Takes what an earlier run scored a bucket with that may still change.
    pub fn recall(&mut self, verdict: &Verdict) {
        let known = match (verdict.score, verdict.state) {
            (Some(score), _) => verdict.bucket.aggregate.map(|aggregate| Known::Scored(aggregate.mean, score)),
            (None, State::Unscored(Unscored::Reset)) => Some(Known::Reset),
            (None, State::Unscored(Unscored::Warming)) => Some(Known::Warming),
            (None, state) if verdict.bucket.aggregate.is_none() => Some(Known::Silent(state)),
            _ => None,
        };
        if let Some(known) = known {
            let series = self.series.entry(verdict.bucket.series());
            series.is_waited_for |= matches!(known, Known::Silent(_));
            series.scored.insert(verdict.bucket.start, known);
        }
    }

    /// Takes what the episodes of a series go on from: at a start, and whenever history has changed what is settled. What may still change is known better
    /// here.
    pub fn restore(&mut self, Past { verdicts, retired }: &Past) {
        let Some(first) = verdicts.first() else { return };
        let id = first.bucket.series();
        let series = self.series.entry(id);
        series.settle(self.settled);
        let limit = series.entries.front().map_or(Time::MAX, Entry::start);
        let mut base = Fold::default();
        let before = verdicts.iter().filter(|verdict| verdict.bucket.start < limit);
        let mut closed: Vec<_> = before.filter_map(|verdict| base.step(verdict, &self.policy)).collect();
        // One whose series fell silent, with no bucket since that would have closed it.
        closed.extend(base.abandon(self.horizon.saturating_sub(self.policy.retention()), &self.policy));
        series.aside().done = closed.into_iter().map(|closed| *closed).filter(|closed| !retired.contains(&closed.id)).collect();
        // As it was said by then: nobody is told anew of what has not changed.
        series.aside().done.iter_mut().for_each(|done| done.settle(self.horizon, &self.policy));
        // One that was abandoned under another lateness is open here.
        if base.open().is_some_and(|open| retired.contains(&open.id)) {
            base = Fold::default();
        }
        series.base = (!base.is_trivial()).then(|| Box::new(base));
        self.changed.insert(id, first.bucket.start);
    }

    /// Takes how far an earlier run had come: what it said of buckets that may still change is recalled besides.
    pub fn recall_until(&mut self, horizon: Time) {
        self.recalled = horizon.saturating_sub(self.policy.bucket_width - 1);
        self.horizon = horizon;
    }

    /// Takes when a series was heard last in a bucket that is settled.
    pub fn hear(&mut self, id: SeriesId, last: Time) {
        let series = self.series.entry(id);
        series.heard = series.heard.max(last);
    }

    /// Takes the state of a series as an earlier run stored it, if it did, and the settled verdicts after it, in order, that it does not hold yet. The
    /// models must have been taken before.
    pub fn follow(&mut self, id: SeriesId, track: Option<Track>, verdicts: &[Verdict]) {
        self.has_states |= track.is_some();
        let series = self.series.entry(id);
        series.handed_out = track.as_ref().map(|track| (track.last_seen(), track.model, track.watch.drifting_since));
        series.base_track = track.map(Box::new);
        for verdict in verdicts {
            let after = track_after(series.base_track.clone(), verdict, &series.models);
            series.settle_track(after);
        }
    }
}
