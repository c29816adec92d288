//! The loop of one worker: read, step, end epochs, and on worker 0 hand complete epochs to the committing thread.

use super::ends::{Ends, build};
use super::group::{Commits, Group, News};
use super::in_flight::InFlight;
use super::output::Output;
use super::restored::Restored;
use super::share::{Front, Share};
use super::statistics::Statistics;
use super::{Job, Part, RunError};
use crate::models::Trained;
use crate::source::Partition;
use crossbeam_channel::Receiver;
use dataflows::{Epoch, Time};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use timely::worker::Worker;

/// The length of an epoch, in milliseconds of wall time. Commits group several; shorter ones cost progress messages, longer ones delay a commit.
pub const EPOCH_MILLISECONDS: u64 = 50;
/// How long an idle worker sleeps at most.
const NAP: Duration = Duration::from_millis(5);
/// How long a worker that has nothing to read lets work of others gather: to be woken for each message costs as much as half of what is in it.
const REST: Duration = Duration::from_micros(300);

/// A source in trouble is left alone for so long.
const TROUBLED: Duration = Duration::from_secs(1);

/// What the threads of one process share.
pub struct Common {
    /// What is to be done.
    pub job: Arc<Job>,
    /// What an earlier run left.
    pub restored: Restored,
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
    let mut ends = build(worker, job, common.restored.position.horizon.unwrap_or(Time::MIN));
    let mine = |partition: &Partition| worker_of(partition, peers) == index;
    let partitions: Vec<Partition> = common.partitions.iter().filter(|partition| mine(partition)).cloned().collect();
    let mut share = Share::open(job, &common.restored.position, &partitions, &common.front, &common.statistics)?;
    let models = if index == 0 { common.models.lock().expect("no holder panics").take() } else { None };
    let channel = if index == 0 { common.commits.lock().expect("no holder panics").take() } else { None };
    let mut group = Group::new(channel);
    common.restored.placements.iter().for_each(|placed| ends.placed.recall(&placed.placement));
    if index == 0 {
        ends.acquaint(common, peers);
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
        let was_full = std::mem::replace(&mut full, in_flight.is_full(job.limits.in_flight_bytes_max) && !share.is_restoring());
        if full && !was_full {
            ends.outputs.send(Output::Full);
        }
        let read = if full { 0 } else { read(&mut ends, &mut share, &mut trouble, (&common.statistics, index))? };
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

/// Reads what there is, unless the source was in trouble a moment ago; the number of records.
///
/// # Errors
/// A source that cannot be read for good.
fn read(
    ends: &mut Ends,
    share: &mut Share,
    trouble: &mut Option<Instant>,
    (statistics, index): (&Statistics, usize),
) -> Result<usize, RunError> {
    if trouble.is_some_and(|since| since.elapsed() <= TROUBLED) {
        return Ok(0);
    }
    let (horizon, health) = (ends.horizon.get(), &statistics.health);
    match ends.with_outlets(|outlets| share.read(horizon, outlets)) {
        Ok(count) => {
            *trouble = None;
            health.note(Part::Source, index, share.absence().as_deref());
            Ok(count)
        }
        Err(error) if error.is_transient() => {
            health.note(Part::Source, index, Some(&error.to_string()));
            *trouble = Some(Instant::now());
            Ok(0)
        }
        Err(error) => Err(error.into()),
    }
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
