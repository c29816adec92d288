//! `tidewatch backtest`: the same graph over a file of the past, as fast as it goes.
//!
//! It reads the file twice: once to aggregate and train on what comes before `--train-until`, once to score. Scoring is causal, since a verdict
//! looks at its own bucket and a model whose training had ended.

use super::measure::{measure, spoken, write_report};
use super::run::run_quietly;
use crate::cli::{DetectionArgs, WorkerArgs, milliseconds, time};
use crate::history::{self, History};
use crate::instant;
use crate::kind::Kinds;
use crate::models::memory::Memory;
use crate::models::{self, Models, Trained};
use crate::quality::Labels;
use crate::run::Statistics;
use crate::series::SeriesName;
use crate::source::Source;
use crate::source::file::{Files, count_lines};
use crate::source::table::{COLUMNS, Table};
use crate::{telemetry, train};
use anyhow::{Context, Result, bail};
use clap::Args;
use dataflows::{Policy, SeriesId, Severity, State, Time, Verdict, anomaly_score};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What follows the four columns of the input. `z_score` is what counts, `own_z_score` that of the series alone: they differ where the bucket accompanies one
/// of another metric of its entity.
const SCORES: &str = "expected,z_score,is_anomaly,bucket_start,mean,sigma,state,severity,anomaly_score,own_z_score";

/// What to run over.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: tidewatch backtest metrics.csv --train-until 2026-01-19T00:00:00Z --out verdicts.csv")]
pub struct BacktestArgs {
    /// A CSV file with the columns timestamp,entity,metric,value, or JSON lines of events
    input: String,
    /// Everything before this time trains, the rest is scored
    #[arg(long, value_name = "TIME", value_parser = time)]
    train_until: Time,
    /// Where verdicts are written as CSV; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Measures what is flagged by a CSV of labelled anomalies with the columns entity,metric,start,end; without a metric, of any metric of the entity
    #[arg(long, value_name = "FILE")]
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
    /// Keeps the models there, for `explain`: embedded:PATH, redis://… or rediss://… [default: nowhere]
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
        bail!("a backtest reads its input twice: write it to a file");
    }
    let input = Input::open(&arguments.input, arguments.detection.limits.record_bytes_max)?;
    let place = arguments.out.display().to_string();
    let folder = arguments.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) || arguments.out.is_dir() {
        bail!("output '{place}' cannot be written: there is no such folder, or it is one");
    }
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
        aggregate(arguments, &input, kinds.clone(), &mut *history, models, (what, total), &stop)?;
        Ok(history)
    };
    let mut before = pass(NOWHERE, None, "aggregating")?;
    let trained = fit(arguments, &mut *before)?;
    drop(before);
    if let Some(store) = &mut store {
        store.push(&trained)?;
    }
    let mut scored = pass(kept, Some(Box::new(Memory::new(trained))), "scoring")?;
    warn_of_refusals(arguments, &mut *scored)?;
    let width = milliseconds(arguments.detection.bucket);
    let mut verdicts = HashMap::new();
    scored.verdicts(arguments.train_until.div_euclid(width) * width, Time::MAX, &mut |verdict| {
        verdicts.insert((verdict.bucket.series(), verdict.bucket.start), verdict);
    })?;
    // Not before: a backtest that fails leaves what an earlier one has written.
    let mut out: Box<dyn Write> = if place == "-" {
        Box::new(BufWriter::new(std::io::stdout()))
    } else {
        Box::new(BufWriter::new(File::create(&arguments.out).with_context(|| format!("output '{place}' cannot be written"))?))
    };
    match &input {
        Input::Table(table) => by_row(arguments, table, &verdicts, &mut *out),
        Input::Events(_) => by_bucket(arguments, &mut *scored, &verdicts, &mut *out),
    }
    .with_context(|| format!("output '{place}' cannot be written"))?;
    out.flush().with_context(|| format!("output '{place}' cannot be written"))?;
    drop(out);
    labels.map_or(Ok(()), |labels| compare(arguments, &mut *scored, &verdicts, &labels))
}

/// Says how what was flagged agrees with labels; on standard error where standard output holds the verdicts.
fn compare(arguments: &BacktestArgs, history: &mut dyn History, verdicts: &Verdicts, labels: &Labels) -> Result<()> {
    let policy = arguments.detection.policy.policy(&arguments.detection.timing());
    let quality = measure(history, verdicts, labels, &policy, arguments.train_until)?;
    if arguments.out.as_os_str() == "-" {
        // As with standard output: a reader that went away is no error.
        let _ = writeln!(std::io::stderr().lock(), "{quality}");
    } else {
        super::say(&quality.to_string());
    }
    arguments.report.as_deref().map_or(Ok(()), |path| write_report(&quality, path))?;
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
    if stop.load(Ordering::Relaxed) {
        bail!("interrupted; nothing was written");
    }
    if records == 0 {
        bail!("input '{}' is empty: there is nothing to run over", arguments.input);
    }
    Ok(())
}

/// Fits the series that can be fitted; the others stay unscored, and their number and reasons are said.
fn fit(arguments: &BacktestArgs, history: &mut dyn History) -> Result<Vec<Trained>> {
    let request = arguments.detection.request(arguments.train_until, arguments.train_until)?;
    let request = train::Request { window: milliseconds(arguments.window), ..request };
    let mut models = Memory::new(Vec::new());
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
    let refused = history.dead_letters()?;
    for (reason, count) in &refused {
        tracing::warn!("{count} records were refused as {reason}");
    }
    let mut seen = 0;
    history.verdicts(Time::MIN, Time::MAX, &mut |verdict| seen += verdict.bucket.aggregate.map_or(0, |aggregate| aggregate.count))?;
    if refused.values().sum::<u64>() > seen {
        bail!("most of '{}' was refused, see above; events must come in the order of time, within --lateness", arguments.input);
    }
    Ok(())
}

type Verdicts = HashMap<(SeriesId, Time), Verdict>;

/// One row per row of the input from `--train-until` on, in the input's order and with its own timestamp and value.
fn by_row(arguments: &BacktestArgs, table: &Table, verdicts: &Verdicts, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{},{SCORES}", COLUMNS.join(","))?;
    let policy = arguments.detection.policy.policy(&arguments.detection.timing());
    let width = milliseconds(arguments.detection.bucket);
    let mut writer = csv::Writer::from_writer(out);
    table.rows(&mut |[timestamp, entity, metric, value]| {
        let Some(time) = instant::parse(timestamp.trim()).filter(|time| *time >= arguments.train_until) else { return Ok(()) };
        let series = SeriesId::named("server", entity.trim(), metric.trim());
        let verdict = verdicts.get(&(series, time.div_euclid(width) * width));
        let mut fields = vec![timestamp.to_owned(), entity.to_owned(), metric.to_owned(), value.to_owned()];
        fields.extend(scores(verdict, &policy));
        writer.write_record(&fields).map_err(std::io::Error::other)
    })?;
    writer.flush()?;
    Ok(())
}

/// One row per series and bucket from `--train-until` on, by time; the value is the bucket's mean.
fn by_bucket(arguments: &BacktestArgs, history: &mut dyn History, verdicts: &Verdicts, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{},{SCORES}", COLUMNS.join(","))?;
    let policy = arguments.detection.policy.policy(&arguments.detection.timing());
    let names: HashMap<SeriesId, SeriesName> = history.series()?.into_iter().map(|series| (series.name.id(), series.name)).collect();
    let mut rows: BTreeMap<(Time, &SeriesName), &Verdict> = BTreeMap::new();
    for ((series, start), verdict) in verdicts {
        rows.extend(names.get(series).filter(|_| *start >= arguments.train_until).map(|name| ((*start, name), verdict)));
    }
    let mut writer = csv::Writer::from_writer(out);
    for ((start, name), verdict) in rows {
        let value = verdict.bucket.aggregate.map_or_else(String::new, |aggregate| aggregate.mean.0.to_string());
        let mut fields = vec![instant::format(start), name.entity_id.clone(), name.metric.clone(), value];
        fields.extend(scores(Some(verdict), &policy));
        writer.write_record(&fields)?;
    }
    writer.flush()?;
    Ok(())
}

/// The fields of [`SCORES`]; empty where there is no score.
fn scores(verdict: Option<&Verdict>, policy: &Policy) -> Vec<String> {
    let score = verdict.and_then(|verdict| verdict.score);
    let anomalous = verdict.is_some_and(|verdict| verdict.state == State::Anomalous);
    let text = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    let z_score = verdict.and_then(|verdict| spoken(verdict, policy));
    let severity =
        |verdict: &Verdict| Some(Severity::of(verdict.score?.z_score.0, policy.limits(verdict.bucket.metric).threshold).as_str());
    vec![
        text(score.map(|score| score.expected.0)),
        text(z_score),
        anomalous.to_string(),
        verdict.map_or_else(String::new, |verdict| instant::format(verdict.bucket.start)),
        text(verdict.and_then(|verdict| verdict.bucket.aggregate).map(|aggregate| aggregate.mean.0)),
        text(score.map(|score| score.sigma.0)),
        verdict.map_or("unscored(refused)", |verdict| verdict.state.as_str()).into(),
        verdict.filter(|_| anomalous).and_then(severity).unwrap_or_default().into(),
        text(z_score.map(anomaly_score)),
        text(score.map(|score| score.z_score.0)),
    ]
}
