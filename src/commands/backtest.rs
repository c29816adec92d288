//! `tidewatch backtest`: the same graph over a file of the past, as fast as it goes.
//!
//! It reads the file twice: once to aggregate and train on what comes before `--train-until`, once to score. Scoring is causal, since a verdict
//! looks at its own bucket and a model whose training had ended. By models that are there already it scores everything, and reads once.

use super::destination::Destination;
use super::measure::{measure, write_report};
use super::rows::{Rows, Written};
use super::run::{run_before, run_quietly};
use super::sheet::{Column, Row, Sheet, sheet};
use crate::cli::{DetectionArgs, WorkerArgs, milliseconds, time};
use crate::history::{self, EVENT, History};
use crate::instant;
use crate::kind::Kinds;
use crate::models::memory::Memory;
use crate::models::{self, Models, Trained};
use crate::quality::Labels;
use crate::run::{Job, Kept, Statistics};
use crate::series::SeriesName;
use crate::source::Source;
use crate::source::file::{Files, count_lines};
use crate::source::table::Table;
use crate::{telemetry, train};
use anyhow::{Context, Result, bail};
use clap::Args;
use dataflows::{SeriesId, Time, Verdict};
use std::collections::HashMap;
use std::io::{BufWriter, IsTerminal, Write};
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
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "models")]
    train_until: Option<Time>,
    /// Where verdicts are written: as Parquet if it ends in .parquet, else as CSV; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// The columns that are written, in this order [default: all]
    #[arg(long, value_name = "COLUMN,…", value_enum, value_delimiter = ',', hide_possible_values = true)]
    columns: Vec<Column>,
    /// Measures what is flagged by a CSV of labelled anomalies with the columns entity,metric,start,end; without a metric, of any metric of the entity
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

/// A file to run over.
enum Input {
    Table(Arc<Table>),
    Events(Arc<Files>),
}

impl Input {
    fn open(path: &str, record_bytes_max: usize) -> Result<Self> {
        let is_table = std::path::Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        Ok(if is_table {
            Self::Table(Arc::new(Table::sorted(path)?))
        } else {
            Self::Events(Arc::new(Files::open(path, record_bytes_max)?))
        })
    }

    fn source(&self) -> Arc<dyn Source> {
        match self {
            Self::Table(table) => Arc::clone(table) as Arc<dyn Source>,
            Self::Events(files) => Arc::clone(files) as Arc<dyn Source>,
        }
    }

    /// How many records there are, for a progress bar; `None` where nobody sees one.
    fn records(&self) -> Option<u64> {
        let partitions = self.source().partitions().ok().filter(|_| std::io::stderr().is_terminal())?;
        let header = u64::from(matches!(self, Self::Table(_)));
        let lines = partitions.iter().map(|partition| count_lines(&partition.name).ok());
        lines.sum::<Option<u64>>().map(|lines| lines.saturating_sub(header))
    }
}

/// Trains, scores, writes.
///
/// # Errors
/// An input that cannot be read or holds nothing to train on, or an output that cannot be written.
pub fn backtest(arguments: &BacktestArgs, kinds: &Kinds) -> Result<()> {
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
    let input = Input::open(&arguments.input, arguments.detection.limits.record_bytes_max)?;
    let mut needed = arguments.needed(&input)?;
    let out = Destination::new(&arguments.out, &needed)?;
    needed.extend(out.file().map(PathBuf::from));
    let report = arguments.report.as_deref().map(|path| Destination::new(path, &needed)).transpose()?;
    if arguments.train_until.is_none() && arguments.history.is_some() {
        bail!("--history keeps what a backtest with --train-until comes to: give both, or `tidewatch run` the file into that history");
    }
    let Some(train_until) = arguments.train_until else { return score(arguments, &input, out, kinds.clone(), &stop) };
    let labels = arguments.labels.as_deref().map(Labels::read).transpose()?;
    let total = input.records();
    // Before minutes of work are done.
    let kept = arguments.history.as_deref().unwrap_or(NOWHERE);
    if open(kept)?.sources()?.contains(&input.source().identity()) {
        bail!("history '{}' holds this input already: name another place for the verdicts of this backtest", crate::secret::redacted(kept));
    }
    let mut store = arguments.models.as_deref().map(models::open).transpose()?;
    let pass = |place: &str, models: Option<Box<dyn Models>>, what| -> Result<Box<dyn History>> {
        let mut history = open(place)?;
        let outcome = aggregate(arguments, &input, kinds.clone(), &mut *history, models, (what, total), &stop);
        if place != NOWHERE && stop.load(Ordering::Relaxed) {
            bail!("interrupted; no verdicts were written, and history '{}' may hold a part of them", crate::secret::redacted(place));
        }
        outcome.map(|()| history)
    };
    let mut before = pass(NOWHERE, None, "aggregating")?;
    let trained = fit(arguments, train_until, &mut *before)?;
    drop(before);
    if let Some(store) = &mut store {
        store.push(&trained)?;
    }
    let mut scored = pass(kept, Some(Box::new(Memory::new((trained, Vec::new())))), "scoring")?;
    warn_of_refusals(arguments, &mut *scored)?;
    let width = milliseconds(arguments.detection.bucket);
    let mut verdicts = HashMap::new();
    scored.verdicts(train_until.div_euclid(width) * width, Time::MAX, &mut |verdict| {
        verdicts.insert((verdict.bucket.series(), verdict.bucket.start), verdict);
    })?;
    let mut sheet = open_sheet(arguments, &out)?;
    match &input {
        Input::Table(table) => by_row(arguments, train_until, table, &verdicts, &mut *sheet),
        Input::Events(_) => by_bucket(train_until, &mut *scored, &verdicts, &mut *sheet),
    }
    .and_then(|()| Ok(sheet.finish()?))
    .with_context(|| out.failed())?;
    drop(sheet);
    out.keep()?;
    labels.map_or(Ok(()), |labels| compare(arguments, train_until, &mut *scored, &verdicts, &labels, report))
}

impl BacktestArgs {
    /// The files that a backtest reads, or keeps something in.
    fn needed(&self, input: &Input) -> Result<Vec<PathBuf>> {
        let partitions = input.source().partitions()?.into_iter().map(|partition| PathBuf::from(partition.name));
        let stores = [&self.models, &self.history].into_iter().flatten();
        // What SQLite, and the right to write, keep beside a file.
        let beside = |path: &str| ["", "-wal", "-shm", ".lock"].map(|ending| PathBuf::from(format!("{path}{ending}")));
        let stores = stores.filter_map(|url| url.strip_prefix("embedded:")).flat_map(beside);
        Ok(partitions.chain(stores).chain(self.labels.clone()).collect())
    }
}

/// Opens the sheet that `--out` asks for.
fn open_sheet(arguments: &BacktestArgs, out: &Destination) -> Result<Box<dyn Sheet>> {
    let policy = arguments.detection.policy.policy(&arguments.detection.timing());
    let writer = BufWriter::new(out.open()?);
    let columns = if arguments.columns.is_empty() { Column::all() } else { &arguments.columns };
    sheet(&arguments.out, Box::new(writer), columns, policy).with_context(|| out.failed())
}

/// Scores the whole input by the models there are. Rows are written while it goes on; what else the graph finds is forgotten at the end.
fn score(arguments: &BacktestArgs, input: &Input, out: Destination, kinds: Kinds, stop: &Arc<AtomicBool>) -> Result<()> {
    let url = arguments.models.as_deref().map_or(Ok(""), super::existing)?;
    let loaded = models::open(url)?.load()?;
    check(&loaded, milliseconds(arguments.detection.bucket)).with_context(|| format!("models '{}'", crate::secret::redacted(url)))?;
    let written = Written::new(Rows::new(Time::MIN), open_sheet(arguments, &out)?, stop);
    let job = Job { kept: Kept::NoVerdicts, ..arguments.detection.job(input.source(), kinds) };
    let (bar, mut history) = (("scoring", input.records()), open(NOWHERE)?);
    let models: Box<dyn Models> = Box::new(Memory::new(loaded));
    let ran = run_before(&written, job, &arguments.workers, &mut *history, Some(models), bar, &Statistics::default(), stop);
    // Rows that might still have changed are not said of a run that was cut short.
    let is_whole = ran.is_ok() && !stop.load(Ordering::Relaxed);
    let rows = written.finish(is_whole).with_context(|| out.failed())?;
    if stop.load(Ordering::Relaxed) && out.file().is_none() {
        bail!("interrupted; the rows that were written are not all");
    }
    ended(arguments, ran?, stop)?;
    warn_of_refusals(arguments, &mut *history)?;
    let is_file = out.file().is_some();
    out.keep()?;
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

/// Says how what was flagged agrees with labels; on standard error where standard output holds the verdicts.
fn compare(
    arguments: &BacktestArgs,
    train_until: Time,
    history: &mut dyn History,
    verdicts: &Verdicts,
    labels: &Labels,
    report: Option<Destination>,
) -> Result<()> {
    let policy = arguments.detection.policy.policy(&arguments.detection.timing());
    let quality = measure(history, verdicts, labels, &policy, train_until)?;
    if arguments.out.as_os_str() == "-" {
        // As with standard output: a reader that went away is no error.
        let _ = writeln!(std::io::stderr().lock(), "{quality}");
    } else {
        super::say(&quality.to_string());
    }
    report.map_or(Ok(()), |report| write_report(&quality, report))?;
    if quality.all.labelled == 0 {
        let known = history.series()?.into_iter().next().map(|series| format!("{},{}", series.name.entity_id, series.name.metric));
        bail!("no label meets a series and a time that were scored: write entity,metric as in {}", known.unwrap_or_default());
    }
    Ok(())
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
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let job = arguments.detection.job(input.source(), kinds);
    let records = run_quietly(job, &arguments.workers, history, models, bar, &Statistics::default(), stop)?;
    ended(arguments, records, stop)
}

/// Whether a pass came to the end of an input that is one.
fn ended(arguments: &BacktestArgs, records: u64, stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        bail!("interrupted; nothing was written");
    }
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
    if report.trained < report.total {
        for line in report.to_string().lines() {
            tracing::warn!("{line}");
        }
    }
    Ok(models.load()?.0)
}

/// Says what was refused. Of an input that is mostly refused, verdicts would mislead.
fn warn_of_refusals(arguments: &BacktestArgs, history: &mut dyn History) -> Result<()> {
    let mut refused = history.outcomes()?;
    let events = refused.remove(EVENT).unwrap_or_default();
    for (reason, count) in &refused {
        tracing::warn!("{count} records were refused as {reason}");
    }
    if refused.values().sum::<u64>() > events {
        bail!("most of '{}' was refused, see above; events must come in the order of time, within --lateness", arguments.input);
    }
    Ok(())
}

type Verdicts = HashMap<(SeriesId, Time), Verdict>;

/// One row per row of the input from `--train-until` on, in the input's order and with its own timestamp and value.
fn by_row(arguments: &BacktestArgs, train_until: Time, table: &Table, verdicts: &Verdicts, sheet: &mut dyn Sheet) -> Result<()> {
    let width = milliseconds(arguments.detection.bucket);
    table.rows(&mut |[timestamp, entity, metric, value]| {
        let Some(time) = instant::parse(timestamp.trim()).filter(|time| *time >= train_until) else { return Ok(()) };
        let (series, start) = (SeriesId::named("server", entity.trim(), metric.trim()), time.div_euclid(width) * width);
        let verdict = verdicts.get(&(series, start));
        let start = verdict.map_or_else(String::new, |_| instant::format(start));
        sheet.add(&Row {
            time: (time, timestamp.trim()),
            entity,
            metric,
            value: Some(value),
            verdict: verdict.map(|verdict| (verdict, start.as_str())),
        })
    })?;
    Ok(())
}

/// One row per series and bucket from `--train-until` on, by time; the value is the bucket's mean.
fn by_bucket(train_until: Time, history: &mut dyn History, verdicts: &Verdicts, sheet: &mut dyn Sheet) -> Result<()> {
    let names: HashMap<SeriesId, SeriesName> = history.series()?.into_iter().map(|series| (series.name.id(), series.name)).collect();
    let mut rows = Rows::new(train_until);
    for ((series, start), verdict) in verdicts {
        rows.take(*series, *start, Some(*verdict), || names.get(series).cloned());
    }
    rows.write(Time::MAX, sheet)?;
    Ok(())
}
