//! `tidewatch silence`: deviations that are expected.

use super::{incidents, say};
use crate::cli::{EMBEDDED, milliseconds, time};
use crate::history::course::Course;
use crate::history::incident::{self, IncidentRow};
use crate::history::silence::{self, SilenceRow};
use crate::history::{self, History, Series};
use crate::instant;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use dataflows::Time;
use dataflows::silence::fits;
use std::time::Duration;

/// What to do with silences.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: tidewatch silence add --entity 'srv-0*' --for 2h --reason upgrade")]
pub struct SilenceArgs {
    #[command(subcommand)]
    action: Action,
    /// Where verdicts are kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED, global = true)]
    history: String,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Declare one, for the future or the past
    #[command(after_help = "Example: tidewatch silence add --entity 'srv-0*' --for 2h --reason upgrade")]
    Add {
        /// The entities by name; * stands for any text, ? for one character
        #[arg(long, value_name = "PATTERN")]
        entity: String,
        /// Only this metric [default: all]
        #[arg(long, value_name = "NAME")]
        metric: Option<String>,
        /// The first moment
        #[arg(long, value_name = "TIME", value_parser = time, default_value = "now")]
        from: Time,
        /// The end, exclusive
        #[arg(long, value_name = "TIME", value_parser = time)]
        to: Option<Time>,
        /// How long, instead of --to
        #[arg(long = "for", value_name = "DURATION", value_parser = crate::cli::some_duration, conflicts_with = "to")]
        length: Option<Duration>,
        /// Why, for those who come later
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Say what it would cover and withdraw, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List those that hold
    #[command(after_help = "Example: tidewatch silence list")]
    List,
    /// End one by its number: what it covered and may still change is judged again
    #[command(after_help = "Example: tidewatch silence remove 3")]
    Remove {
        /// The number that `silence list` shows
        id: i64,
    },
}

/// Does what was asked for.
///
/// # Errors
/// A history that cannot be read or written, a silence that covers nothing, or a number that is none.
pub fn silence(arguments: &SilenceArgs) -> Result<()> {
    let mut history = history::open(super::existing("--history", &arguments.history)?)?;
    match &arguments.action {
        Action::Add { entity, metric, from, to, length, reason, dry_run } => {
            let Some(until) = to.or_else(|| length.map(|length| from + milliseconds(length))) else {
                bail!("say how long: --for 2h, or --to TIME");
            };
            let row = SilenceRow { id: 0, entity: entity.clone(), metric: metric.clone(), from: *from, until, reason: reason.clone() };
            add(&mut *history, &row, *dry_run)
        }
        Action::List => {
            silence::all(&mut *history)?.iter().for_each(|row| say(&line(row)));
            Ok(())
        }
        Action::Remove { id } if silence::remove(&mut *history, *id)? => {
            say(&format!("silence {id} is removed; what may still change is judged again, and what was settled under it stays withdrawn"));
            Ok(())
        }
        Action::Remove { id } => bail!("there is no silence {id}: `tidewatch silence list` shows those that hold"),
    }
}

fn add(history: &mut dyn History, row: &SilenceRow, dry_run: bool) -> Result<()> {
    if row.from >= row.until {
        bail!(
            "the silence ends at {} before it begins at {}: --to must be later than --from",
            instant::format(row.until),
            instant::format(row.from)
        );
    }
    let series = history.series()?;
    let is_covered = |series: &&Series| row.metric.as_ref().is_none_or(|metric| *metric == series.name.metric);
    let of_entity: Vec<&Series> = series.iter().filter(|series| fits(&row.entity, &series.name.entity_id)).collect();
    let covered = of_entity.iter().copied().filter(is_covered).count();
    if dry_run {
        foretell(history, row, covered)?;
    } else {
        declare(history, row, covered)?;
    }
    if let (Some(metric), 0, false) = (&row.metric, covered, of_entity.is_empty()) {
        tracing::warn!(%metric, "no entity that fits the pattern has this metric so far");
    } else if covered == 0 {
        let hint = if row.entity.contains(':') { "; it is of their names alone, without their type" } else { "" };
        tracing::warn!(pattern = %row.entity, "no entity that is known so far fits the pattern{hint}");
    }
    Ok(())
}

fn declare(history: &mut dyn History, row: &SilenceRow, covered: usize) -> Result<()> {
    let foretold = silence::foretell(history, row)?;
    let withdrawn = silence::add(history, row)?;
    let id = silence::all(history)?.last().map_or(0, |row| row.id);
    say(&format!(
        "silence {id} covers {covered} series that are known so far; {withdrawn} settled incidents were withdrawn, for good; what may still change is judged again by the run that watches, or by the next"
    ));
    tell(history, &foretold.incidents)
}

/// A line for each incident.
fn tell(history: &mut dyn History, incidents: &[IncidentRow]) -> Result<()> {
    let widths = incident::bucket_widths(history, Time::MIN, Time::MAX)?;
    incidents.iter().for_each(|row| say(&incidents::line(row, &Course::default(), &widths)));
    Ok(())
}

/// Says what [`declare`] would do.
fn foretell(history: &mut dyn History, row: &SilenceRow, covered: usize) -> Result<()> {
    let foretold = silence::foretell(history, row)?;
    say(&format!(
        "it would cover {covered} series that are known so far, {} deviating or missing buckets of theirs, and withdraw {} settled incidents for good; nothing was changed",
        foretold.buckets,
        foretold.incidents.len()
    ));
    tell(history, &foretold.incidents)
}

fn line(row: &SilenceRow) -> String {
    let metric = row.metric.as_deref().unwrap_or("all metrics");
    format!("{:>4}  {} to {}  {}  {metric}  {}", row.id, instant::format(row.from), instant::format(row.until), row.entity, row.reason)
}
