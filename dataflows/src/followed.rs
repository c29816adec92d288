//! One series as the scorer follows it: the verdicts that may still change, in order, and what is remembered of those before them.

use crate::Time;
use crate::calibration::Watch;
use crate::episode::{Episode, EpisodeId, Fold};
use crate::judge::{Given, Known, judge};
use crate::model::Model;
use crate::policy::Policy;
use crate::provisional::Provisional;
use crate::tracking::Track;
use crate::verdict::{Bucket, State, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The state of a series that can change no more is handed out once it is so many buckets ahead of what was handed out last, or follows another model.
/// A restart folds the buckets in between again: an hour of them, for a twelfth of the writing.
const TRACK_BUCKETS: u32 = 12;

/// So far back from the first bucket that may change, buckets may not be part of the state that was handed out last: [`TRACK_BUCKETS`], those that end
/// with the log, and as many again for good measure.
pub const UNTRACKED_BUCKETS: u32 = 2 * TRACK_BUCKETS;

/// A series gets room for so many verdicts at first.
const ROOM_MIN: usize = 2;

/// What a series has come to, as far as it can change no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// What the method remembers: what a restart goes on from.
    pub track: Track,
    /// How the model's promise was kept by the end of each day since the last time, the day under way included.
    pub days: Vec<Watch>,
}

/// What the episodes of a series go on from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The verdicts on its settled buckets from the first evidence on of the oldest episode that is alive, in order.
    pub verdicts: Vec<Verdict>,
    /// Episodes among them that were retired with their incident: they are not said again, since the rest of it is not.
    pub retired: Vec<EpisodeId>,
}

/// A verdict that may change, and what the series is remembered by after it: two lines of a processor's cache.
pub(crate) struct Entry {
    pub(crate) verdict: Verdict,
    /// What the method remembers, if it does: as large as the rest.
    pub(crate) track: Option<Box<Track>>,
    /// Where there is some.
    evidence: Option<Box<Evidence>>,
}

/// What there is to remember of evidence after a verdict, and the episode that it closed.
struct Evidence {
    after: Option<Box<Fold>>,
    closed: Option<Box<Episode>>,
}

impl Entry {
    const NONE: Self = Self { verdict: Verdict::NONE, track: None, evidence: None };

    /// What there is to remember of evidence; `None`: nothing.
    fn after(&self) -> Option<&Fold> {
        self.evidence.as_ref()?.after.as_deref()
    }

    /// The episode that ended here.
    fn closed(&self) -> Option<&Episode> {
        self.evidence.as_ref()?.closed.as_deref()
    }

    pub(crate) fn start(&self) -> Time {
        self.verdict.bucket.start
    }
}

/// One series. What the next bucket needs is kept close together: of many series each is out of a processor's cache when its turn comes.
#[derive(Default)]
pub(crate) struct Series {
    /// Newest training first; behind them, where that is known, that the series is warming.
    pub(crate) models: Vec<Arc<Model>>,
    /// What is remembered of the buckets before the first entry; `None`: nothing.
    pub(crate) base: Option<Box<Fold>>,
    /// The same, by the method.
    pub(crate) base_track: Option<Box<Track>>,
    /// By the start of their buckets.
    pub(crate) entries: VecDeque<Entry>,
    /// Of the state that was handed out last: the last bucket with samples, the end of its model's training, and since when the series drifted.
    pub(crate) handed_out: Option<(Time, Time, Option<Time>)>,
    /// Verdicts from here on do not know of a bucket before them that has changed.
    pub(crate) stale: Option<Time>,
    /// The start of the last bucket with samples before the first entry; 0, which is long ago, where none is known.
    pub(crate) heard: Time,
    /// That of the last one of all.
    latest_heard: Time,
    /// Whether a model of it ever had a plan, or an earlier run missed it: it is to be asked for how long the series has been silent. Of others nobody asks,
    /// which would cost a third.
    pub(crate) is_waited_for: bool,
    /// What an earlier run said, for buckets whose model the store may have let go meanwhile.
    pub(crate) scored: BTreeMap<Time, Known>,
    aside: Option<Box<Aside>>,
}

/// What is seldom asked for.
#[derive(Default)]
pub(crate) struct Aside {
    /// Days that are over and were not handed out yet, as they ended.
    days: Vec<Watch>,
    /// Closed episodes older than the first entry, that were not retired yet.
    pub(crate) done: Vec<Episode>,
    /// What was said of this series, and not taken back.
    said: Vec<Episode>,
    /// What was said of the open bucket that is flagged.
    pub(crate) provisional: Option<Box<Provisional>>,
}

impl Series {
    /// A number that takes a look at all that the next bucket needs, but for the expected value. It means nothing.
    pub(crate) fn looked_at(&self) -> Time {
        let model = self.models.first().map_or(0, |model| model.looked_at());
        let latest = self.entries.back();
        // Of the oldest, whose place is that of the next one, both lines.
        let oldest = self.entries.front().map_or(0, |oldest| oldest.start() + Time::from(oldest.evidence.is_some()));
        let track = latest.map_or(self.base_track.as_deref(), |latest| latest.track.as_deref()).map_or(0, |track| track.last_start);
        [model, oldest, track, self.stale.unwrap_or(0)].into_iter().fold(0, Time::wrapping_add)
    }

    pub(crate) fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// What was said of the open bucket that is flagged.
    pub(crate) fn provisional(&self) -> Option<&Provisional> {
        self.aside.as_ref().and_then(|aside| aside.provisional.as_deref())
    }

    /// Whether episodes were said, and not taken back.
    pub(crate) fn has_said(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| !aside.said.is_empty())
    }

    /// Whether nothing is remembered of its buckets.
    pub(crate) fn is_forgotten(&self) -> bool {
        let has_done = self.aside.as_ref().is_some_and(|aside| !aside.done.is_empty());
        self.entries.is_empty() && !has_done && !self.has_said() && self.has_trivial_base()
    }

    fn has_trivial_base(&self) -> bool {
        self.base.as_ref().is_none_or(|base| base.is_trivial())
    }

    /// Where the bucket that starts then has its entry, or would have it. Nearly always it is the latest.
    pub(crate) fn find(&self, start: Time) -> Result<usize, usize> {
        match self.entries.back() {
            Some(latest) if latest.start() >= start => self.entries.binary_search_by_key(&start, Entry::start),
            _ => Err(self.entries.len()),
        }
    }

    /// The place of the first entry from `start` on.
    fn first_from(&self, start: Time) -> usize {
        self.find(start).unwrap_or_else(|place| place)
    }

    /// Whether nothing of the latest bucket is to be remembered as evidence.
    pub(crate) fn is_calm(&self) -> bool {
        self.entries.back().map_or_else(|| self.has_trivial_base(), |latest| latest.after().is_none())
    }

    fn fold_before(&self, place: usize) -> Fold {
        let before = place.checked_sub(1).map_or(self.base.as_deref(), |before| self.entries[before].after());
        before.cloned().unwrap_or_default()
    }

    /// Keeps a verdict that was just given, and the state after it; whether evidence has to be folded again from it on. Of nearly every bucket it has not:
    /// it is the latest, with nothing to remember before it, and nothing after.
    pub(crate) fn keep(&mut self, verdict: &Verdict, track: Option<Box<Track>>, policy: &Policy) -> bool {
        let (count, most) = (self.entries.len(), policy.entries());
        if count == self.entries.capacity() && count < most {
            // In the end no more than may change, so that each takes the place of the one that has settled.
            self.entries.reserve_exact(count.max(ROOM_MIN).min(most - count));
        }
        let (start, place) = (verdict.bucket.start, self.find(verdict.bucket.start));
        let is_latest = place == Err(self.entries.len());
        let is_calm = !matches!(verdict.state, State::Anomalous | State::Missing);
        let is_plain = is_latest && is_calm && self.is_calm();
        match place {
            Ok(place) => self.entries[place] = Entry::NONE,
            Err(_) if is_latest => self.entries.push_back(Entry::NONE),
            Err(place) => self.entries.insert(place, Entry::NONE),
        }
        // Where it stays: put together elsewhere and moved at once, a processor would wait for what it has just written.
        let entry = &mut self.entries[place.unwrap_or_else(|place| place)];
        (entry.verdict, entry.track) = (*verdict, track);
        if !is_latest {
            self.is_stale_from(start);
        }
        if verdict.bucket.aggregate.is_some() {
            self.latest_heard = self.latest_heard.max(start);
        }
        !is_plain
    }

    /// Takes when it was heard last, if it was let go since: it is waited for by others, who may not know that it is forgotten.
    pub(crate) fn come_back(&mut self, heard: Option<Time>) {
        if let Some(heard) = heard {
            (self.heard, self.is_waited_for) = (self.heard.max(heard), true);
        }
    }

    /// What the method remembers of the buckets before `start`.
    pub(crate) fn track_before(&self, start: Time) -> Option<&Track> {
        let before = self.first_from(start).checked_sub(1);
        before.map_or(self.base_track.as_deref(), |before| self.entries[before].track.as_deref())
    }

    /// The start of the last bucket with samples before `start`; `None` where nobody asks.
    pub(crate) fn heard_before(&self, start: Time) -> Option<Time> {
        let before = || self.entries.range(..self.first_from(start)).rev().map(|entry| &entry.verdict.bucket);
        let found = || before().find(|bucket| bucket.aggregate.is_some()).map_or(self.heard, |bucket| bucket.start);
        // Nearly always it is the latest that is asked for.
        let is_latest = self.entries.back().is_none_or(|latest| latest.start() < start);
        self.is_waited_for.then(|| if is_latest { self.latest_heard.max(self.heard) } else { found() })
    }

    /// Takes a bucket back; whether there was one.
    pub(crate) fn remove(&mut self, start: Time) -> Option<Entry> {
        let entry = self.find(start).ok().and_then(|place| self.entries.remove(place))?;
        let heard = |entry: &Entry| entry.verdict.bucket.aggregate.is_some().then(|| entry.start());
        self.latest_heard = self.entries.iter().rev().find_map(heard).unwrap_or(self.heard);
        Some(entry)
    }

    /// Judges the buckets from `from` on again, and says what is different.
    pub(crate) fn judge_again(
        &mut self,
        from: Time,
        silenced: &dyn Fn(&Bucket) -> bool,
        recalled: Time,
        policy: &Policy,
        say: &mut dyn FnMut(Verdict, isize),
    ) -> Option<Time> {
        let (mut track, mut heard) = (self.track_before(from).cloned().map(Box::new), self.heard_before(from));
        let (mut first, place) = (None, self.first_from(from));
        for entry in self.entries.range_mut(place..) {
            let bucket = entry.verdict.bucket;
            let known = self.scored.get(&bucket.start);
            let (silenced, is_recalled) = (silenced(&bucket), bucket.start < recalled);
            let given = Given { models: &self.models, track: track.as_deref(), heard, known, silenced, is_recalled };
            let (revised, after) = judge(bucket, given, policy);
            heard = heard.map(|heard| if bucket.aggregate.is_some() { bucket.start } else { heard });
            if revised != entry.verdict {
                entry.verdict.tell(-1, say);
                revised.tell(1, say);
                take_back(&mut self.scored, &revised, say);
                entry.verdict = revised;
                first = first.or(Some(bucket.start));
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
        let place = self.first_from(from);
        let mut fold = self.fold_before(place);
        for entry in self.entries.range_mut(place..) {
            // What is not said is no bucket of the series.
            let closed = if entry.verdict.state == State::NotDue { None } else { fold.step(&entry.verdict, policy) };
            let after = (!fold.is_trivial()).then(|| Box::new(fold.clone()));
            entry.evidence = (closed.is_some() || after.is_some()).then(|| Box::new(Evidence { after, closed }));
        }
    }

    /// Lets go of verdicts on buckets before `settled`.
    pub(crate) fn settle(&mut self, settled: Time) {
        while self.entries.front().is_some_and(|oldest| oldest.start() < settled) {
            let Some(entry) = self.entries.pop_front() else { break };
            if entry.verdict.bucket.aggregate.is_some() {
                self.heard = entry.start();
            }
            let (after, closed) = entry.evidence.map_or((None, None), |evidence| (evidence.after, evidence.closed));
            self.base = after;
            self.settle_track(entry.track);
            if let Some(closed) = closed {
                self.aside().done.push(*closed);
            }
        }
        while self.scored.first_key_value().is_some_and(|oldest| *oldest.0 < settled) {
            self.scored.pop_first();
        }
    }

    /// Moves the state on that can change no more, and keeps the count of a day that is over.
    pub(crate) fn settle_track(&mut self, after: Option<Box<Track>>) {
        if let (Some(before), Some(after)) = (&self.base_track, &after)
            && before.watch.tally.day != after.watch.tally.day
            && before.watch.tally.scored > 0
        {
            let watch = before.watch.clone();
            self.aside().days.push(watch);
        }
        self.base_track = after;
    }

    /// The state to be handed out, if that is due: what a restart could not fold on from is not late by then. That a series begins or ends to drift is
    /// said at once.
    pub(crate) fn hand_out(&mut self, settled: Time, policy: &Policy) -> Option<Settled> {
        let track = self.base_track.as_deref()?;
        let drifting = track.watch.drifting_since;
        let due = match self.handed_out {
            Some((last, model, since)) => {
                let is_news = track.model != model || drifting != since || settled - last >= policy.buckets(TRACK_BUCKETS);
                track.last_seen() > last && is_news
            }
            None => true,
        };
        due.then(|| {
            self.handed_out = Some((track.last_seen(), track.model, drifting));
            let mut days = self.aside.as_mut().map(|aside| std::mem::take(&mut aside.days)).unwrap_or_default();
            days.extend((track.watch.tally.scored > 0).then(|| track.watch.clone()));
            Settled { track: track.clone(), days }
        })
    }

    /// Says how the episodes differ from what was said last.
    pub(crate) fn tell(&mut self, say: &mut dyn FnMut(Episode, isize)) {
        let closed = self.entries.iter().filter_map(Entry::closed);
        let open = self.entries.back().map_or(self.base.as_deref(), Entry::after).and_then(Fold::open);
        let done = self.aside.iter().flat_map(|aside| &aside.done);
        let now: Vec<Episode> = done.chain(closed).chain(open).copied().collect();
        if now.is_empty() && !self.has_said() {
            return;
        }
        let said = std::mem::take(&mut self.aside().said);
        said.iter().filter(|episode| !now.contains(episode)).for_each(|episode| say(*episode, -1));
        now.iter().filter(|episode| !said.contains(episode)).for_each(|episode| say(*episode, 1));
        self.aside().said = now;
    }
}

/// Takes back what an earlier run said of a bucket without samples, by the `scored` of its series, if nothing is said of it now.
pub(crate) fn take_back(scored: &mut BTreeMap<Time, Known>, now: &Verdict, say: &mut dyn FnMut(Verdict, isize)) {
    let start = now.bucket.start;
    if now.state == State::NotDue
        && let Some(Known::Silent(state)) = scored.get(&start).copied()
    {
        scored.remove(&start);
        say(Verdict { state, ..*now }, -1);
    }
}
