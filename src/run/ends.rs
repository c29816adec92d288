//! The graph of one worker, by its ends: the inputs, what comes out, and how far it is.

use super::Job;
use super::group::News;
use super::names::Placed;
use super::output::Output;
use super::restored::{Restored, heard_since};
use super::share::Outlets;
use super::worker::{Common, EPOCH_MILLISECONDS};
use crate::history::incident::EntityPlacement;
use crate::history::track::Tracked;
use crate::models::Trained;
use dataflows::{
    Acquaintance, Epoch, Epochs, Event, Fact, Past, Placement, Plain, Report, Silence, Time, bucket_samples, collect_epochs,
    group_episodes, score_buckets,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concatenate, Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

/// What an event takes in the graph.
const EVENT_BYTES: usize = size_of::<Event>();

/// Updates of where entities stand.
type Placements = timely::container::CapacityContainerBuilder<Vec<(Placement, Epoch, isize)>>;

/// The ends of the graph that one worker holds.
pub struct Ends {
    /// The inputs of `bucket_samples`, `score_buckets` and `group_episodes`.
    pub events: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Plain<Event>>>,
    pub reports: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Report>>>,
    pub acquaintances: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Acquaintance>>>,
    pub facts: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<(u64, Fact)>>>,
    pub placements: InputHandle<Epoch, Placements>,
    /// What the readers say beside events.
    pub outputs: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Output>>>,
    /// Passed by an epoch once it is durable.
    pub durable: ProbeHandle<Epoch>,
    /// Complete epochs, on worker 0, which release them.
    pub queue: Rc<RefCell<Epochs<Output>>>,
    /// The common watermark, as far as this worker has heard.
    pub horizon: Rc<Cell<Time>>,
    /// Events that were left out because their partition had been idle.
    pub behind: Rc<Cell<u64>>,
    /// Events that are to be sent.
    turn: Vec<Event>,
    /// Bytes sent since they were last asked for.
    pub sent: Cell<usize>,
    /// Where the entities stand that the graph was told of.
    pub placed: Placed,
}

/// Builds the graph on a worker. `horizon` is how far an earlier run had come.
pub fn build(worker: &mut Worker, job: &Job, horizon: Time) -> Ends {
    let (mut events, mut reports, mut acquaintances) = (InputHandle::new(), InputHandle::new(), InputHandle::new());
    let (mut facts, mut placements, mut outputs) = (InputHandle::new(), InputHandle::new(), InputHandle::new());
    let durable = ProbeHandle::new();
    let first = worker.index() == 0;
    let look_every = job.look_every.map_or(0, |every| (every.as_millis() as u64 / EPOCH_MILLISECONDS).max(1));
    let (queue, horizon, behind) = worker.dataflow::<Epoch, _, _>(|scope| {
        let (events, reports) = (scope.input_from(&mut events), scope.input_from(&mut reports));
        let (acquaintances, facts) = (scope.input_from(&mut acquaintances), scope.input_from(&mut facts));
        let sampled = bucket_samples(events, reports, acquaintances, job.timing, horizon, look_every);
        let scored = score_buckets(sampled.buckets, sampled.opens, sampled.horizons.clone(), facts, job.policy.clone());
        let incidents = group_episodes(scored.episodes.clone(), scope.input_from(&mut placements), &job.policy);
        let verdicts = scored.verdicts.inner.map(|(verdict, _, sign)| Output::Verdict(verdict, sign));
        let provisionals = scored.provisionals.map(|(provisional, sign)| Output::Provisional(provisional, sign));
        let episodes = scored.episodes.inner.map(|(episode, _, sign)| Output::Episode(episode, sign));
        let incidents = incidents.inner.map(|(incident, _, sign)| Output::Incident(Box::new(incident), sign));
        // Every worker sees the same watermark; one telling of it is enough.
        let tracks = scored.tracks.map(|(series, settled)| Output::Settled(series, Box::new(settled)));
        let horizons = sampled.horizons.flat_map(move |horizon| first.then_some(Output::Horizon(horizon.low)));
        let said = scope.concatenate([verdicts, provisionals, tracks, episodes, incidents, horizons, scope.input_from(&mut outputs)]);
        let (durable_stream, queue) = collect_epochs(said);
        durable_stream.probe_with(&durable);
        (queue, sampled.horizon, sampled.behind)
    });
    Ends {
        events,
        reports,
        acquaintances,
        facts,
        placements,
        outputs,
        durable,
        queue,
        horizon,
        behind,
        turn: Vec::new(),
        sent: Cell::new(0),
        placed: Placed::default(),
    }
}

impl Ends {
    /// Begins an epoch.
    pub fn advance_to(&mut self, epoch: Epoch) {
        self.events.advance_to(epoch);
        self.reports.advance_to(epoch);
        self.acquaintances.advance_to(epoch);
        self.facts.advance_to(epoch);
        self.placements.advance_to(epoch);
        self.outputs.advance_to(epoch);
    }

    /// Hands models to those who own their series.
    pub fn learn(&mut self, trained: Vec<Trained>) {
        for one in trained {
            let patience = one.model.cadence.patience(one.model.bucket_width);
            if patience > 0 {
                let series = (one.series.entity(), dataflows::MetricId::of(&one.series.metric));
                self.acquaintances.send(Acquaintance::Patience { series, patience });
            }
            self.facts.send((one.series.entity().0, Fact::Model(one.series.id(), one.model)));
        }
    }

    /// Tells every worker which silences hold.
    fn silence(&mut self, silences: &[Silence], peers: usize) {
        (0..peers as u64).for_each(|peer| self.facts.send((peer, Fact::Silences(silences.to_vec()))));
    }

    /// Tells the graph what episodes go on from.
    fn restore(&mut self, pasts: &[Past]) {
        for past in pasts {
            self.facts.send((past.verdicts[0].bucket.entity.0, Fact::Restored(past.clone())));
        }
    }

    /// Takes what the committing thread has to say.
    pub fn hear(&mut self, news: Vec<News>, peers: usize) {
        for news in news {
            match news {
                News::Durable(epoch, retired) => {
                    self.queue.borrow_mut().release(epoch);
                    retired.into_iter().for_each(|episode| self.facts.send((episode.entity.0, Fact::Retired(episode))));
                }
                News::Silences(silences, pasts) => {
                    self.silence(&silences, peers);
                    self.restore(&pasts);
                }
            }
        }
    }

    /// Runs `act` with the ways into the graph.
    pub fn with_outlets<R>(&mut self, act: impl FnOnce(&mut Outlets<'_>) -> R) -> R {
        let Self { events, reports, facts, placements, outputs, turn, sent, placed, .. } = self;
        let epoch = *placements.time();
        act(&mut Outlets {
            events: turn,
            send: &mut |turn| {
                sent.update(|bytes| bytes + turn.len() * EVENT_BYTES);
                let sent = turn.len();
                let mut batch = Plain(std::mem::take(turn));
                events.send_batch(&mut batch);
                // What is parted among workers leaves its vector behind.
                *turn = batch.0;
                turn.clear();
                turn.reserve(sent);
            },
            report: &mut |report| reports.send(report),
            output: &mut |output| {
                if let Output::Entity(name) = &output {
                    facts.send((name.id.0, Fact::Name(name.id, name.entity_id.clone())));
                    if !name.is_repeated && placed.is_news(name) {
                        placements.send((name.placement(), epoch, 1));
                    }
                }
                sent.update(|bytes| bytes + output.bytes());
                outputs.send(output);
            },
        })
    }

    /// Everything before this epoch is durable.
    pub fn durable_epoch(&self) -> Epoch {
        self.durable.with_frontier(|frontier| frontier.first().copied().unwrap_or(Epoch::MAX))
    }

    /// Tells the graph which series were there before, and what had been said of them.
    pub fn acquaint(&mut self, common: &Common, peers: usize) {
        let Common { job, restored, partitions, .. } = common;
        let Restored { position, settled, scored, unsettled, tracked, placements, silences } = restored;
        self.silence(silences, peers);
        for EntityPlacement { entity_id, placement } in placements {
            self.facts.send((placement.entity.0, Fact::Name(placement.entity, entity_id.clone())));
            self.placements.send((placement.clone(), Epoch::default(), 1));
        }
        let horizon = position.horizon.unwrap_or(Time::MIN);
        (0..peers as u64).for_each(|peer| self.facts.send((peer, Fact::Recalled(horizon))));
        // Nothing is known of the model that missed them: it is looked at them again, and what does not hold is taken back.
        let missed = scored.iter().map(|verdict| &verdict.bucket).filter(|bucket| bucket.aggregate.is_none());
        for series in missed.map(|bucket| (bucket.entity, bucket.metric)).collect::<BTreeSet<_>>() {
            self.acquaintances.send(Acquaintance::Patience { series, patience: job.timing.patience });
        }
        scored.iter().for_each(|verdict| self.facts.send((verdict.bucket.entity.0, Fact::Scored(*verdict))));
        self.restore(&unsettled.pasts);
        for Tracked { name, track, verdicts } in tracked {
            self.facts.send((name.entity().0, Fact::Tracked(name.id(), track.clone().map(Box::new), verdicts.clone())));
        }
        let since = position.horizon.map_or(Time::MIN, |horizon| heard_since(job, horizon));
        for (series, last) in &position.last_seen {
            let (id, entity) = (series.name.id(), series.name.entity());
            settled.get(&id).into_iter().for_each(|last| self.facts.send((entity.0, Fact::Heard(id, *last))));
            let Some(partition) = partitions.iter().find(|partition| partition.name == series.partition) else { continue };
            let metric = dataflows::MetricId::of(&series.name.metric);
            // It may have been silent before the last of them, in buckets that may still change.
            let heard = settled.get(&id).into_iter().chain([last]);
            for last in heard.copied().filter(|last| *last >= since) {
                self.acquaintances.send(Acquaintance::Seen { series: (entity, metric), partition: partition.id, last });
            }
        }
    }
}
