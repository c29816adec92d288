//! What a backtest writes: rows, and measures beside labels; never over what it reads.

use super::super::destination::Destination;
use super::super::rows::Rows;
use super::super::sheet::{Column, Row, Sheet, sheet};
use super::BacktestArgs;
use super::input::Input;
use crate::cli::milliseconds;
use crate::history::History;
use crate::series::SeriesName;
use crate::source::table::Table;
use crate::{embedded, instant, secret};
use anyhow::{Context, Result, bail};
use dataflows::{SeriesId, Time, Verdict};
use std::collections::HashMap;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Verdicts by series and the start of their bucket.
pub(super) type Verdicts = HashMap<(SeriesId, Time), Verdict>;

/// The files that are written.
pub(super) struct Output {
    pub(super) rows: Destination,
    pub(super) report: Option<Destination>,
}

impl Output {
    /// Begins the files that the arguments name. `configuration` is the file that some of them came from.
    ///
    /// # Errors
    /// One that cannot be written, that the backtest reads, or that is two things at once.
    pub(super) fn begin(arguments: &BacktestArgs, input: &Input, configuration: Option<PathBuf>) -> Result<Self> {
        let mut needed = needed(arguments, input)?;
        needed.extend(configuration);
        let rows = Destination::new(&arguments.out, &needed)?;
        needed.extend(rows.files());
        let report = arguments.report.as_deref().map(|path| Destination::new(path, &needed)).transpose()?;
        if rows.is_standard_output() && report.as_ref().is_some_and(Destination::is_standard_output) {
            bail!("--out and --report are both standard output: name a file for one of them");
        }
        Ok(Self { rows, report })
    }

    /// Opens the sheet that `--out` asks for.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sheet(&self, arguments: &BacktestArgs) -> Result<Box<dyn Sheet>> {
        let policy = arguments.detection.policy.policy(&arguments.detection.timing());
        let writer = BufWriter::new(self.rows.open()?);
        let columns = if arguments.columns.is_empty() { Column::all() } else { &arguments.columns };
        sheet(&arguments.out, Box::new(writer), columns, policy).with_context(|| self.rows.failed())
    }

    /// Writes all rows from `train_until` on: of a table as they stand there, of a log by bucket; how many.
    ///
    /// # Errors
    /// What the system says, or that `stop` was set.
    pub(super) fn write(
        &self,
        arguments: &BacktestArgs,
        input: &Input,
        scored: &mut dyn History,
        verdicts: &Verdicts,
        train_until: Time,
        stop: &AtomicBool,
    ) -> Result<u64> {
        let mut sheet = self.sheet(arguments)?;
        let written = match input {
            Input::Table(table, entity_type) => {
                by_row((milliseconds(arguments.detection.bucket), train_until), (table, entity_type), verdicts, &mut *sheet, stop)
            }
            Input::Events(_) => by_bucket(train_until, scored, verdicts, &mut *sheet),
        };
        written.and_then(|rows| Ok(sheet.finish().map(|()| rows)?)).with_context(|| self.rows.failed())
    }
}

/// The files that a backtest reads, or keeps something in.
fn needed(arguments: &BacktestArgs, input: &Input) -> Result<Vec<PathBuf>> {
    let partitions = input.source().partitions()?.into_iter().map(|partition| PathBuf::from(partition.name));
    let urls = || [&arguments.models, &arguments.history].into_iter().flatten().map(String::as_str);
    let stores = urls().flat_map(embedded::files).chain(secret::files(urls()));
    Ok(partitions.chain(stores).chain(arguments.labels.clone()).collect())
}

/// One row per row of the input from `--train-until` on, in the input's order and with its own timestamp and value.
fn by_row(
    (width, train_until): (Time, Time),
    (table, entity_type): (&Table, &str),
    verdicts: &Verdicts,
    sheet: &mut dyn Sheet,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut rows = 0;
    table.rows(&mut |[timestamp, entity, metric, value], is_sample| {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        let Some(time) = instant::parse(timestamp.trim()).filter(|time| *time >= train_until) else { return Ok(()) };
        let (series, start) = (SeriesId::named(entity_type, entity.trim(), metric.trim()), time.div_euclid(width) * width);
        // What was refused is in no bucket.
        let verdict = verdicts.get(&(series, start)).filter(|_| is_sample);
        let start = verdict.map_or_else(String::new, |_| instant::format(start));
        rows += 1;
        sheet.add(&Row {
            time: (time, timestamp.trim()),
            entity,
            metric,
            value: Some(value),
            verdict: verdict.map(|verdict| (verdict, start.as_str())),
        })
    })?;
    Ok(rows)
}

/// One row per series and bucket from `--train-until` on, by time; the value is the bucket's mean.
fn by_bucket(train_until: Time, history: &mut dyn History, verdicts: &Verdicts, sheet: &mut dyn Sheet) -> Result<u64> {
    let names: HashMap<SeriesId, SeriesName> = history.series()?.into_iter().map(|series| (series.name.id(), series.name)).collect();
    let mut rows = Rows::new(train_until);
    for ((series, start), verdict) in verdicts {
        rows.take(*series, *start, Some(*verdict), || names.get(series).cloned());
    }
    Ok(rows.write(Time::MAX, sheet)?)
}
