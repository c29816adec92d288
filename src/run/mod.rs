//! The main job: a source, the graph on its workers, and one thread that commits.

mod alert;
mod batch;
mod census;
mod claim;
mod commit;
mod deliver;
mod ends;
#[cfg(test)]
mod example;
mod feed;
mod group;
mod health;
mod histogram;
mod in_flight;
mod intake;
mod ledger;
mod meeting;
mod minute;
mod names;
mod net;
mod observer;
mod output;
mod regulars;
mod restored;
mod share;
mod stall;
mod statistics;
mod stretch;
mod worker;

pub use alert::{Alerts, Present, Recipient};
pub use claim::claim;
pub use health::{Absence, Health, Part, Stage};
pub use histogram::BOUNDS;
pub use intake::future;
pub use observer::{Observer, Unobserved};
pub use statistics::{Activity, Statistics};

use crate::history::{Batch, History, HistoryError, outbox, rubbish};
use crate::kind::Kinds;
use crate::limits::Limits;
use crate::models::{Models, ModelsError};
use crate::source::{Partition, Source, SourceError};
use batch::{Batches, Told};
use commit::Committer;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dataflows::{Epoch, Policy, Timing};
use deliver::Deliveries;
use feed::Feed;
use group::News;
use meeting::{Joined, MeetingError};
use output::Output;
use restored::Restored;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use worker::Common;

/// How often new partitions are looked for.
const DISCOVERY: Duration = Duration::from_secs(30);

/// The committing thread looks this often whether silences were declared or removed.
const SILENCES: Duration = Duration::from_secs(2);
/// A process that has nothing to commit says this often that it is still there.
const PRESENCE: Duration = Duration::from_secs(1);

/// What is to be run, without where it is stored.
pub struct Job {
    /// The log.
    pub source: Arc<dyn Source>,
    /// Whether the log goes on behind what is read now: its end closes no bucket.
    pub log_continues: bool,
    /// Whether the run ends when every partition was read to its end.
    pub until_end: bool,
    /// How records are read.
    pub kinds: Kinds,
    /// Buckets, watermarks and lateness.
    pub timing: Timing,
    /// What the log may bring.
    pub limits: Limits,
    /// What makes an anomaly.
    pub policy: Policy,
    /// Whether to wait while another process watches the same source into the same history.
    pub standby: bool,
    /// Whether raw events are stored.
    pub raw: bool,
    /// A partition that brought nothing for this long holds nobody back.
    pub idle_timeout: Duration,
    /// The longest that complete verdicts wait for their commit.
    pub commit_interval: Duration,
    /// How often the models' generation is looked at.
    pub models_interval: Duration,
    /// How often open buckets are looked at; `None`: never, since what they show is over by the time it could be seen.
    pub look_every: Option<Duration>,
    /// Who is told of incidents.
    pub alerts: Alerts,
    /// What history is given.
    pub kept: Kept,
}

/// What history is given of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Everything.
    Everything,
    /// Neither verdicts and their series nor what a run goes on from: it is the observer who wants them, and nobody will go on.
    NoVerdicts,
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Another log has a part of this one, and more.
    #[error(
        "this history holds what came of '{other}', which shares topics with '{log}': each would write the series of the other; name all topics of that \
         one, and more if need be, or give another history (of two that were read apart no one log is made)"
    )]
    Overlapping {
        /// What is to be read.
        log: String,
        /// What was read.
        other: String,
    },
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The models.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// Two processes must not commit what comes of one log.
    #[error("'{0}' is being watched by another process that writes to this history: stop that one, or give --standby to wait for its end")]
    Claimed(String),
    /// The processes of the run did not come together.
    #[error(transparent)]
    Meeting(#[from] MeetingError),
    /// Timely could not start its workers.
    #[error("cannot start the workers: {0}")]
    Workers(String),
    /// Another worker could not go on; its own error says why.
    #[error("the run was abandoned")]
    Abandoned,
    /// The committing thread gave up; its own error says why.
    #[error("the committing thread ended")]
    CommitterEnded,
}

impl Job {
    /// What all processes of a run must have been given alike, for they build one graph and deal one log.
    fn purpose(&self, timely: &timely::Config) -> u64 {
        let mut hasher = DefaultHasher::new();
        let flags = (&self.timing, &self.policy, self.log_continues, self.until_end, self.raw, self.idle_timeout);
        let given = (env!("CARGO_PKG_VERSION"), self.source.identity(), &self.kinds, flags);
        format!("{given:?}").hash(&mut hasher);
        if let timely::CommunicationConfig::Cluster { threads, addresses, .. } = &timely.communication {
            (threads, addresses.len()).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Runs a job to its end, or until `stop` is set; everything that was read is durable when it returns.
///
/// `timely` says how many workers and processes; only the process with worker 0 writes to `history` and reads `models`.
///
/// # Errors
/// What cannot be helped by waiting: see [`RunError`].
pub fn run(
    job: Job,
    timely: timely::Config,
    history: &mut dyn History,
    models: Option<Box<dyn Models>>,
    statistics: &Arc<Statistics>,
    observer: &dyn Observer,
    stop: &Arc<AtomicBool>,
) -> Result<(), RunError> {
    let mut job = job;
    if commits(&timely) {
        claim(&*job.source, job.timing.bucket_width, job.standby, history, stop)?;
        if rubbish::forget(history, &job.source.identity())? {
            tracing::warn!("not one record of this log was an event so far: it is read again from its beginning");
        }
    }
    // Not before all are there: this process may have waited for long, and somebody else have committed meanwhile.
    let Some(joined) = meeting::join(&timely.communication, job.purpose(&timely), stop)? else { return Ok(()) };
    let position = restored::position(&mut job, history)?;
    if commits(&timely) {
        position.horizon.into_iter().for_each(|horizon| statistics.set_horizon(horizon));
    } else {
        // Where the watermark is, the process that commits knows.
        job.alerts.stalled_after = None;
    }
    let deliveries = start_deliveries(&mut job, &timely, history, statistics)?;
    let job = Arc::new(job);
    let (trained_sender, trained) = crossbeam_channel::bounded(1);
    let (commit_sender, commit_receiver) = crossbeam_channel::bounded(1);
    let (batch_sender, batch_receiver) = crossbeam_channel::bounded(1);
    let (news_sender, news) = crossbeam_channel::unbounded();
    let partitions = job.source.partitions()?;
    let restored = Restored::read(&job, position, history)?;
    let batches = Mutex::new(Batches::new(&job, &restored, &partitions));
    let committer = Committer::new(&job, history, &restored, &batches, statistics, observer, stop)?;
    let discovered = Arc::default();
    let common = Common {
        job: Arc::clone(&job),
        restored,
        stop: Arc::clone(stop),
        abandoned: AtomicBool::new(false),
        partitions,
        discovered: Arc::clone(&discovered),
        statistics: Arc::clone(statistics),
        front: Mutex::default(),
        started: (crate::instant::now(), Instant::now()),
        models: Mutex::new(Some(trained)),
        commits: Mutex::new(Some((commit_sender, news))),
    };
    statistics.health.begin(threads(&timely));
    let over = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let feed = Feed { job: &job, statistics, over: &over, sender: trained_sender };
        feed.start(scope, models)?;
        let batches = &batches;
        scope.spawn(move || make_batches(batches, commit_receiver, &batch_sender));
        let committing = scope.spawn(move || commit_all(committer, &batch_receiver, &news_sender));
        if !job.until_end {
            let (job, over) = (&job, &over);
            scope.spawn(move || discover(job, &discovered, over));
        }
        let outcome = work(joined, timely.worker, common);
        over.store(true, Ordering::Relaxed);
        committing.join().expect("a panic has ended the process")?;
        outcome
    });
    deliveries.into_iter().for_each(Deliveries::finish);
    outcome
}

/// The threads that tell of incidents, if this process commits and there is somebody to be told.
fn start_deliveries(
    job: &mut Job,
    timely: &timely::Config,
    history: &mut dyn History,
    statistics: &Arc<Statistics>,
) -> Result<Option<Deliveries>, HistoryError> {
    if !commits(timely) || job.alerts.recipients.is_empty() {
        return Ok(None);
    }
    let source = job.source.identity();
    let writer = outbox::writer(history, &source)?;
    Ok(Some(Deliveries::start(&mut job.alerts, (&source, job.timing.bucket_width), &writer, statistics)))
}

/// Makes a batch of each group of epochs, while the one before it is committed.
fn make_batches(batches: &Mutex<Batches<'_>>, groups: Receiver<(Epoch, Vec<Vec<Output>>)>, sender: &Sender<(Epoch, Batch, Told)>) {
    for (epoch, outputs) in groups {
        let (batch, told) = batches.lock().expect("a panic has ended the process").batch(outputs);
        // Who waits for this has ended, and says why.
        let _ = sender.send((epoch, batch, told));
    }
}

/// Commits batches until there are no more.
fn commit_all(mut committer: Committer<'_>, batches: &Receiver<(Epoch, Batch, Told)>, news: &Sender<News>) -> Result<(), HistoryError> {
    loop {
        match batches.recv_timeout(PRESENCE) {
            Ok((epoch, batch, told)) => {
                committer.commit(batch, &told)?;
                let _ = news.send(News::Durable(epoch, told.retired));
            }
            Err(RecvTimeoutError::Timeout) => committer.stay()?,
            Err(RecvTimeoutError::Disconnected) => {
                committer.rest();
                return Ok(());
            }
        }
        committer.watch();
        if let Some((silences, pasts)) = committer.silences() {
            let _ = news.send(News::Silences(silences, pasts));
        }
    }
}

/// Looks for partitions that appear, until the run is over. A broker that does not answer keeps nobody but this thread waiting.
fn discover(job: &Job, discovered: &Mutex<Vec<Partition>>, over: &AtomicBool) {
    let mut looked_at = Instant::now();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        if looked_at.elapsed() > DISCOVERY {
            job.source.look_after_readers();
            looked_at = Instant::now();
            // Workers take theirs out; one that they have already is no news to them.
            if let Ok(found) = job.source.partitions() {
                *discovered.lock().expect("no holder panics") = found;
            }
        }
    }
}

/// Whether worker 0, and with it the committing, is in this process.
fn commits(timely: &timely::Config) -> bool {
    !matches!(timely.communication, timely::CommunicationConfig::Cluster { process: 1.., .. })
}

/// The workers of this process.
fn threads(timely: &timely::Config) -> usize {
    use timely::CommunicationConfig as Communication;
    match &timely.communication {
        Communication::Thread => 1,
        Communication::Process(threads) | Communication::ProcessBinary(threads) | Communication::Cluster { threads, .. } => *threads,
    }
}

/// Starts the workers and waits for them.
fn work((builders, connections): Joined, config: timely::WorkerConfig, common: Common) -> Result<(), RunError> {
    let common = Arc::new(common);
    let inside = Arc::clone(&common);
    let guards = timely::execute::execute_from(builders, Box::new(()), config, move |worker| {
        let outcome = worker::run(worker, &inside);
        if outcome.is_err() {
            // The others would wait for ever for what this worker's graph still holds.
            inside.abandoned.store(true, Ordering::Relaxed);
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
            // Its connections are not to be ended in good order: the other processes would take that for an end that is none of theirs.
            std::mem::forget(worker.clone());
        }
        outcome
    })
    .map_err(RunError::Workers)?;
    let outcomes: Vec<Result<(), RunError>> =
        guards.join().into_iter().map(|outcome| outcome.map_err(RunError::Workers).and_then(|inner| inner)).collect();
    let stopped = common.stop.load(Ordering::Relaxed);
    drop(common);
    // That a worker was left alone says nothing of why; another one's error does.
    let (abandoned, told): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|outcome| matches!(outcome, Err(RunError::Abandoned)));
    let told: Result<(), RunError> = told.into_iter().collect();
    let outcome = told.and_then(|()| abandoned.into_iter().filter(|_| !stopped).collect());
    if outcome.is_err() {
        // To close them in good order would wait for the others, which wait for what the workers here still held. They see this process end.
        std::mem::forget(connections);
    }
    outcome
}
