//! The main job: a source, the graph on its workers, and one thread that commits.

mod alert;
mod batch;
mod census;
mod commit;
mod deliver;
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
mod output;
mod regulars;
mod share;
mod statistics;
mod stretch;
mod worker;

pub use alert::{Alerts, Present, Recipient};
pub use health::{Absence, Health, Part, Stage};
pub use histogram::BOUNDS;
pub use statistics::{Activity, Statistics};

use crate::history::incident::{self, EntityPlacement, NamedIncident, Unsettled};
use crate::history::outbox;
use crate::history::silence::{self, SilenceRow};
use crate::history::track::{self, Tracked};
use crate::history::{Change, History, HistoryError, Position};
use crate::kind::Kinds;
use crate::limits::Limits;
use crate::models::{Models, ModelsError};
use crate::series::SeriesName;
use crate::source::{Partition, Source, SourceError};
use batch::Batches;
use commit::Committer;
use crossbeam_channel::RecvTimeoutError;
use dataflows::followed::UNTRACKED_BUCKETS;
use dataflows::{Incident, Policy, Provisional, Silence, State, Time, Timing, Unscored, Verdict};
use deliver::Deliveries;
use feed::Feed;
use group::News;
use meeting::{Joined, MeetingError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use worker::Common;

/// A lock may outlive its session by so long.
const LINGERING: Duration = Duration::from_secs(2);

/// How often new partitions are looked for.
const DISCOVERY: Duration = Duration::from_secs(30);

/// The committing thread looks this often whether silences were declared or removed.
const SILENCES: Duration = Duration::from_secs(2);
/// A process that has nothing to commit says this often that it is still there.
const PRESENCE: Duration = Duration::from_secs(1);

/// A standby looks this often whether a history that is away is back.
const AWAY: Duration = Duration::from_secs(3);

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

/// Somebody who looks on.
pub trait Observer: Send + Sync {
    /// A verdict was committed. Of nearly all there is nothing to say: `name` is only asked for where there is.
    fn verdict(&self, change: &Change, name: &dyn Fn() -> Option<SeriesName>, threshold: f64);

    /// An open bucket looks anomalous, and that was committed.
    fn provisional(&self, series: &SeriesName, provisional: &Provisional, threshold: f64);

    /// An open bucket that looked anomalous no longer does, or no longer speaks for its entity, and that was committed.
    fn provisional_withdrawn(&self, series: &SeriesName, start: Time, reason: &str);

    /// Buckets that start before this change no more, and all that was to be said of them was committed.
    fn settled(&self, _before: Time) {}

    /// An incident was committed that is new, or has changed since `before`.
    fn incident(&self, incident: &NamedIncident, before: Option<&Incident>);

    /// An incident was withdrawn.
    fn incident_withdrawn(&self, incident: &NamedIncident, reason: &str);
}

/// Nobody looks on.
pub struct Unobserved;

impl Observer for Unobserved {
    fn verdict(&self, _: &Change, _: &dyn Fn() -> Option<SeriesName>, _: f64) {}
    fn provisional(&self, _: &SeriesName, _: &Provisional, _: f64) {}
    fn provisional_withdrawn(&self, _: &SeriesName, _: Time, _: &str) {}
    fn incident(&self, _: &NamedIncident, _: Option<&Incident>) {}
    fn incident_withdrawn(&self, _: &NamedIncident, _: &str) {}
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
    }
    // Not before all are there: this process may have waited for long, and somebody else have committed meanwhile.
    let Some(joined) = meeting::join(&timely.communication, job.purpose(&timely), stop)? else { return Ok(()) };
    // Only those who may still be missing, or have verdicts that may change: a history of years holds many more.
    let horizon = history.position(&job.source.identity(), Time::MAX)?.horizon.unwrap_or(Time::MIN);
    let position = history.position(&job.source.identity(), horizon.saturating_sub(names::kept_for(&job.timing)))?;
    if horizon > Time::MIN {
        // What an earlier run settled stays so, though this one may allow more lateness: the records behind it are not read again.
        job.timing.floor = incident::settled(history, &job.source.identity())?.unwrap_or(Time::MIN);
    }
    let deliveries = if commits(&timely) && !job.alerts.recipients.is_empty() {
        let source = job.source.identity();
        let writer = outbox::writer(history, &source)?;
        Some(Deliveries::start(&mut job.alerts, (&source, job.timing.bucket_width), &writer, statistics))
    } else {
        None
    };
    let job = Arc::new(job);
    let (trained_sender, trained) = crossbeam_channel::bounded(1);
    let (commit_sender, commit_receiver) = crossbeam_channel::bounded(1);
    let (batch_sender, batch_receiver) = crossbeam_channel::bounded(1);
    let (news_sender, news) = crossbeam_channel::unbounded();
    let partitions = job.source.partitions()?;
    let restored = Restored::read(&job, position, history)?;
    let batches = Mutex::new(Batches::new(&job, &restored, &partitions));
    let mut committer = Committer::new(&job, history, &restored, &batches, statistics, observer, stop)?;
    let Restored { position, scored, unsettled, tracked, placements, silences } = restored;
    let discovered = Arc::default();
    let common = Common {
        job: Arc::clone(&job),
        position,
        scored,
        unsettled,
        tracked,
        placements,
        silences,
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
        scope.spawn(move || {
            for (epoch, outputs) in commit_receiver {
                let (batch, told) = batches.lock().expect("a panic has ended the process").batch(outputs);
                // Who waits for this has ended, and says why.
                let _ = batch_sender.send((epoch, batch, told));
            }
        });
        let committing = scope.spawn(move || -> Result<(), HistoryError> {
            loop {
                match batch_receiver.recv_timeout(PRESENCE) {
                    Ok((epoch, batch, told)) => {
                        committer.commit(batch, &told)?;
                        let _ = news_sender.send(News::Durable(epoch, told.retired));
                    }
                    Err(RecvTimeoutError::Timeout) => committer.stay()?,
                    Err(RecvTimeoutError::Disconnected) => {
                        committer.rest();
                        return Ok(());
                    }
                }
                if let Some((silences, verdicts)) = committer.silences() {
                    let _ = news_sender.send(News::Silences(silences, verdicts));
                }
            }
        });
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

/// What an earlier run left, as the graph and the committing thread need it.
struct Restored {
    position: Position,
    /// The verdicts on buckets that may still change, as far as they have a score.
    scored: Vec<Verdict>,
    unsettled: Unsettled,
    tracked: Vec<Tracked>,
    placements: Vec<EntityPlacement>,
    silences: Vec<Silence>,
}

impl Restored {
    fn read(job: &Job, position: Position, history: &mut dyn History) -> Result<Self, HistoryError> {
        let source = job.source.identity();
        let silences = silence::all(history)?.iter().map(SilenceRow::silence).collect();
        // Records may have been read before any bucket was over, and where their entities stand is said once.
        let placements = incident::placements(history, &source)?;
        let Some(horizon) = position.horizon else {
            let (scored, unsettled, tracked) = (Vec::new(), Unsettled::default(), Vec::new());
            return Ok(Self { position, scored, unsettled, tracked, placements, silences });
        };
        let boundary = job.timing.first_unsettled(horizon);
        let window = job.policy.buckets(job.policy.episode.window);
        let unsettled = incident::unsettled(history, &source, boundary, window)?;
        let untracked = job.policy.buckets(UNTRACKED_BUCKETS) + job.timing.out_of_orderness;
        let tracked = track::tracked(history, &source, boundary.saturating_sub(untracked), boundary)?;
        let mut scored = Vec::new();
        let took_a_model =
            |verdict: &Verdict| verdict.score.is_some() || matches!(verdict.state, State::Unscored(Unscored::Warming | Unscored::Reset));
        history.verdicts(boundary, Time::MAX, &mut |verdict| scored.extend(Some(verdict).filter(took_a_model)))?;
        Ok(Self { position, scored, unsettled, tracked, placements, silences })
    }
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

/// The workers of this process.
fn threads(timely: &timely::Config) -> usize {
    use timely::CommunicationConfig as Communication;
    match &timely.communication {
        Communication::Thread => 1,
        Communication::Process(threads) | Communication::ProcessBinary(threads) | Communication::Cluster { threads, .. } => *threads,
    }
}

/// Takes the right to commit, waiting for it as long as another process lives if that was asked for.
///
/// # Errors
/// The other process, unless it is to be waited for.
pub fn claim(source: &dyn Source, bucket_width: Time, standby: bool, history: &mut dyn History, stop: &AtomicBool) -> Result<(), RunError> {
    let source = source.identity();
    let (mut told, since) = (false, Instant::now());
    loop {
        match history.claim(&source, bucket_width) {
            Ok(true) => break,
            Ok(false) => {}
            // To a standby, a store that is away is weather; another process can take it no more than this one.
            Err(HistoryError::Operation { transient: true, place, problem, .. }) if standby && !stop.load(Ordering::Relaxed) => {
                tracing::warn!(%place, %problem, "history is away; the standby waits");
                std::thread::sleep(AWAY);
                continue;
            }
            Err(error) => return Err(error.into()),
        }
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
    if told {
        tracing::info!(%source, "the other process has let go; this one takes over");
    }
    Ok(())
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
