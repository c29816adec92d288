//! Buckets become verdicts, verdicts become episodes.

use super::{Arrivals, Epoch, Horizon, Pending, smallest};
use crate::Time;
use crate::chorus::{Chorus, Part};
use crate::episode::{Episode, EpisodeId};
use crate::followed::{Past, Settled};
use crate::identity::{EntityId, SeriesId};
use crate::model::Model;
use crate::policy::{AnomaliesPer, Policy};
use crate::provisional::{Open, Provisional};
use crate::scorer::{Scorer, TOGETHER};
use crate::silence::Silence;
use crate::tracking::Track;
use crate::verdict::{Bucket, State, Verdict};
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// The operator has four outputs: verdicts, episodes, provisional anomalies and states.
const OUTPUTS: usize = 4;

/// Room for so many buckets of an epoch is kept for the next one: some ten megabytes, more than an epoch of events as they come fills.
const KEPT_ROOM: usize = 1 << 17;

type Updates<D> = CapacityContainerBuilder<Vec<(D, Epoch, isize)>>;

/// What verdicts depend on besides the buckets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Fact {
    /// A model of a series.
    Model(SeriesId, Arc<Model>),
    /// The name of an entity, which silences go by.
    Name(EntityId, String),
    /// All silences that hold from now on.
    Silences(Vec<Silence>),
    /// What an earlier run said of a bucket that may still change.
    Scored(Verdict),
    /// What the episodes of one series go on from: see [`Scorer::restore`].
    Restored(Past),
    /// The state of a series and the settled verdicts after it: see [`Scorer::follow`].
    Tracked(SeriesId, Option<Box<Track>>, Vec<Verdict>),
    /// How far an earlier run had come: see [`Scorer::recall_until`].
    Recalled(Time),
    /// The last bucket of a series with samples that can change no more: see [`Scorer::hear`].
    Heard(SeriesId, Time),
    /// An episode that can change no more, and is stored.
    Retired(EpisodeId),
}

/// What [`score_buckets`] makes.
pub struct ScoreBuckets<'scope> {
    /// One verdict on each bucket.
    pub verdicts: VecCollection<'scope, Epoch, Verdict>,
    /// The episodes that the verdicts come to, as long as they are not retired.
    pub episodes: VecCollection<'scope, Epoch, Episode>,
    /// Anomalies as they look now: 1 for one that appears, -1 for one that no longer does. The end of a bucket says nothing here.
    pub provisionals: StreamVec<'scope, Epoch, (Provisional, isize)>,
    /// What series have come to that can change no more, now and then: what a restart goes on from, and how promises were kept.
    pub tracks: StreamVec<'scope, Epoch, (SeriesId, Settled)>,
}

/// What arrived for one epoch.
#[derive(Default)]
struct Input {
    buckets: Vec<(Bucket, Epoch, isize)>,
    opens: Vec<Open>,
    horizons: Vec<Horizon>,
    facts: Vec<(u64, Fact)>,
}

/// Who speaks for an entity, where several of its metrics have something to say.
#[derive(Default)]
struct Choruses {
    verdicts: Chorus<Verdict>,
    provisionals: Chorus<Provisional>,
}

/// Scores buckets against the newest model whose training ended before them.
///
/// `buckets`, `opens` and `horizons` are where their entity is owned already. `facts` go to the worker that their number leads to: that of the entity for all
/// but silences and how far an earlier run had come, of which every worker needs a copy (the numbers from 0 up lead to one worker each). A fact that comes later than a bucket that it
/// bears on revises the verdict, as long as the bucket is within the lateness.
pub fn score_buckets<'scope>(
    buckets: VecCollection<'scope, Epoch, Bucket>,
    opens: StreamVec<'scope, Epoch, Open>,
    horizons: StreamVec<'scope, Epoch, Horizon>,
    facts: StreamVec<'scope, Epoch, (u64, Fact)>,
    policy: Policy,
) -> ScoreBuckets<'scope> {
    let mut builder = OperatorBuilder::new("score_buckets".into(), facts.scope());
    let mut buckets = builder.new_input(buckets.inner, Pipeline);
    let mut opens = builder.new_input(opens, Pipeline);
    let mut horizons = builder.new_input(horizons, Pipeline);
    let mut facts = builder.new_input(facts, Exchange::new(|fact: &(u64, Fact)| fact.0));
    let (verdicts_out, verdicts) = builder.new_output();
    let (episodes_out, episodes) = builder.new_output();
    let (provisionals_out, provisionals) = builder.new_output();
    let (tracks_out, tracks) = builder.new_output();
    let mut verdicts_out = OutputBuilder::<_, Updates<Verdict>>::from(verdicts_out);
    let mut episodes_out = OutputBuilder::<_, Updates<Episode>>::from(episodes_out);
    let mut provisionals_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<(Provisional, isize)>>>::from(provisionals_out);
    let mut tracks_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<(SeriesId, Settled)>>>::from(tracks_out);
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut scorer = Scorer::new(policy.clone());
        let mut choruses = Choruses::default();
        let mut pending: Pending<Input> = Pending::new();
        move |frontiers| {
            buckets.for_each(|message, data| pending.at(&message, OUTPUTS).buckets.append(data));
            opens.for_each(|message, data| pending.at(&message, OUTPUTS).opens.append(data));
            horizons.for_each(|message, data| pending.at(&message, OUTPUTS).horizons.append(data));
            facts.for_each(|message, data| pending.at(&message, OUTPUTS).facts.append(data));
            let frontier = smallest(&frontiers.iter().collect::<Vec<_>>());
            let (mut verdicts, mut episodes) = (verdicts_out.activate(), episodes_out.activate());
            let (mut provisionals, mut tracks) = (provisionals_out.activate(), tracks_out.activate());
            while let Some((epoch, Arrivals { capabilities, mut data })) = pending.completed(frontier) {
                let mut verdicts = verdicts.session_with_builder(&capabilities[0]);
                let mut episodes = episodes.session_with_builder(&capabilities[1]);
                let mut provisionals = provisionals.session(&capabilities[2]);
                let mut tracks = tracks.session(&capabilities[3]);
                let verdict = &mut |verdict, sign| verdicts.give((verdict, epoch, sign));
                let episode = &mut |episode, sign| episodes.give((episode, epoch, sign));
                let provisional = &mut |provisional, sign| provisionals.give((provisional, sign));
                let track = &mut |series, settled| tracks.give((series, settled));
                match policy.anomalies_per {
                    AnomaliesPer::Series => score(&mut scorer, &mut data, verdict, episode, provisional, track),
                    AnomaliesPer::Entity => {
                        score_together(&mut scorer, &mut choruses, &policy, &mut data, verdict, episode, provisional, track);
                    }
                }
                if data.buckets.capacity() <= KEPT_ROOM {
                    data.buckets.clear();
                    pending.reuse(Input { buckets: data.buckets, ..Input::default() });
                }
            }
        }
    });
    ScoreBuckets { verdicts: verdicts.as_collection(), episodes: episodes.as_collection(), provisionals, tracks }
}

/// One epoch, in which of the metrics of an entity one speaks for all.
#[allow(clippy::too_many_arguments)] // four outputs
fn score_together(
    scorer: &mut Scorer,
    Choruses { verdicts, provisionals }: &mut Choruses,
    policy: &Policy,
    data: &mut Input,
    verdict: &mut dyn FnMut(Verdict, isize),
    episode: &mut dyn FnMut(Episode, isize),
    provisional: &mut dyn FnMut(Provisional, isize),
    track: &mut dyn FnMut(SeriesId, Settled),
) {
    let horizon = data.horizons.iter().map(|horizon| horizon.reached).max();
    let mut tell = |voice: Verdict, part: Part, sign| verdict(part.of(voice), sign);
    // One that accompanies another is not told of before it is final.
    let mut foretell = |voice: Provisional, part, sign| {
        if part == Part::Leads {
            provisional(voice, sign);
        }
    };
    score(
        scorer,
        data,
        &mut |said: Verdict, sign| match said.state {
            State::Anomalous => verdicts.take(said, sign, policy, &mut tell),
            _ => tell(said, Part::Leads, sign),
        },
        episode,
        &mut |said, sign| provisionals.take(said, sign, policy, &mut foretell),
        track,
    );
    verdicts.finish(&mut tell);
    provisionals.finish(&mut foretell);
    if let Some(horizon) = horizon {
        verdicts.forget(policy.settled(horizon));
        provisionals.forget(policy.settled(horizon));
    }
}

/// One epoch.
fn score(
    scorer: &mut Scorer,
    data: &mut Input,
    verdict: &mut dyn FnMut(Verdict, isize),
    episode: &mut dyn FnMut(Episode, isize),
    provisional: &mut dyn FnMut(Provisional, isize),
    track: &mut dyn FnMut(SeriesId, Settled),
) {
    // A stored state is folded on under the models, which therefore go first.
    data.facts.sort_by_key(|(_, fact)| matches!(fact, Fact::Tracked(..)));
    for (_, fact) in data.facts.drain(..) {
        match fact {
            Fact::Model(series, model) => scorer.learn(series, model, verdict),
            Fact::Name(entity, name) => scorer.name(entity, &name),
            Fact::Silences(silences) => scorer.silence(silences, verdict),
            Fact::Scored(verdict) => scorer.recall(&verdict),
            Fact::Restored(past) => scorer.restore(&past),
            Fact::Tracked(series, track, verdicts) => scorer.follow(series, track.map(|track| *track), &verdicts),
            Fact::Recalled(horizon) => scorer.recall_until(horizon),
            Fact::Heard(series, last) => scorer.hear(series, last),
            Fact::Retired(id) => scorer.retire(id, episode),
        }
    }
    // What is taken back goes first, so that a bucket is never there twice; then the earliest, which later ones build on.
    // Nearly always they come like this: to sort them would move each a few times.
    let order = |(bucket, _, sign): &(Bucket, Epoch, isize)| (*sign > 0, bucket.start);
    if !data.buckets.is_sorted_by_key(order) {
        data.buckets.sort_by_key(order);
    }
    for moment in data.buckets.chunk_by(|one, next| order(one) == order(next)) {
        if moment[0].2 < 0 {
            moment.iter().for_each(|(bucket, ..)| scorer.withdraw(bucket, verdict));
        } else {
            moment.chunks(TOGETHER).for_each(|some| scorer.score(some.iter().map(|(bucket, ..)| bucket), verdict));
        }
    }
    data.opens.iter().for_each(|open| scorer.look(open, provisional));
    scorer.finish(data.horizons.iter().map(|horizon| horizon.reached).max(), verdict, episode, track);
}
