//! The main job: a source, the graph on its workers, and one thread that commits.

mod census;
mod commit;
mod feed;
mod in_flight;
mod intake;
mod names;
mod output;
mod share;
mod statistics;
mod stretch;
mod worker;

pub use statistics::Statistics;

use crate::history::{Change, History, HistoryError};
use crate::kind::Kinds;
use crate::limits::Limits;
use crate::models::{Models, ModelsError};
use crate::series::SeriesName;
use crate::source::{Partition, Source, SourceError};
use commit::Committer;
use dataflows::{Policy, Time, Timing};
use feed::Feed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use worker::Common;

/// A lock may outlive its session by so long.
const LINGERING: Duration = Duration::from_secs(2);

/// How often new partitions are looked for.
const DISCOVERY: Duration = Duration::from_secs(30);

/// A standby looks this often whether it may take over.
const TAKE_OVER: Duration = Duration::from_secs(1);

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
}

/// Somebody who looks on.
pub trait Observer: Send + Sync {
    /// A verdict was committed.
    fn verdict(&self, series: &SeriesName, change: &Change, threshold: f64);
}

/// Nobody looks on.
pub struct Unobserved;

impl Observer for Unobserved {
    fn verdict(&self, _: &SeriesName, _: &Change, _: f64) {}
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The models.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// Two processes must not commit what comes of one log.
    #[error("'{0}' is being watched by another process that writes to this history: stop that one, or give --standby to wait for its end")]
    Claimed(String),
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
    let job = Arc::new(job);
    if commits(&timely) {
        claim(&*job.source, job.timing.bucket_width, job.standby, history, stop)?;
    }
    // Only those who may still be missing, or have verdicts that may change: a history of years holds many more.
    let horizon = history.position(&job.source.identity(), Time::MAX)?.horizon.unwrap_or(Time::MIN);
    let position = history.position(&job.source.identity(), horizon.saturating_sub(names::kept_for(&job.timing)))?;
    let (trained_sender, trained) = crossbeam_channel::bounded(1);
    let (commit_sender, commit_receiver) = crossbeam_channel::bounded(1);
    let (done_sender, done) = crossbeam_channel::bounded(1);
    let partitions = job.source.partitions()?;
    let mut committer = Committer::new(&job, history, &position, &partitions, statistics, observer, stop)?;
    let discovered = Arc::default();
    let common = Common {
        job: Arc::clone(&job),
        position,
        stop: Arc::clone(stop),
        abandoned: AtomicBool::new(false),
        partitions,
        discovered: Arc::clone(&discovered),
        statistics: Arc::clone(statistics),
        front: Mutex::default(),
        started: (crate::instant::now(), Instant::now()),
        models: Mutex::new(Some(trained)),
        commits: Mutex::new(Some((commit_sender, done))),
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feed = Feed { job: &job, statistics, over: &over, sender: trained_sender };
        feed.start(scope, models)?;
        let committing = scope.spawn(move || -> Result<(), HistoryError> {
            for (epoch, outputs) in commit_receiver {
                committer.commit(outputs)?;
                let _ = done_sender.send(epoch);
            }
            Ok(())
        });
        if !job.until_end {
            let (job, over) = (&job, &over);
            scope.spawn(move || discover(job, &discovered, over));
        }
        let outcome = work(timely, common);
        over.store(true, Ordering::Relaxed);
        committing.join().expect("a panic has ended the process")?;
        outcome
    })
}

/// Looks for partitions that appear, until the run is over. A broker that does not answer keeps nobody but this thread waiting.
fn discover(job: &Job, discovered: &Mutex<Vec<Partition>>, over: &AtomicBool) {
    let mut looked_at = Instant::now();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        if looked_at.elapsed() > DISCOVERY {
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

/// Takes the right to commit, waiting for it as long as another process lives if that was asked for.
///
/// # Errors
/// The other process, unless it is to be waited for.
pub fn claim(source: &dyn Source, bucket_width: Time, standby: bool, history: &mut dyn History, stop: &AtomicBool) -> Result<(), RunError> {
    let source = source.identity();
    let (mut told, since) = (false, Instant::now());
    while !history.claim(&source, bucket_width)? {
        // A server notices a moment later that the last session of this very process has ended.
        let patient = standby || since.elapsed() < LINGERING;
        if !patient || stop.load(Ordering::Relaxed) {
            return Err(RunError::Claimed(source));
        }
        if standby && !std::mem::replace(&mut told, true) {
            tracing::info!(%source, "another process is watching; this one takes over when it ends");
        }
        std::thread::sleep(if standby { TAKE_OVER } else { LINGERING / 10 });
    }
    Ok(())
}

/// Timely waits for the other processes of a run without an end; a person who wants to stop need not.
fn leave_on_stop(met: &Arc<AtomicBool>, stop: &Arc<AtomicBool>) {
    let (met, stop) = (Arc::clone(met), Arc::clone(stop));
    std::thread::spawn(move || {
        while !met.load(Ordering::Relaxed) {
            if stop.load(Ordering::Relaxed) {
                tracing::info!("stopped while waiting for the other processes");
                std::process::exit(0);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

/// Starts the workers and waits for them.
fn work(timely: timely::Config, common: Common) -> Result<(), RunError> {
    let common = Arc::new(common);
    let inside = Arc::clone(&common);
    let met = Arc::new(AtomicBool::new(!matches!(timely.communication, timely::CommunicationConfig::Cluster { .. })));
    leave_on_stop(&met, &common.stop);
    let guards = timely::execute(timely, move |worker| {
        met.store(true, Ordering::Relaxed);
        let outcome = worker::run(worker, &inside);
        if outcome.is_err() {
            // The others would wait for ever for what this worker's graph still holds.
            inside.abandoned.store(true, Ordering::Relaxed);
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
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
    told.and_then(|()| abandoned.into_iter().filter(|_| !stopped).collect())
}
