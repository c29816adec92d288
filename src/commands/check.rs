//! `tidewatch check`: whether everything that a run needs is there, and what it would make of the first records.

use super::glimpse::{self, Found, Terms};
use super::say;
use crate::alerts::{AlertTable, AlertsArgs, Recipient};
use crate::cli::{EMBEDDED, milliseconds};
use crate::kind::Kinds;
use crate::limits::Limits;
use crate::policy::LimitsArgs;
use crate::source::file::Files;
use crate::source::kafka::KafkaTopics;
use crate::source::table::Table;
use crate::source::{Source, SourceError};
use crate::{history, models, notify};
use anyhow::{Result, bail};
use clap::Args;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// What to look at.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: tidewatch check --source kafka://localhost:9092/metrics --history postgres://tidewatch@localhost/metrics --models redis://localhost:6379"
)]
pub struct CheckArgs {
    /// Where records come from
    #[arg(long, value_name = "URL", default_value = "simulate:dev")]
    source: String,
    /// Where verdicts are kept
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    history: String,
    /// Where models come from
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    models: String,
    /// A record this far in the future is refused
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration, default_value = "5m")]
    skew: Duration,
    /// What a log may bring.
    #[command(flatten)]
    limits: Limits,
    /// What makes an anomaly.
    #[command(flatten)]
    policy: LimitsArgs,
    /// Who is told of incidents.
    #[command(flatten)]
    alerts: AlertsArgs,
}

/// Looks at all three and at the first records, and reads who is told of incidents, and fails if one of them is not as it must be.
///
/// # Errors
/// The number of those that failed; each has its own line before.
pub fn check(arguments: &CheckArgs, kinds: &Kinds, tables: Vec<AlertTable>) -> Result<()> {
    let limits = &arguments.limits;
    let (found, log) = match source(&arguments.source, limits.record_bytes_max) {
        Ok((found, log)) => (Ok(found), log),
        Err(error) => (Err(error), None),
    };
    let glimpse = log.map(|(log, is_table)| {
        let kinds = if is_table { &kinds.of_table() } else { kinds };
        let named = arguments.policy.metrics();
        glimpse::of(&*log, &Terms { kinds, limits, named, skew: milliseconds(arguments.skew), now: log.now() })
    });
    let sure = |outcome: Result<String>| outcome.map(Found::Sure);
    let mut outcomes = vec![("source", sure(found))];
    outcomes.extend(glimpse.map(|glimpse| ("records", glimpse)));
    outcomes.extend([("history", sure(stored(&arguments.history))), ("models", sure(trained(&arguments.models)))]);
    let alerts = AlertsArgs { tables, ..arguments.alerts.clone() };
    match alerts.recipients() {
        Ok(recipients) => outcomes.extend(recipients.iter().map(|recipient| ("alert", sure(told(recipient))))),
        Err(error) => outcomes.push(("alert", Err(error.into()))),
    }
    for (part, outcome) in &outcomes {
        match outcome {
            Ok(Found::Sure(found)) => say(&format!("ok      {part:<8} {found}")),
            Ok(Found::Doubtful(found)) => say(&format!("warn    {part:<8} {found}")),
            Err(error) => say(&format!("failed  {part:<8} {}", format!("{error:#}").trim_start_matches(part).trim_start())),
        }
    }
    match outcomes.iter().filter(|outcome| outcome.1.is_err()).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} are not as they must be", outcomes.len()),
    }
}

/// A log whose records can be looked at, and whether it is a table.
type Log = (Box<dyn Source>, bool);

fn source(url: &str, longest: usize) -> Result<(String, Option<Log>)> {
    Ok(match url.split_once(':') {
        Some(("simulate", preset)) => {
            let simulator = crate::source::simulate::open(preset, &crate::source::simulate::Options::at(0))?;
            (format!("simulate:{preset}, {} partitions", simulator.partitions()?.len()), None)
        }
        Some(("file", path)) if Table::is_at(path) => ("1 table".into(), Some((Box::new(Table::open(path, longest)?), true))),
        Some(("file", paths)) => {
            let files = Files::open(paths, longest)?;
            let found = match files.partitions()?.len() {
                1 => "1 file".into(),
                several => format!("{several} files"),
            };
            // Standard input is read once, and not for this.
            let is_kept = paths.split(',').all(|path| path != "-");
            (found, is_kept.then(|| -> Log { (Box::new(files), false) }))
        }
        Some(("kafka", _)) => {
            let topics = KafkaTopics::open(url, true)?;
            (format!("{}, {} partitions", topics.identity(), topics.partitions()?.len()), Some((Box::new(topics), false)))
        }
        _ => return Err(SourceError::url(url, "write simulate:PRESET, file:PATH or kafka://HOST:PORT/TOPIC").into()),
    })
}

/// What a history without tables advises.
const NO_TABLES: &str = "run `tidewatch migrate` first";

/// Looks, and changes nothing: a run makes what is not there yet.
fn stored(url: &str) -> Result<String> {
    if is_to_be_made(url) {
        return Ok("nothing there yet; `tidewatch run` or `tidewatch migrate` makes it".into());
    }
    let mut history = history::open(url)?;
    match history.sources() {
        Ok(sources) => Ok(format!("{} series, {} sources", history.series()?.len(), sources.len())),
        Err(error) if error.to_string().contains(NO_TABLES) => {
            Ok("reached, without tables yet; `tidewatch run` or `tidewatch migrate` makes them".into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Tells nobody anything: `tidewatch alert test` does.
fn told(recipient: &Recipient) -> Result<String> {
    notify::open(&recipient.address)?;
    Ok(format!("{}; `tidewatch alert test` sends it a sample", recipient.summary()))
}

fn trained(url: &str) -> Result<String> {
    if is_to_be_made(url) {
        return Ok("nothing there yet; `tidewatch train` makes it".into());
    }
    let mut models = models::open(url)?;
    let (generation, (trained, unusable)) = (models.generation()?, models.load()?);
    let series: BTreeSet<_> = trained.iter().map(|one| &one.series).collect();
    match unusable.first() {
        None => Ok(format!("generation {generation}, {} series", series.len())),
        Some(first) => bail!("{} cannot be read, and their series go unscored: {first}; `tidewatch train` replaces them", unusable.len()),
    }
}

/// Whether an embedded store is not there yet, in a place where it can be made.
fn is_to_be_made(url: &str) -> bool {
    let Some(path) = url.strip_prefix("embedded:").map(Path::new).filter(|path| !path.exists()) else { return false };
    let nearest = path.ancestors().skip(1).find(|folder| folder.as_os_str().is_empty() || folder.exists());
    nearest.is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir())
}
