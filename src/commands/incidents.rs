//! `tidewatch incidents`: what was wrong, oldest first, and what has become of it.

use super::say;
use crate::cli::{EMBEDDED, time};
use crate::history;
use crate::history::course::Course;
use crate::history::incident::{self, IncidentRow};
use crate::instant;
use crate::number::pair;
use crate::series::{NAMED, few};
use anyhow::Result;
use clap::Args;
use dataflows::{IncidentId, Time};
use std::collections::BTreeMap;

/// Which incidents.
#[derive(Clone, Debug, Args)]
pub struct IncidentsArgs {
    /// Where verdicts are kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    history: String,
    /// Those that opened at or after this [default: all]
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Time>,
    /// ...and before this
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Time>,
    /// Only those that are still open
    #[arg(long, conflicts_with = "withdrawn")]
    open: bool,
    /// Those that were withdrawn as well, with the reason
    #[arg(long)]
    withdrawn: bool,
}

/// Prints a line per incident, oldest first: from the start of its first bucket of evidence to the end of the last one, and what it comes to.
///
/// # Errors
/// A history that cannot be read.
pub fn incidents(arguments: &IncidentsArgs) -> Result<()> {
    let mut history = history::open(super::existing("--history", &arguments.history)?)?;
    let (from, to) = (arguments.from.unwrap_or(Time::MIN), arguments.to.unwrap_or(Time::MAX));
    let rows = incident::incidents(&mut *history, from, to)?;
    let widths = incident::bucket_widths(&mut *history, from, to)?;
    let shown =
        rows.iter().filter(|row| if arguments.open { row.status == "open" } else { arguments.withdrawn || row.status != "withdrawn" });
    let mut is_empty = true;
    for row in shown {
        is_empty = false;
        let course = Course::so_far(&mut *history, row)?;
        say(&line(row, &course, &widths));
    }
    if is_empty {
        eprintln!("no such incident");
    }
    Ok(())
}

/// An incident in a line, with as much of its course as is given; `widths` are those of the buckets of each.
pub(super) fn line(row: &IncidentRow, course: &Course, widths: &BTreeMap<IncidentId, Time>) -> String {
    let until = row.last + widths.get(&row.id).copied().unwrap_or_default();
    let peak = row.peak.as_ref().map_or_else(
        || "no samples".to_string(),
        |(entity, metric, start, [mean, expected, z_score])| {
            let unmoved = course.unmoved_since.map_or_else(String::new, |since| format!(" unmoved since {}", instant::format(since)));
            let instead = bucket([*mean, *expected]);
            format!("{entity} {metric}{unmoved} {instead}, z {z_score:+.1} at {}", instant::format(*start))
        },
    );
    let told = |word: &str, bucket: String| format!("; {word} {bucket}");
    // What it has come to by now is said once.
    let is_past = |(start, _): &(Time, [f64; 2])| course.latest.is_none_or(|latest| latest.0 != *start);
    let furthest = course
        .furthest
        .filter(is_past)
        .map_or_else(String::new, |(start, numbers)| told("furthest", format!("{} at {}", bucket(numbers), instant::format(start))));
    let latest = course.latest.map_or_else(String::new, |(_, numbers)| told("now", bucket(numbers)));
    let reason = row.withdrawn_reason.as_ref().map_or_else(String::new, |reason| format!("  ({reason})"));
    format!(
        "{} to {}  {:<9} {:<8}  {}  {}, {} deviating and {} missing buckets, worst: {peak}{furthest}{latest}{reason}  [{:016x}]",
        instant::format(row.opened),
        instant::format(until),
        row.status,
        row.severity,
        reach(row),
        few(&row.metrics, NAMED, row.metrics.len()),
        row.anomalous,
        row.missing,
        row.id.0
    )
}

/// What a bucket came to.
fn bucket([mean, expected]: [f64; 2]) -> String {
    let (mean, expected) = pair(mean, expected);
    format!("{mean} instead of {expected}")
}

/// What an incident reaches.
pub(super) fn reach(row: &IncidentRow) -> String {
    let (kind, entities, peers) = (&row.entity_type, row.entities, row.peers);
    match row.scope.as_str() {
        "rack" => format!("{entities} of {peers} {kind}s of rack {}", row.rack),
        "zone" => format!("{entities} of {peers} {kind}s of zone {}", row.zone),
        "kind" => format!("{entities} of all {peers} {kind}s"),
        _ => format!("{kind} {}", row.entity_id),
    }
}
