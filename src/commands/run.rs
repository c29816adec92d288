//! `tidewatch run`: the main job.

use super::outcome::{some_are_events, sum_up, warn_of_strange_limits, warn_of_unseen};
use super::{digest, say, simulation};
use crate::cli::{DetectionArgs, RunArgs, WorkerArgs, milliseconds};
use crate::console::{Console, record_bar};
use crate::history::History;
use crate::kind::Kinds;
use crate::models::Models;
use crate::run::{Activity, Alerts, Job, Kept, Observer, Present, Recipient, Statistics, Unobserved};
use crate::secret::redacted;
use crate::serve::{Server, Shown};
use crate::source::file::Files;
use crate::source::kafka::KafkaTopics;
use crate::source::table::Table;
use crate::source::{Source, SourceError};
use crate::train::Extent;
use crate::{history, models, notify, run as runner, serve, telemetry, train};
use anyhow::{Context, Result, bail};
use dataflows::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use timely::{CommunicationConfig, WorkerConfig};

/// For so long the watermark may stand still, or for three buckets.
const STALLED_AFTER: Duration = Duration::from_secs(15 * 60);

/// How often a run that trains looks whether there are series that drift, which are trained early.
const DRIFTING: Duration = Duration::from_secs(10);

/// How long the other processes of a run wait for the first to make the tables.
const FIRST_PROCESS: Duration = Duration::from_secs(60);

/// Watches a source to its end or until Ctrl-C.
///
/// # Errors
/// A source or store that is not there, or what cannot be helped by waiting.
pub fn run(arguments: &RunArgs, kinds: Kinds) -> Result<()> {
    let stop = telemetry::stop_flag()?;
    // What is wrong with the command line is said before minutes of work are done.
    arguments.workers.config()?;
    for (flag, url) in [("--history", &arguments.history), ("--models", &arguments.models)] {
        if url == "embedded::memory:" {
            bail!(
                "{flag} {url}: the page, the trainer and the digest look at it from elsewhere; name a file, or score one with `tidewatch backtest --models`"
            );
        }
    }
    let recipients = alerts(arguments, Present::default())?.recipients;
    for recipient in recipients.iter().filter(|_| arguments.workers.process == 0) {
        tracing::info!("incidents are told to {}, {}", recipient.name, recipient.place);
    }
    let statistics = Arc::new(Statistics::default());
    let _server = serve(arguments, &statistics)?;
    match arguments.source.split_once(':') {
        Some(("simulate", preset)) => simulation::run(arguments, preset, kinds, &statistics, &stop),
        Some(("file", path)) if Table::is_at(path) => {
            let table = Table::open(path, arguments.detection.limits.record_bytes_max)?;
            if open_history(arguments)?.sources()?.contains(&table.identities()[1]) {
                let history = redacted(&arguments.history);
                bail!("history '{history}' holds this table from a backtest, in the order of time: watch it into another history");
            }
            log(arguments, Arc::new(table), true, kinds.of_table(), (&statistics, &stop))
        }
        Some(("file", paths)) => {
            let files = Files::open(paths, arguments.detection.limits.record_bytes_max)?;
            log(arguments, Arc::new(files), true, kinds, (&statistics, &stop))
        }
        Some(("kafka", _)) => {
            let topics = KafkaTopics::open(&arguments.source, arguments.until_end)?;
            log(arguments, Arc::new(topics), arguments.until_end, kinds, (&statistics, &stop))
        }
        _ => Err(SourceError::url(&arguments.source, "write simulate:PRESET, file:PATH or kafka://HOST:PORT/TOPIC").into()),
    }
}

/// The web server, unless it is not wanted. Where several processes share a machine and their flags, one address is enough.
fn serve(arguments: &RunArgs, statistics: &Arc<Statistics>) -> Result<Option<Server>> {
    let wanted = !arguments.no_page && (arguments.listen.is_some() || arguments.workers.process == 0);
    let timing = arguments.detection.timing();
    let shown = Shown {
        statistics,
        history: &arguments.history,
        models: &arguments.models,
        policy: arguments.detection.policy.policy(&timing),
        bucket_width: timing.bucket_width,
        token_file: arguments.token_file.as_deref(),
        explain: super::explain::words,
        take_apart: train::take_apart,
    };
    if !wanted {
        return Ok(None);
    }
    match serve::start(arguments.listen.as_deref(), shown) {
        // They were given the same flags, and whichever came first has it.
        Err(error) if arguments.workers.processes > 1 && error.is_taken() => {
            tracing::warn!("{error}: another process of this run may have it, and this one shows nothing");
            Ok(None)
        }
        outcome => Ok(outcome?),
    }
}

fn log(
    arguments: &RunArgs,
    source: Arc<dyn Source>,
    until_end: bool,
    kinds: Kinds,
    (statistics, stop): (&Arc<Statistics>, &Arc<AtomicBool>),
) -> Result<()> {
    // What Kafka holds now is not its end: the log goes on, and its open buckets stay open. A file's end is the end.
    let log_continues = arguments.source.starts_with("kafka") && until_end;
    let job = Job { log_continues, ..job(arguments, source, until_end, kinds) };
    watch(arguments, job, Present::WallClock, statistics, stop)?;
    if until_end { conclude(arguments, stop) } else { Ok(()) }
}

/// The last line of a run that came to its end: what it all adds up to.
pub fn conclude(arguments: &RunArgs, stop: &AtomicBool) -> Result<()> {
    if arguments.workers.process == 0 && !stop.load(Ordering::Relaxed) {
        say(&format!("digest: {}", digest::of(&mut *history::open(&arguments.history)?, None, None)?));
    }
    Ok(())
}

/// Opens the history and brings its tables up to date. Of several processes the first does that; the others wait until it has.
pub fn open_history(arguments: &RunArgs) -> Result<Box<dyn History>> {
    let deadline = Instant::now() + FIRST_PROCESS;
    loop {
        let attempt = history::open(&arguments.history).and_then(|mut history| {
            if arguments.workers.process == 0 {
                history.migrate()?;
            } else {
                history.sources()?;
            }
            Ok(history)
        });
        match attempt {
            Err(error) if arguments.workers.process > 0 && Instant::now() < deadline => {
                tracing::debug!(%error, "waiting for the first process");
                std::thread::sleep(Duration::from_millis(200));
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Who is told of incidents, as the flags and the configuration file say.
///
/// # Errors
/// A receiver that cannot be meant.
fn alerts(arguments: &RunArgs, present: Present) -> Result<Alerts> {
    let recipients = arguments.alerts.recipients()?;
    let told = recipients.iter().map(|recipient| (recipient.address.name().to_owned(), recipient.minimum)).collect();
    let ready = |recipient: crate::alerts::Recipient| -> Result<Recipient> {
        let crate::alerts::Recipient { address, minimum, per_hour } = recipient;
        Ok(Recipient { name: address.name().into(), place: address.place(), minimum, per_hour, receiver: notify::open(&address)? })
    };
    let url = arguments.history.clone();
    Ok(Alerts {
        recipients: recipients.into_iter().map(ready).collect::<Result<_>>()?,
        told,
        age_max: milliseconds(arguments.alerts.age_max()),
        present,
        page_url: arguments.alerts.page_url.clone(),
        stalled_after: Some(arguments.stalled_after.unwrap_or(STALLED_AFTER.max(3 * arguments.detection.bucket)))
            .filter(|after| !after.is_zero()),
        source: redacted(arguments.source.split('?').next().unwrap_or_default()),
        open_history: Some(Arc::new(move || history::open(&url))),
    })
}

/// A job as the flags describe it.
pub fn job(arguments: &RunArgs, source: Arc<dyn Source>, until_end: bool, kinds: Kinds) -> Job {
    let job = arguments.detection.job(source, kinds);
    // What comes from the past in one go is final before anybody could look at it.
    let is_live = !until_end || arguments.source == "file:-";
    let look_every = is_live.then_some(arguments.detection.commit_interval);
    Job { until_end, standby: arguments.standby, raw: !arguments.no_raw, look_every, ..job }
}

impl DetectionArgs {
    /// A job that reads a source to its end, and stores nothing raw.
    pub fn job(&self, source: Arc<dyn Source>, kinds: Kinds) -> Job {
        let timing = self.timing();
        Job {
            source,
            log_continues: false,
            until_end: true,
            kinds,
            timing,
            limits: self.limits,
            policy: self.policy.policy(&timing),
            standby: false,
            raw: false,
            idle_timeout: self.idle_timeout,
            commit_interval: self.commit_interval,
            models_interval: self.models_interval,
            look_every: None,
            alerts: Alerts::default(),
            kept: Kept::Everything,
        }
    }

    /// What the trainer is asked for where buckets are as wide as here.
    ///
    /// # Errors
    /// A width that does not divide a day.
    pub fn request(&self, until: Time, trained_at: Time) -> Result<train::Request> {
        let bucket_width = milliseconds(self.bucket);
        let period = train::Request::period_of(bucket_width)?;
        let (methods, metric_types, calendars) = (self.method.methods(), self.method.metric_types(), self.calendars.clone());
        Ok(train::Request { bucket_width, period, methods, metric_types, calendars, ..train::Request::new(until, trained_at) })
    }
}

/// Runs a job to its end under a progress bar, without a line per anomaly; says how many records that took.
///
/// # Errors
/// See [`runner::RunError`].
pub fn run_quietly(
    job: Job,
    workers: &WorkerArgs,
    history: &mut dyn History,
    models: Option<Box<dyn Models>>,
    bar: (&'static str, Option<u64>),
    shown: &Statistics,
    stop: &Arc<AtomicBool>,
) -> Result<u64> {
    run_before(&Unobserved, job, workers, history, models, bar, shown, stop)
}

/// The same before an observer.
///
/// # Errors
/// Those of [`run_quietly`].
#[allow(clippy::too_many_arguments)] // the observer is one more
pub fn run_before(
    observer: &dyn Observer,
    job: Job,
    workers: &WorkerArgs,
    history: &mut dyn History,
    models: Option<Box<dyn Models>>,
    (what, total): (&'static str, Option<u64>),
    shown: &Statistics,
    stop: &Arc<AtomicBool>,
) -> Result<u64> {
    let timely = workers.config()?;
    let (statistics, over) = (Arc::new(Statistics::quiet()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| record_bar(what, total, &statistics, &over, shown));
        let outcome = runner::run(job, timely, history, models, &statistics, observer, stop);
        over.store(true, Ordering::Relaxed);
        outcome
    })?;
    Ok(statistics.records.get())
}

/// Runs a job with a console, and the trainer beside it if that was asked for; sums up at the end.
pub fn watch(arguments: &RunArgs, job: Job, present: Present, statistics: &Arc<Statistics>, stop: &Arc<AtomicBool>) -> Result<()> {
    let started = Instant::now();
    let alerts = alerts(arguments, present)?;
    // What has an end may take as long as it likes.
    let is_live = job.look_every.is_some();
    let job = Job { alerts: Alerts { stalled_after: alerts.stalled_after.filter(|_| is_live), ..alerts }, ..job };
    let mut history = open_history(arguments)?;
    let models = models::open(&arguments.models)?;
    let timely = arguments.workers.config()?;
    let (console, over) = (Console::default(), AtomicBool::new(false));
    let (identity, kinds) = (job.source.identity(), job.kinds.clone());
    tracing::info!(source = %identity, history = %redacted(&arguments.history), models = %redacted(&arguments.models), "watching");
    let limits = &arguments.detection.policy.limits;
    let is_looked_at = arguments.workers.process > 0 || warn_of_strange_limits(&mut *history, limits)?;
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| console.watch(statistics, &over));
        if let Some(every) = arguments.train_every.filter(|_| arguments.workers.process == 0) {
            let over = &over;
            scope.spawn(move || retrain(arguments, every, statistics, over));
        }
        let outcome = runner::run(job, timely, &mut *history, Some(models), statistics, &console, stop);
        over.store(true, Ordering::Relaxed);
        outcome
    });
    outcome?;
    sum_up(statistics, started, &arguments.history);
    if stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    if arguments.workers.process == 0 {
        warn_of_unseen(&mut *history, &kinds)?;
        if !is_looked_at {
            warn_of_strange_limits(&mut *history, limits)?;
        }
    }
    some_are_events(&mut *history, &identity)
}

/// Trains again and again until the run is over; a failure is a warning, since detection goes on with the last models.
fn retrain(arguments: &RunArgs, every: Duration, statistics: &Statistics, over: &AtomicBool) {
    let (mut trained_at, mut looked_at) = (Instant::now(), Instant::now());
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200));
        let extent = if trained_at.elapsed() >= every {
            trained_at = Instant::now();
            Extent::All
        } else if looked_at.elapsed() >= DRIFTING && statistics.drifting.load(Ordering::Relaxed) > 0 {
            Extent::Drifting
        } else {
            continue;
        };
        looked_at = Instant::now();
        // Up to where buckets are complete; a model of times to come would score nothing now.
        let Some(until) = statistics.horizon() else { continue };
        match train_once(arguments, until, extent, statistics) {
            Ok(report) if report.total > 0 => tracing::info!("{}", report.to_string().lines().next().unwrap_or_default()),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "training failed; detection goes on with the last models"),
        }
    }
}

/// Trains all or some series on everything before `until`; those who ask `shown` see how far it is.
///
/// # Errors
/// A store that cannot be reached.
pub fn train_once(arguments: &RunArgs, until: dataflows::Time, extent: Extent, shown: &Statistics) -> Result<train::Report> {
    let (mut history, mut models) = (history::open(&arguments.history)?, models::open(&arguments.models)?);
    let request = train::Request { extent, ..arguments.detection.request(until, crate::instant::now())? };
    let mut bar = train::command::progress_bar();
    let mut show = |progress: train::Progress| {
        bar(progress);
        let (done, total) = (progress.done as u64, Some(progress.total as u64));
        shown.set_activity(Some(Activity { what: "training", unit: "series", done, total }));
    };
    let outcome = train::train(&mut *history, &mut *models, &request, &mut show);
    shown.set_activity(None);
    Ok(outcome?)
}

impl WorkerArgs {
    /// The same, for timely.
    ///
    /// # Errors
    /// A process number that is too large, or a host file that does not name every process.
    pub fn config(&self) -> Result<timely::Config> {
        let threads = usize::from(self.threads);
        if self.process >= self.processes {
            bail!("-p {} is not one of {} processes: they are numbered from 0", self.process, self.processes);
        }
        let communication = if self.processes > 1 {
            CommunicationConfig::Cluster {
                threads,
                process: usize::from(self.process),
                addresses: self.addresses()?,
                report: false,
                zerocopy: false,
            }
        } else if threads > 1 {
            CommunicationConfig::Process(threads)
        } else {
            CommunicationConfig::Thread
        };
        Ok(timely::Config { communication, worker: WorkerConfig::default() })
    }

    fn addresses(&self) -> Result<Vec<String>> {
        let wanted = usize::from(self.processes);
        let Some(path) = &self.hostfile else {
            return Ok((0..wanted).map(|process| format!("localhost:{}", 2101 + process)).collect());
        };
        let place = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("host file '{place}', which --hostfile names, cannot be read"))?;
        let addresses: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).take(wanted).collect();
        if addresses.len() < wanted {
            bail!("host file '{place}' names {} processes, -n says {wanted}: write one host:port per line", addresses.len());
        }
        Ok(addresses)
    }
}
