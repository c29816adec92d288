//! `tidewatch train`: once, or every so often until it is told to stop.

use super::{Calendars, Extent, MethodArgs, Progress, Report, Request, TrainError, train};
use crate::history::{History, HistoryError, span};
use crate::{instant, models};
use anyhow::Context;
use dataflows::Time;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The first wait after a failed run; it doubles up to the interval of `--every`.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// How often a waiting trainer looks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// How often a waiting trainer looks whether series drift, which are trained early.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// A history that ended so long before the end of training is not that of a run that goes on. In milliseconds: a day.
const LONG_AGO: Time = 86_400_000;

/// Opens a history by its URL.
pub type OpenHistory<'a> = &'a dyn Fn(&str) -> Result<Box<dyn History>, HistoryError>;

/// Fit the models of all series in history and push them
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: tidewatch train --history embedded:tidewatch.db --models redis://localhost:6379 --every 60m")]
pub struct Args {
    /// Where buckets are read from: embedded:PATH, postgres://…
    #[arg(long, value_name = "URL", default_value = crate::cli::EMBEDDED)]
    pub history: String,
    /// Where models are pushed to: embedded:PATH, redis://…, rediss://…
    #[arg(long, value_name = "URL", default_value = crate::cli::EMBEDDED)]
    pub models: String,
    /// Train again and again, this long from one start to the next, for example 60m
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::some_duration, conflicts_with = "until")]
    pub every: Option<Duration>,
    /// The end of training, exclusive, for example 2026-01-24T12:35:00Z [default: where history has come to, at most now]
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time)]
    pub until: Option<Time>,
    /// How far back training looks
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration, default_value = "14d")]
    pub window: Duration,
    /// The width of a bucket
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration, default_value = "5m")]
    pub bucket: Duration,
    /// Buckets in one season [default: as many as make a day]
    #[arg(long, value_name = "BUCKETS")]
    pub period: Option<usize>,
    /// How the models are to score.
    #[command(flatten)]
    pub method: MethodArgs,
    /// The days and hours that series follow.
    #[command(flatten)]
    pub calendars: Calendars,
}

impl Args {
    /// The request for a run that starts at `now`, without `--until` one that ends there.
    ///
    /// # Errors
    /// A defect of it, in words.
    pub fn request(&self, now: Time) -> Result<Request, TrainError> {
        let milliseconds = |duration: Duration| Time::try_from(duration.as_millis()).unwrap_or(Time::MAX / 4);
        let mut request = Request::new(self.until.unwrap_or(now), now);
        request.window = milliseconds(self.window);
        request.bucket_width = milliseconds(self.bucket);
        request.methods = self.method.methods();
        request.metric_types = self.method.metric_types();
        request.calendars = self.calendars.clone();
        request.period = match self.period {
            Some(period) => period,
            None => Request::period_of(request.bucket_width)?,
        };
        match request.defect() {
            Some(defect) => Err(TrainError::Request(defect)),
            None => Ok(request),
        }
    }
}

/// Trains once and prints the report on `out`; with `--every` until `stop` is set. A failed run ends a single training and is retried
/// with growing waits in a repeated one: a store that is away may come back.
///
/// # Errors
/// A request that makes no sense, a report that cannot be printed, and what a single training fails of.
pub fn run(args: &Args, open_history: OpenHistory, out: &mut dyn Write, stop: &AtomicBool) -> anyhow::Result<()> {
    let Some(every) = args.every else { return single(args, open_history, out) };
    args.request(instant::now())?;
    let mut backoff = BACKOFF_MIN;
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        match once(args, Extent::All, open_history) {
            Ok(report) => {
                backoff = BACKOFF_MIN;
                writeln!(out, "{report}").context(UNPRINTED)?;
                attend(args, open_history, out, started + every, stop)?;
            }
            // To ask again would come to the same.
            Err(error @ TrainError::Request(_)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = %error, retry_seconds = backoff.as_secs(), "training failed");
                wait(backoff, stop);
                backoff = (backoff * 2).min(every.max(BACKOFF_MIN));
            }
        }
    }
    Ok(())
}

const UNPRINTED: &str = "the report could not be printed";

/// A training that is not repeated, and what is to be said of the history that it saw. The models are out by then: that history went away
/// meanwhile is no failure.
fn single(args: &Args, open_history: OpenHistory, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut history = open_history(&args.history)?;
    let request = at_the_end(args, history.as_mut())?;
    let mut models = models::open(&args.models)?;
    let report = train(history.as_mut(), models.as_mut(), &request, &mut progress_bar())?;
    writeln!(out, "{report}").context(UNPRINTED)?;
    match advice(&mut *history, &request, &report) {
        Ok(advice) => advice.iter().try_for_each(|advice| writeln!(out, "{advice}")).context(UNPRINTED),
        Err(error) => {
            tracing::warn!(%error, "how far history has come could not be looked at");
            Ok(())
        }
    }
}

/// The request for a run now. Without `--until` it ends where history has come to: what a detector that is behind, or was away, has still to read begins there,
/// and would be before any model that was trained until now.
fn at_the_end(args: &Args, history: &mut dyn History) -> Result<Request, TrainError> {
    let now = instant::now();
    let request = args.request(now)?;
    let reached = if args.until.is_none() { span::horizon(history)? } else { None };
    Ok(Request { until: reached.map_or(request.until, |reached| reached.min(now)), ..request })
}

/// What is to be said of a history that ended long before the end of training.
fn advice(history: &mut dyn History, request: &Request, report: &Report) -> Result<Option<String>, HistoryError> {
    let until = request.until();
    let Some(reached) = span::horizon(history)? else {
        return Ok(Some("history holds no bucket yet: let `tidewatch run` fill it first".into()));
    };
    if reached >= until - LONG_AGO {
        return Ok(None);
    }
    let (reached, until) = (instant::format(reached), instant::format(until));
    Ok(Some(if report.trained == 0 {
        format!("event time had come to {reached} in history: give --until {reached}, or a --window that reaches back that far")
    } else {
        format!(
            "event time had come to {reached} in history, and models score only what begins at or after {until}: give --until {reached} if the log \
             goes on there, or an earlier time to score the log itself, which is then read into another --history"
        )
    }))
}

/// Waits for the next training, and trains what drifts meanwhile.
fn attend(args: &Args, open_history: OpenHistory, out: &mut dyn Write, until: Instant, stop: &AtomicBool) -> anyhow::Result<()> {
    loop {
        wait(LOOK_INTERVAL.min(until.saturating_duration_since(Instant::now())), stop);
        if Instant::now() >= until || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        match once(args, Extent::Drifting, open_history) {
            Ok(report) if report.total > 0 => writeln!(out, "{report}").context(UNPRINTED)?,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "whether series drift could not be looked at"),
        }
    }
}

/// One run. Both stores are opened anew, so that the last run's broken connection is not this one's.
fn once(args: &Args, extent: Extent, open_history: OpenHistory) -> Result<Report, TrainError> {
    let mut history = open_history(&args.history)?;
    let request = Request { extent, ..at_the_end(args, history.as_mut())? };
    let mut models = models::open(&args.models)?;
    train(history.as_mut(), models.as_mut(), &request, &mut progress_bar())
}

/// A progress bar on standard error; nothing where that is not a terminal.
pub fn progress_bar() -> impl FnMut(Progress) {
    let style = ProgressStyle::with_template("training {bar:40} {pos}/{len} series, {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    move |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        if progress.done == progress.total {
            bar.finish_and_clear();
        }
    }
}

/// Waits, or returns early when it is time to stop.
fn wait(duration: Duration, stop: &AtomicBool) {
    let until = Instant::now() + duration;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(STOP_INTERVAL.min(until.saturating_duration_since(Instant::now())));
    }
}
