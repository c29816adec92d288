//! The verdicts of one worker, and the episodes that they add up to.
//!
//! Plain state without timely; [`crate::operators::score_buckets`] drives it.
//!
//! **Invariant.** A verdict is a function of the buckets of its series up to its own, their models, the silences and the policy; an episode is a
//! function of the verdicts of its series; neither of a clock or of the order of arrival.

use crate::Time;
use crate::cadence::PATIENCE_MAX;
use crate::episode::{Episode, EpisodeId, Stage};
use crate::followed::{Entry, Series, Settled, take_back};
use crate::identity::{EntityId, HashedMap, SeriesId};
use crate::judge::{Given, in_force, judge_in_place};
use crate::model::{Method, MetricType, Model};
use crate::policy::Policy;
use crate::provisional::{Inside, Open, Provisional};
use crate::roll::Roll;
use crate::silence::Silence;
use crate::tracking::Track;
use crate::verdict::{Bucket, Verdict};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many buckets are best judged together: enough that waiting for memory hardly counts, few enough that all stay near.
pub const TOGETHER: usize = 64;

/// At most so many models of a series are kept, however often it is trained: with 65 minutes of verdicts, trainings every five minutes.
const MODELS_MAX: usize = 14;

/// The verdicts of one worker.
pub struct Scorer {
    policy: Policy,
    series: Roll,
    /// The name of an entity, and when the entity was last heard of.
    names: Names,
    silences: Vec<Silence>,
    /// Buckets that start before this may have been said by an earlier run.
    recalled: Time,
    /// How far event time had come when an epoch ended last, or an earlier run.
    horizon: Time,
    /// When series were heard last that were let go: a model may come that waits for them.
    gone: HashedMap<SeriesId, Time>,
    /// Series whose verdicts changed since the last [`Scorer::finish`], each with the first bucket that did.
    changed: HashedMap<SeriesId, Time>,
    /// Series with episodes.
    watched: BTreeSet<SeriesId>,
    /// Whether a model or an earlier run gave any series a state.
    has_states: bool,
    /// Buckets that start before this are settled: whoever looks at what may still change lets go of them first.
    settled: Time,
    /// How far event time had come when what is no longer heard of was last let go.
    swept: Time,
    together: Together,
}

/// Room for what is judged together: the places of the series, and what was said of them.
#[derive(Default)]
struct Together {
    places: Vec<usize>,
    judged: Vec<(Verdict, Option<Box<Track>>)>,
}

type Names = HashedMap<EntityId, (Box<str>, Time)>;

/// Whether any of these silences covers a bucket. Names are looked up only where there are some.
fn is_silenced(silences: &[Silence], names: &Names, bucket: &Bucket) -> bool {
    let covers = |name: &str| silences.iter().any(|silence| silence.covers(name, bucket.metric, bucket.start));
    !silences.is_empty() && names.get(&bucket.entity).is_some_and(|known| covers(&known.0))
}

impl Scorer {
    /// No models yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            series: Roll::default(),
            names: HashedMap::default(),
            silences: Vec::new(),
            recalled: Time::MIN,
            horizon: Time::MIN,
            gone: HashedMap::default(),
            changed: HashedMap::default(),
            watched: BTreeSet::new(),
            has_states: false,
            settled: Time::MIN,
            swept: Time::MIN,
            together: Together::default(),
        }
    }

    /// Takes a model, and revises the verdicts that it changes. A model trained until the same time replaces its predecessor, and one trained until an
    /// earlier time all that were trained until later ones: models that hold together come in the order of their trainings. That a series is warming takes
    /// no model out of force, whenever it is said; of several such words the one about the earliest bucket counts.
    pub fn learn(&mut self, series: SeriesId, model: Arc<Model>, say: &mut dyn FnMut(Verdict, isize)) {
        self.has_states |= matches!(model.method, Method::SeasonalLevel(_));
        let entry = self.series.entry(series);
        entry.is_waited_for |= model.cadence.patience(model.bucket_width) > 0;
        entry.heard = entry.heard.max(self.gone.remove(&series).unwrap_or_default());
        entry.settle(self.settled);
        let is_warming = |model: &Model| model.as_warming().is_some();
        let is_replaced =
            |known: &Model| is_warming(known) == is_warming(&model) && (is_warming(known) || known.trained_until == model.trained_until);
        // After a training of some series, all of them are read again. Of one that is warming it may be known by now how often it comes.
        let young = entry.models.iter().find(|known| is_warming(known) && is_warming(&model));
        let is_told = |known: &Arc<Model>| {
            known.trained_until < model.trained_until || known.trained_until == model.trained_until && known.cadence == model.cadence
        };
        if young.is_some_and(is_told) || entry.models.contains(&model) {
            return;
        }
        // A store names the newest model last: what was trained later than that it holds no more, and a restart would not know of it either.
        let is_gone = |known: &Model| !is_warming(&model) && !is_warming(known) && known.trained_until > model.trained_until;
        entry.models.retain(|known| !is_replaced(known) && !is_gone(known));
        entry.models.push(model);
        entry.models.sort_by_key(|model| (is_warming(model), std::cmp::Reverse(model.trained_until)));
        // What scores the oldest verdict that may still change is kept, and what is newer; without verdicts, the one in force and the one before.
        let oldest = entry.entries.front().map(Entry::start);
        let needed =
            |oldest: Time| entry.models.iter().position(|model| model.trained_until <= oldest).map_or(MODELS_MAX, |place| place + 1);
        entry.models.truncate(oldest.map_or(2, needed).clamp(2, MODELS_MAX));
        self.judge_again(series, say);
    }

    /// Takes the name of an entity, which silences go by.
    pub fn name(&mut self, entity: EntityId, name: &str) {
        let swept = self.swept;
        let known = self.names.entry(entity).or_insert_with(|| (name.into(), swept));
        known.1 = known.1.max(swept);
    }

    /// Takes the silences that hold from now on, and revises the verdicts that they change.
    pub fn silence(&mut self, silences: Vec<Silence>, say: &mut dyn FnMut(Verdict, isize)) {
        self.silences = silences;
        let series = self.series.ids().to_vec();
        series.into_iter().for_each(|series| self.judge_again(series, say));
    }

    /// Judges every bucket of a series that may still change again.
    fn judge_again(&mut self, series: SeriesId, say: &mut dyn FnMut(Verdict, isize)) {
        let from = self.changed.get(&series).copied();
        let first = self.judge_from(series, Time::MIN, say);
        if let Some(from) = first.into_iter().chain(from).min() {
            self.changed.insert(series, from);
        }
    }

    /// Judges the buckets of a series from `from` on again; the first whose verdict is different.
    fn judge_from(&mut self, series: SeriesId, from: Time, say: &mut dyn FnMut(Verdict, isize)) -> Option<Time> {
        let Self { policy, series: all, names, silences, settled, recalled, .. } = self;
        let silenced = |bucket: &Bucket| is_silenced(silences, names, bucket);
        let series = all.get_mut(series)?;
        series.settle(*settled);
        series.judge_again(from, &silenced, *recalled, policy, say)
    }

    /// Judges new or revised buckets of one moment, each of another series. Of several moments, the earlier ones first: what comes after them need not be
    /// judged twice.
    ///
    /// Of many series each is out of a processor's cache when its turn comes, and it waits for several places of memory at once only where little is to be
    /// done between them. So each step is taken for all buckets before the next one is; and a verdict is not moved while it is put together, since what was
    /// written in pieces cannot be read as a whole before it has reached the cache.
    pub fn score<'a>(&mut self, buckets: impl Iterator<Item = &'a Bucket> + Clone, say: &mut dyn FnMut(Verdict, isize)) {
        let Self { policy, series: all, names, silences, gone, changed, recalled, together: Together { places, judged }, .. } = self;
        places.clear();
        places.extend(buckets.clone().map(|bucket| all.place(bucket.series())));
        let found = || places.iter().map(|place| all.at(*place));
        std::hint::black_box(found().map(Series::looked_at).fold(0, Time::wrapping_add));
        // Nearly all are in one phase.
        let models = || found().filter_map(|series| series.models.first());
        let phase = models().next().zip(buckets.clone().next()).map_or(0, |(model, bucket)| model.phase_at(bucket.start));
        std::hint::black_box(models().map(|model| model.looked_at_in(phase)).sum::<f64>());
        judged.resize_with(places.len(), || (Verdict::NONE, None));
        for ((bucket, place), (verdict, track)) in buckets.zip(&*places).zip(&mut *judged) {
            let series = all.at_mut(*place);
            if bucket.aggregate.is_none() && !gone.is_empty() {
                series.come_back(gone.remove(&bucket.series()));
            }
            if let Some(from) = series.stale.take() {
                series.judge_again(from, &|bucket| is_silenced(silences, names, bucket), *recalled, policy, say);
            }
            let start = bucket.start;
            let given = Given {
                models: &series.models,
                track: series.track_before(start),
                heard: if bucket.aggregate.is_none() { series.heard_before(start) } else { None },
                known: series.scored.get(&start),
                silenced: is_silenced(silences, names, bucket),
                is_recalled: start < *recalled,
            };
            verdict.bucket = *bucket;
            *track = judge_in_place(verdict, given, policy);
        }
        for ((verdict, track), place) in judged.iter_mut().zip(&*places) {
            verdict.tell(1, say);
            let (start, id, series) = (verdict.bucket.start, verdict.bucket.series(), all.at_mut(*place));
            take_back(&mut series.scored, verdict, say);
            // What is folded again anyway is folded with this one, and settles then.
            let is_changed = changed.contains_key(&id);
            if !is_changed {
                // First: the place of the one that settles is that of the new one then, and near already.
                series.settle(start - policy.retention());
            }
            if series.keep(verdict, track.take(), policy) || is_changed {
                let from = changed.entry(id).or_insert(start);
                *from = (*from).min(start);
            }
        }
    }

    /// Takes back what was said of a bucket that no longer holds.
    pub fn withdraw(&mut self, bucket: &Bucket, say: &mut dyn FnMut(Verdict, isize)) {
        let id = bucket.series();
        let Some(series) = self.series.get_mut(id) else { return };
        if let Some(entry) = series.remove(bucket.start) {
            series.is_stale_from(bucket.start);
            entry.verdict.tell(-1, say);
            let from = self.changed.entry(id).or_insert(bucket.start);
            *from = (*from).min(bucket.start);
        }
    }

    /// Forgets an episode that can change no more and is stored.
    pub fn retire(&mut self, episode: EpisodeId, say: &mut dyn FnMut(Episode, isize)) {
        let Some(series) = self.series.get_mut(SeriesId::of(episode.entity, episode.metric)) else { return };
        series.aside().done.retain(|done| done.id != episode || done.stage != Stage::Settled);
        series.tell(say);
    }

    /// Ends an epoch: says which verdicts and episodes have changed, and hands out states that can change no more. `horizon` is the common watermark, where
    /// it has moved.
    pub fn finish(
        &mut self,
        horizon: Option<Time>,
        say: &mut dyn FnMut(Verdict, isize),
        episode: &mut dyn FnMut(Episode, isize),
        hand_out: &mut dyn FnMut(SeriesId, Settled),
    ) {
        for (id, from) in std::mem::take(&mut self.changed) {
            if let Some(stale) = self.series.get_mut(id).and_then(|series| series.stale.take()) {
                self.judge_from(id, stale, say);
            }
            let policy = &self.policy;
            let Some(series) = self.series.get_mut(id) else { continue };
            series.refold(from, policy);
            let latest = series.entries.back().map_or(Time::MIN, Entry::start);
            series.settle(latest.saturating_sub(policy.retention()));
            series.tell(episode);
            if series.has_said() {
                self.watched.insert(id);
            }
        }
        if let Some(horizon) = horizon {
            self.horizon = horizon;
            self.settle(horizon, episode);
            self.hand_out(horizon, hand_out);
            if horizon >= self.swept.saturating_add(self.policy.retention()) {
                self.sweep(horizon);
            }
        }
    }

    /// Hands out states, once per bucket of event time.
    fn hand_out(&mut self, horizon: Time, say: &mut dyn FnMut(SeriesId, Settled)) {
        let Self { policy, series, settled, has_states, .. } = self;
        let boundary = policy.settled(horizon);
        if boundary <= *settled {
            return;
        }
        *settled = boundary;
        // To look at every series for nothing takes 3 % of the time of a file. What is settled is let go of when it is next looked at.
        if !*has_states {
            return;
        }
        for (id, series) in series.iter_mut() {
            series.settle(boundary);
            series.hand_out(boundary, policy).into_iter().for_each(|settled| say(id, settled));
        }
    }

    /// Lets go of verdicts that can change no more, of series that are no longer heard of and have no model, and of names.
    fn sweep(&mut self, horizon: Time) {
        self.swept = horizon;
        let settled_from = horizon.saturating_sub(self.policy.retention());
        let Self { policy, series, names, gone, .. } = self;
        // What may be missed in a bucket that may still change, and silenced by its name.
        let kept = policy.forget + PATIENCE_MAX + policy.retention();
        gone.retain(|_, heard| heard.saturating_add(kept) >= horizon);
        series.retain(|id, series| {
            let latest = series.entries.back().map(|latest| (latest.verdict.bucket.entity, latest.start()));
            latest
                .and_then(|(entity, start)| Some((names.get_mut(&entity)?, start)))
                .into_iter()
                .for_each(|(known, start)| known.1 = known.1.max(start));
            series.settle(settled_from.saturating_add(1));
            let stays = !series.is_forgotten() || !series.models.is_empty();
            if !stays {
                let heard = gone.entry(id).or_default();
                *heard = series.heard.max(*heard);
            }
            stays
        });
        names.retain(|_, known| {
            // What came before event time had a horizon was heard of just now.
            known.1 = if known.1 == Time::MIN { horizon } else { known.1 };
            known.1.saturating_add(kept) > horizon
        });
    }

    /// Episodes that the common watermark has left behind can change no more.
    fn settle(&mut self, horizon: Time, say: &mut dyn FnMut(Episode, isize)) {
        let Self { policy, series, watched, .. } = self;
        let settled_from = horizon.saturating_sub(policy.retention());
        watched.retain(|id| {
            let Some(series) = series.get_mut(*id) else { return false };
            // What starts exactly there is settled as well.
            series.settle(settled_from.saturating_add(1));
            // Whatever has come since, it came too late to belong to it.
            if let Some(closed) = series.base.as_mut().and_then(|base| base.abandon(settled_from, policy)) {
                series.aside().done.push(*closed);
                series.refold(Time::MIN, policy);
            }
            series.aside().done.iter_mut().for_each(|done| done.settle(horizon, policy));
            series.tell(say);
            series.has_said()
        });
    }

    /// Looks at a bucket that is still open; says what changed since it was last looked at.
    pub fn look(&mut self, open: &Open, say: &mut dyn FnMut(Provisional, isize)) {
        let Some(series) = self.series.get_mut(open.bucket.series()) else { return };
        series.settle(self.settled);
        let silenced = is_silenced(&self.silences, &self.names, &open.bucket);
        let model = in_force(&series.models, open.bucket.start).filter(|_| !silenced);
        let limits = self.policy.limits(open.bucket.metric);
        let inside = Inside::of(series.entries.iter().filter_map(|entry| entry.verdict.bucket.aggregate.as_ref()));
        let track = series.track_before(open.bucket.start);
        // A counter has grown as it should when its bucket is over, and not before.
        let model = model.filter(|model| model.metric_type == MetricType::Gauge);
        let score = |model: &Model, mean: f64| model.score(track, open.bucket.start, mean, 0).0;
        let now = model.and_then(|model| Provisional::of(open, |mean| score(model, mean), inside, limits));
        let before = series.provisional().filter(|before| before.start == open.bucket.start);
        // A number that moves a little is no news; that something begins, ends, or gets louder is.
        if before.map(|before| before.severity) == now.map(|now| now.severity) {
            return;
        }
        before.iter().for_each(|before| say(**before, -1));
        now.iter().for_each(|now| say(*now, 1));
        series.aside().provisional = now.map(Box::new);
    }
}

mod earlier;
#[cfg(test)]
mod tests;
