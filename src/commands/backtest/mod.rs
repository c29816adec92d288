//! `tidewatch backtest`: the same graph over a file of the past, as fast as it goes.
//!
//! It reads the file twice: once to aggregate and train on what comes before `--train-until`, once to score. Scoring is causal, since a verdict
//! looks at its own bucket and a model whose training had ended. By models that are there already it scores everything, and reads once.

mod input;
mod output;
mod refusals;

use super::destination::Destination;
use super::measure::{measure, write_report};
use super::outcome::warn_of_strange_limits;
use super::rows::{Rows, Written};
use super::run::{run_before, run_quietly};
use super::sheet::Column;
use crate::cli::{DetectionArgs, WorkerArgs, milliseconds, time};
use crate::history::{self, History, span};
use crate::kind::Kinds;
use crate::models::memory::Memory;
use crate::models::{self, Models, Trained};
use crate::quality::{Labels, Quality};
use crate::run::{Job, Kept, Statistics};
use crate::{instant, telemetry, train};
use anyhow::{Context, Result, bail};
use clap::Args;
use dataflows::Time;
use input::Input;
use output::Output;
use refusals::warn_of_refusals;
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What to run over.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: tidewatch backtest metrics.csv --train-until 2026-01-19T00:00:00Z --out verdicts.csv")]
pub struct BacktestArgs {
    /// A CSV file with the columns timestamp,entity,metric,value, or JSON lines of events
    input: String,
    /// Everything before this time trains, the rest is scored; without it, everything is scored by the models of --models
    #[arg(long, value_name = "TIME", value_parser = time)]
    train_until: Option<Time>,
    /// Where verdicts are written: as Parquet if it ends in .parquet, else as CSV; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// The columns that are written, in this order [default: all]
    #[arg(long, value_name = "COLUMN,…", value_enum, value_delimiter = ',', hide_possible_values = true)]
    columns: Vec<Column>,
    /// Measures what is flagged by labelled anomalies: a CSV with the columns entity,metric,start,end (without a metric, of any metric of the entity), or a
    /// .jsonl by `generate --truth`
    #[arg(long, value_name = "FILE", requires = "train_until")]
    labels: Option<PathBuf>,
    /// Where the measures are written as JSON
    #[arg(long, value_name = "FILE", requires = "labels")]
    report: Option<PathBuf>,
    /// How far back training looks
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration, default_value = "14d")]
    window: Duration,
    /// Keeps the buckets and verdicts there, for `digest` and others: embedded:PATH or postgres://… [default: nowhere]
    #[arg(long, value_name = "URL")]
    history: Option<String>,
    /// Keeps the models there, for `explain`: embedded:PATH, redis://… or rediss://… [default: nowhere]. Without --train-until, the models to score by
    #[arg(long, value_name = "URL")]
    models: Option<String>,
    #[command(flatten)]
    detection: DetectionArgs,
    #[command(flatten)]
    workers: WorkerArgs,
}

/// Where a pass leaves what nobody asked to keep.
const NOWHERE: &str = "embedded::memory:";

/// Trains, scores, writes. `configuration` is the file that arguments came from, if there is one.
///
/// # Errors
/// An input that cannot be read or holds nothing to train on, or an output that cannot be written.
pub fn backtest(arguments: &BacktestArgs, kinds: &Kinds, configuration: Option<PathBuf>) -> Result<()> {
    let stop = telemetry::stop_flag()?;
    if arguments.workers.processes > 1 {
        bail!("a backtest runs in one process; give it threads with -w");
    }
    if arguments.input == "-" {
        bail!("a backtest reads its input from its beginning, and mostly twice: write it to a file");
    }
    let twice = arguments.columns.iter().enumerate().find(|(i, column)| arguments.columns[..*i].contains(column));
    if let Some((_, column)) = twice {
        bail!("--columns names {} twice: a file has one column of a name", column.name());
    }
    if arguments.train_until.is_none() && arguments.models.is_none() {
        bail!("give --train-until TIME to train on what comes before it, or --models URL to score by models that are there");
    }
    let input = Input::open(&arguments.input, arguments.detection.limits.record_bytes_max, kinds)?;
    let kinds = input.kinds(kinds);
    let output = Output::begin(arguments, &input, configuration)?;
    if arguments.train_until.is_none() && arguments.history.is_some() {
        bail!("--history keeps what a backtest with --train-until comes to: give both, or `tidewatch run` the file into that history");
    }
    match arguments.train_until {
        Some(train_until) => train_and_score(arguments, train_until, &input, output, &kinds, &stop),
        None => score(arguments, &input, output, kinds, &stop),
    }
}

/// Trains on what comes before a time, and scores the rest.
fn train_and_score(
    arguments: &BacktestArgs,
    train_until: Time,
    input: &Input,
    output: Output,
    kinds: &Kinds,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let labels = arguments.labels.as_deref().map(Labels::read).transpose()?;
    let total = input.records();
    // Before minutes of work are done.
    let kept = arguments.history.as_deref().unwrap_or(NOWHERE);
    if open(kept)?.sources()?.iter().any(|source| input.identities().contains(source)) {
        bail!("history '{}' holds this input already: name another place for the verdicts of this backtest", crate::secret::redacted(kept));
    }
    let mut store = arguments.models.as_deref().map(models::open).transpose()?;
    let pass = |place: &str, models: Option<Box<dyn Models>>, what| -> Result<Box<dyn History>> {
        let mut history = open(place)?;
        aggregate(arguments, input, kinds.clone(), &mut *history, models, (what, total), (place, stop))?;
        Ok(history)
    };
    let mut before = pass(NOWHERE, None, "aggregating")?;
    if let (None, Some((first, _))) = (span::of_buckets(&mut *before, train_until)?, span::of_buckets(&mut *before, Time::MAX)?) {
        let (until, begins) = (instant::format(train_until), instant::format(first));
        bail!("input '{}' begins at {begins}: there is nothing to train on before --train-until {until}", arguments.input);
    }
    let trained = fit(arguments, train_until, &mut *before)?;
    drop(before);
    uninterrupted(NOWHERE, stop)?;
    let mut scored = pass(kept, Some(Box::new(Memory::new((trained.clone(), Vec::new())))), "scoring")?;
    warn_of_refusals(&arguments.input, &mut *scored)?;
    warn_of_strange_limits(&mut *scored, &arguments.detection.policy.limits)?;
    let width = milliseconds(arguments.detection.bucket);
    let mut verdicts = HashMap::new();
    scored.verdicts(train_until.div_euclid(width) * width, Time::MAX, &mut |verdict| {
        verdicts.insert((verdict.bucket.series(), verdict.bucket.start), verdict);
    })?;
    if verdicts.is_empty() {
        let horizon = scored.position(&input.source().identity(), Time::MAX)?.horizon.map(instant::format).unwrap_or_default();
        bail!(
            "input '{}' ends at {horizon}: there is nothing to score from --train-until {} on",
            arguments.input,
            instant::format(train_until)
        );
    }
    let written = output.write(arguments, input, &mut *scored, &verdicts, train_until, stop);
    complete(&output.rows, stop)?;
    uninterrupted(kept, stop)?;
    let written = written?;
    if written == 0 {
        bail!("no row of input '{}' begins at or after --train-until {}", arguments.input, instant::format(train_until));
    }
    // What somebody else may score by goes out once nothing can come between it and the rows.
    if let Some(store) = &mut store {
        store.push(&trained)?;
    }
    let Output { rows, report } = output;
    let is_free = !rows.is_standard_output() && !report.as_ref().is_some_and(Destination::is_standard_output);
    keep(rows, written, arguments)?;
    let Some(labels) = labels else { return Ok(()) };
    let policy = arguments.detection.policy.policy(&arguments.detection.timing());
    let quality = measure(&mut *scored, &verdicts, &labels, &policy, train_until)?;
    tell(&quality, report, is_free)?;
    if quality.all.labelled == 0 {
        let known = scored.series()?.into_iter().next().map(|series| format!("{},{}", series.name.entity_id, series.name.metric));
        bail!("no label meets a series and a time that were scored: write entity,metric as in {}", known.unwrap_or_default());
    }
    Ok(())
}

/// An error where rows that cannot be taken back were interrupted.
fn complete(rows: &Destination, stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) && !rows.is_revocable() {
        bail!("interrupted; the rows that were written are not all");
    }
    Ok(())
}

/// An error where the backtest was interrupted: it has left the place of its history at most.
fn uninterrupted(place: &str, stop: &AtomicBool) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        false => Ok(()),
        true if place == NOWHERE => bail!("interrupted; nothing was written"),
        true => bail!("interrupted; no rows were written, and history '{}' holds what was scored", crate::secret::redacted(place)),
    }
}

/// Scores the whole input by the models there are. Rows are written while it goes on; what else the graph finds is forgotten at the end.
fn score(arguments: &BacktestArgs, input: &Input, output: Output, kinds: Kinds, stop: &Arc<AtomicBool>) -> Result<()> {
    let url = arguments.models.as_deref().map_or(Ok(""), |url| super::existing("--models", url))?;
    let loaded = models::open(url)?.load()?;
    check(&loaded, milliseconds(arguments.detection.bucket)).with_context(|| format!("models '{}'", crate::secret::redacted(url)))?;
    let written = Written::new(Rows::new(Time::MIN), output.sheet(arguments)?, stop);
    let job = Job { kept: Kept::NoVerdicts, ..arguments.detection.job(input.source(), kinds) };
    let (bar, mut history) = (("scoring", input.records()), open(NOWHERE)?);
    let models: Box<dyn Models> = Box::new(Memory::new(loaded));
    let ran = run_before(&written, job, &arguments.workers, &mut *history, Some(models), bar, &Statistics::default(), stop);
    // Rows that might still have changed are not said of a run that was cut short.
    let until = if ran.is_ok() && !stop.load(Ordering::Relaxed) { Time::MAX } else { Time::MIN };
    let rows = written.finish(until).with_context(|| output.rows.failed())?;
    complete(&output.rows, stop)?;
    ended(arguments, ran?, (NOWHERE, stop))?;
    warn_of_refusals(&arguments.input, &mut *history)?;
    warn_of_strange_limits(&mut *history, &arguments.detection.policy.limits)?;
    keep(output.rows, rows, arguments)
}

/// Puts rows in their place, and says how many they are.
fn keep(place: Destination, rows: u64, arguments: &BacktestArgs) -> Result<()> {
    let is_file = place.is_revocable();
    place.keep()?;
    if is_file {
        tracing::info!("{} rows in {}", indicatif::HumanCount(rows), arguments.out.display());
    }
    Ok(())
}

/// Whether anything can be scored by what a store has loaded. That some of it cannot is said when it is handed to the graph.
fn check((models, unusable): &(Vec<Trained>, Vec<String>), width: Time) -> Result<()> {
    let (ready, warming): (Vec<&Trained>, Vec<_>) = models.iter().partition(|one| one.model.as_warming().is_none());
    if ready.iter().any(|one| one.model.bucket_width == width) {
        return Ok(());
    }
    if let Some(other) = ready.first() {
        let seconds = other.model.bucket_width / 1000;
        bail!("all of them are of buckets of another width: give --bucket {seconds}s, or train with the --bucket of this backtest");
    }
    if let Some(problem) = unusable.first() {
        bail!("none can be used, such as {problem}");
    }
    if warming.is_empty() {
        bail!("there are none: train first, or give --train-until");
    }
    bail!("all series are warming: train on more of their history, or give --train-until")
}

/// Says how what was flagged agrees with labels; on standard error where standard output is not free.
fn tell(quality: &Quality, report: Option<Destination>, is_free: bool) -> Result<()> {
    if is_free {
        super::say(&quality.to_string());
    } else {
        // As with standard output: a reader that went away is no error.
        let _ = writeln!(std::io::stderr().lock(), "{quality}");
    }
    report.map_or(Ok(()), |report| write_report(quality, report))
}

/// Opens a history with its tables.
fn open(url: &str) -> Result<Box<dyn History>> {
    let mut history = history::open(url)?;
    history.migrate()?;
    Ok(history)
}

/// Runs the graph over the whole input.
fn aggregate(
    arguments: &BacktestArgs,
    input: &Input,
    kinds: Kinds,
    history: &mut dyn History,
    models: Option<Box<dyn Models>>,
    bar: (&'static str, Option<u64>),
    (place, stop): (&str, &Arc<AtomicBool>),
) -> Result<()> {
    let job = arguments.detection.job(input.source(), kinds);
    let records = run_quietly(job, &arguments.workers, history, models, bar, &Statistics::default(), stop)?;
    ended(arguments, records, (place, stop))
}

/// Whether a pass came to the end of an input that is one.
fn ended(arguments: &BacktestArgs, records: u64, (place, stop): (&str, &AtomicBool)) -> Result<()> {
    uninterrupted(place, stop)?;
    if records == 0 {
        bail!("input '{}' is empty: there is nothing to run over", arguments.input);
    }
    Ok(())
}

/// Fits the series that can be fitted; the others stay unscored, and their number and reasons are said.
fn fit(arguments: &BacktestArgs, train_until: Time, history: &mut dyn History) -> Result<Vec<Trained>> {
    let request = arguments.detection.request(train_until, train_until)?;
    let request = train::Request { window: milliseconds(arguments.window), ..request };
    let mut models = Memory::new((Vec::new(), Vec::new()));
    let report = train::train(history, &mut models, &request, &mut train::command::progress_bar())?;
    if report.trained < report.total || report.too_narrow().is_some() || !report.unknown_metrics.is_empty() {
        for line in report.to_string().lines() {
            tracing::warn!("{line}");
        }
    }
    Ok(models.load()?.0)
}
