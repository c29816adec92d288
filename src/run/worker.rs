//! The loop of one worker: read, step, end epochs, and on worker 0 hand complete epochs to the committing thread.

use super::group::{Commits, Group, News};
use super::in_flight::InFlight;
use super::names::Placed;
use super::output::Output;
use super::share::{Front, Outlets, Share};
use super::statistics::Statistics;
use super::{Job, Part, RunError};
use crate::history::Position;
use crate::history::incident::{EntityPlacement, Unsettled};
use crate::history::track::Tracked;
use crate::models::Trained;
use crate::source::Partition;
use crossbeam_channel::Receiver;
use dataflows::{
    Acquaintance, Epoch, Epochs, Event, Fact, Placement, Plain, Report, Silence, Time, Verdict, bucket_samples, collect_epochs,
    group_episodes, score_buckets,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concatenate, Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

/// The length of an epoch, in milliseconds of wall time. Commits group several; shorter ones cost progress messages, longer ones delay a commit.
const EPOCH_MILLISECONDS: u64 = 50;
/// What an event takes in the graph.
const EVENT_BYTES: usize = size_of::<Event>();
/// How long an idle worker sleeps at most.
const NAP: Duration = Duration::from_millis(5);
/// How long a worker that has nothing to read lets work of others gather: to be woken for each message costs as much as half of what is in it.
const REST: Duration = Duration::from_micros(300);

/// What the threads of one process share.
pub struct Common {
    /// What is to be done.
    pub job: Arc<Job>,
    /// Where the last commit left off.
    pub position: Position,
    /// The verdicts on buckets that may still change, as far as they have a score.
    pub scored: Vec<Verdict>,
    /// What of it may still change.
    pub unsettled: Unsettled,
    /// What the methods of the series go on from.
    pub tracked: Vec<Tracked>,
    /// Where entities stand.
    pub placements: Vec<EntityPlacement>,
    /// The silences that hold at the start.
    pub silences: Vec<Silence>,
    /// Set to end the run in good order.
    pub stop: Arc<AtomicBool>,
    /// Set when a worker cannot go on: the others must not wait for what it held.
    pub abandoned: AtomicBool,
    /// The partitions there were at the start.
    pub partitions: Vec<Partition>,
    /// The partitions there are now, looked for in the background.
    pub discovered: Arc<Mutex<Vec<Partition>>>,
    /// Counters.
    pub statistics: Arc<Statistics>,
    /// Where the partitions of this process are.
    pub front: Front,
    /// When the run began: by the wall clock, which processes share, and by the clock that never goes back.
    pub started: (Time, Instant),
    /// Models, for worker 0.
    pub models: Mutex<Option<Receiver<Vec<Trained>>>>,
    /// To and from the committing thread, for worker 0.
    pub commits: Mutex<Option<Commits>>,
}

impl Common {
    /// The epoch of this moment. All processes count from 1970, so that none waits for one that was started later.
    fn epoch(&self) -> Epoch {
        let elapsed = u64::try_from(self.started.1.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        1 + (u64::try_from(self.started.0).unwrap_or(0) + elapsed) / EPOCH_MILLISECONDS
    }
}

/// Updates of where entities stand.
type Placements = timely::container::CapacityContainerBuilder<Vec<(Placement, Epoch, isize)>>;

/// The ends of the graph that one worker holds.
struct Ends {
    events: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Plain<Event>>>,
    reports: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Report>>>,
    acquaintances: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Acquaintance>>>,
    facts: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<(u64, Fact)>>>,
    placements: InputHandle<Epoch, Placements>,
    outputs: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Output>>>,
    durable: ProbeHandle<Epoch>,
    queue: Rc<RefCell<Epochs<Output>>>,
    horizon: Rc<Cell<Time>>,
    behind: Rc<Cell<u64>>,
    /// Events that are to be sent.
    turn: Vec<Event>,
    /// Bytes sent since they were last asked for.
    sent: Cell<usize>,
    /// Where the entities stand that the graph was told of.
    placed: Placed,
}

fn build(worker: &mut Worker, job: &Job, horizon: Time) -> Ends {
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
    fn advance_to(&mut self, epoch: Epoch) {
        self.events.advance_to(epoch);
        self.reports.advance_to(epoch);
        self.acquaintances.advance_to(epoch);
        self.facts.advance_to(epoch);
        self.placements.advance_to(epoch);
        self.outputs.advance_to(epoch);
    }

    fn learn(&mut self, trained: Vec<Trained>) {
        for one in trained {
            self.facts.send((one.series.entity().0, Fact::Model(one.series.id(), one.model)));
        }
    }

    /// Tells every worker which silences hold.
    fn silence(&mut self, silences: &[Silence], peers: usize) {
        (0..peers as u64).for_each(|peer| self.facts.send((peer, Fact::Silences(silences.to_vec()))));
    }

    /// Tells the graph what episodes go on from.
    fn restore(&mut self, verdicts: &[Vec<Verdict>]) {
        for verdicts in verdicts {
            self.facts.send((verdicts[0].bucket.entity.0, Fact::Restored(verdicts.clone())));
        }
    }

    /// Takes what the committing thread has to say.
    fn hear(&mut self, news: Vec<News>, peers: usize) {
        for news in news {
            match news {
                News::Durable(epoch, retired) => {
                    self.queue.borrow_mut().release(epoch);
                    retired.into_iter().for_each(|episode| self.facts.send((episode.entity.0, Fact::Retired(episode))));
                }
                News::Silences(silences, verdicts) => {
                    self.silence(&silences, peers);
                    self.restore(&verdicts);
                }
            }
        }
    }

    /// Runs `act` with the ways into the graph.
    fn with_outlets<R>(&mut self, act: impl FnOnce(&mut Outlets<'_>) -> R) -> R {
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

    fn durable_epoch(&self) -> Epoch {
        self.durable.with_frontier(|frontier| frontier.first().copied().unwrap_or(Epoch::MAX))
    }
}

/// The worker that reads a partition. Topics begin at different workers, so that many with one partition each are spread as well.
fn worker_of(partition: &Partition, peers: usize) -> usize {
    ((partition.id >> 16) as usize + (partition.id & 0xffff) as usize) % peers
}

/// Runs one worker to the end of its partitions, or until the run is to stop.
///
/// # Errors
/// A source that cannot be read for good, or a committing thread that gave up.
pub fn run(worker: &mut Worker, common: &Common) -> Result<(), RunError> {
    let job = &*common.job;
    let (index, peers) = (worker.index(), worker.peers());
    let mut ends = build(worker, job, common.position.horizon.unwrap_or(Time::MIN));
    let mine = |partition: &Partition| worker_of(partition, peers) == index;
    let partitions: Vec<Partition> = common.partitions.iter().filter(|partition| mine(partition)).cloned().collect();
    let mut share = Share::open(job, &common.position, &partitions, &common.front, &common.statistics)?;
    let models = if index == 0 { common.models.lock().expect("no holder panics").take() } else { None };
    let channel = if index == 0 { common.commits.lock().expect("no holder panics").take() } else { None };
    let mut group = Group::new(channel);
    common.placements.iter().for_each(|placed| ends.placed.recall(&placed.placement));
    if index == 0 {
        acquaint(&mut ends, common, peers);
        models.iter().filter_map(|models| models.recv().ok()).take(1).for_each(|trained| ends.learn(trained));
    }
    ends.with_outlets(|outlets| share.report(Time::MIN, outlets));

    let mut epoch: Epoch = 0;
    let (mut in_flight, mut full) = (InFlight::default(), false);
    let mut trouble: Option<Instant> = None;
    let (health, mut caught_up) = (&common.statistics.health, false);
    loop {
        if common.abandoned.load(Ordering::Relaxed) {
            return Err(RunError::Abandoned);
        }
        if common.stop.load(Ordering::Relaxed) && share.is_restoring() {
            // What was read again is stored already.
            common.abandoned.store(true, Ordering::Relaxed);
            return Err(RunError::Abandoned);
        }
        if !caught_up && !share.is_restoring() {
            caught_up = true;
            health.caught_up();
        }
        let now_epoch = common.epoch();
        if now_epoch > epoch && !share.is_restoring() {
            models.iter().filter_map(|models| models.try_recv().ok()).for_each(|trained| ends.learn(trained));
            let horizon = ends.horizon.get();
            ends.with_outlets(|outlets| share.report(horizon, outlets));
            if share.is_ended() && job.until_end || common.stop.load(Ordering::Relaxed) {
                break;
            }
            epoch = now_epoch;
            ends.advance_to(epoch);
        }
        in_flight.let_go(ends.durable_epoch());
        let mut read = 0;
        let was_full = std::mem::replace(&mut full, in_flight.is_full(job.limits.in_flight_bytes_max) && !share.is_restoring());
        if full && !was_full {
            ends.outputs.send(Output::Full);
        }
        if !full && trouble.is_none_or(|since| since.elapsed() > Duration::from_secs(1)) {
            let horizon = ends.horizon.get();
            match ends.with_outlets(|outlets| share.read(horizon, outlets)) {
                Ok(count) => {
                    (read, trouble) = (count, None);
                    health.note(Part::Source, index, share.absence().as_deref());
                }
                Err(error) if error.is_transient() => {
                    health.note(Part::Source, index, Some(&error.to_string()));
                    trouble = Some(Instant::now());
                }
                Err(error) => return Err(error.into()),
            }
        }
        in_flight.add(epoch, read as u64, ends.sent.take());
        let found = common.discovered.lock().expect("no holder panics").extract_if(.., |partition| mine(partition)).collect::<Vec<_>>();
        found.iter().try_for_each(|partition| share.add(partition))?;
        if read > 0 {
            worker.step();
        } else if share.is_ended() {
            rest(worker);
        } else {
            worker.step_or_park(Some(NAP));
        }
        let news = group.turn(&ends.queue, job.commit_interval)?;
        ends.hear(news, peers);
    }
    drain(worker, ends, group, common)
}

/// Waits for work of others, and does what has gathered of it.
fn rest(worker: &mut Worker) {
    worker.step_or_park(Some(NAP));
    std::thread::sleep(REST);
    worker.step();
}

/// Lets everything that was read become durable.
fn drain(worker: &mut Worker, ends: Ends, mut group: Group, common: &Common) -> Result<(), RunError> {
    let Ends { events, reports, acquaintances, facts, placements, outputs, durable, queue, behind, .. } = ends;
    // Inputs that are let go promise that nothing more will come.
    drop((events, reports, acquaintances, facts, placements, outputs));
    while !durable.done() {
        if common.abandoned.load(Ordering::Relaxed) {
            return Err(RunError::Abandoned);
        }
        if group.commits() {
            worker.step_or_park(Some(REST));
        } else {
            rest(worker);
        }
        for news in group.turn(&queue, Duration::ZERO)? {
            if let News::Durable(epoch, _) = news {
                queue.borrow_mut().release(epoch);
            }
        }
    }
    common.statistics.behind.add(behind.get());
    Ok(())
}

/// Tells the graph which series were there before, and what had been said of them.
fn acquaint(ends: &mut Ends, common: &Common, peers: usize) {
    let Common { job, position, partitions, .. } = common;
    ends.silence(&common.silences, peers);
    for EntityPlacement { entity_id, placement } in &common.placements {
        ends.facts.send((placement.entity.0, Fact::Name(placement.entity, entity_id.clone())));
        ends.placements.send((placement.clone(), Epoch::default(), 1));
    }
    common.scored.iter().for_each(|verdict| ends.facts.send((verdict.bucket.entity.0, Fact::Scored(*verdict))));
    ends.restore(&common.unsettled.verdicts);
    for Tracked { name, track, verdicts } in &common.tracked {
        ends.facts.send((name.entity().0, Fact::Tracked(name.id(), track.clone().map(Box::new), verdicts.clone())));
    }
    // In a bucket that may still change, a series may be missing that is forgotten in the next.
    let unsettled = job.timing.lateness + 2 * job.timing.bucket_width;
    let since = position.horizon.unwrap_or(Time::MIN).saturating_sub(job.timing.forget + unsettled);
    for (series, last) in &position.last_seen {
        let Some(partition) = partitions.iter().find(|partition| partition.name == series.partition) else { continue };
        if *last >= since {
            let metric = dataflows::MetricId::of(&series.name.metric);
            ends.acquaintances.send(Acquaintance { entity: series.name.entity(), metric, partition: partition.id, last: *last });
        }
    }
}
