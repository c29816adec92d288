//! What a backtest found of labelled anomalies: a table, and a report as JSON.

use super::destination::Destination;
use super::sheet::spoken;
use crate::history::History;
use crate::instant;
use crate::quality::{Judged, Labels, Quality};
use crate::series::SeriesName;
use anyhow::{Context, Result};
use dataflows::{Limits, Policy, SeriesId, State, Time, Verdict};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;

/// Measures the verdicts on buckets from `from` on.
///
/// # Errors
/// A history that cannot be read.
pub fn measure(
    history: &mut dyn History,
    verdicts: &HashMap<(SeriesId, Time), Verdict>,
    labels: &Labels,
    policy: &Policy,
    from: Time,
) -> Result<Quality> {
    let names: BTreeMap<SeriesId, SeriesName> = history.series()?.into_iter().map(|series| (series.name.id(), series.name)).collect();
    let mut by_series: BTreeMap<&SeriesName, Vec<&Verdict>> = BTreeMap::new();
    for ((series, _), verdict) in verdicts.iter().filter(|((_, start), _)| *start >= from) {
        names.get(series).into_iter().for_each(|name| by_series.entry(name).or_default().push(verdict));
    }
    let judged: Vec<Judged> = by_series.into_iter().map(|(name, verdicts)| judged(name, verdicts, labels, policy)).collect();
    warn_of_unmet(labels, &judged, from, policy.bucket_width);
    Ok(Quality::of(&judged, policy.bucket_width))
}

/// Warns of labels that can be neither found nor missed: a misspelt name, or a time in which nothing came.
fn warn_of_unmet(labels: &Labels, judged: &[Judged], from: Time, width: Time) {
    let unmet = labels.unmet(from, width, judged);
    if let Some(first) = unmet.first() {
        let whose = first.metric.as_ref().map_or_else(|| first.entity.clone(), |metric| format!("{} of {}", metric, first.entity));
        tracing::warn!(
            labels = unmet.len(),
            "no bucket with samples was scored that these labels meet, so that they are neither found nor missed, as no silence is; the first is {whose}, {} to {}",
            instant::format(first.start),
            instant::format(first.end)
        );
    }
}

/// One series. Missing buckets count neither for nor against: there is nothing to score.
fn judged(name: &SeriesName, mut verdicts: Vec<&Verdict>, labels: &Labels, policy: &Policy) -> Judged {
    verdicts.sort_unstable_by_key(|verdict| verdict.bucket.start);
    verdicts.retain(|verdict| verdict.bucket.aggregate.is_some());
    let flagged = verdicts.iter().filter(|verdict| verdict.state == State::Anomalous).map(|verdict| verdict.bucket.start).collect();
    Judged {
        series: name.clone(),
        scores: verdicts.iter().map(|verdict| (verdict.bucket.start, loudness(verdict, policy))).collect(),
        flagged,
        labelled: labels.of(name, policy.bucket_width),
        labelled_of_entity: labels.of_entity(name, policy.bucket_width),
        asides: labels.asides(name, policy.bucket_width),
        kinds: labels.kinds_of(name, policy.bucket_width),
    }
}

/// |z|, or 0 where no threshold would make it an anomaly. One that accompanies another is never louder than its threshold: nothing is said of it.
fn loudness(verdict: &Verdict, policy: &Policy) -> f64 {
    let (Some(aggregate), Some(score)) = (verdict.bucket.aggregate, verdict.score) else { return 0.0 };
    let any = Limits { threshold: 0.0, ..*policy.limits(verdict.bucket.metric) };
    if any.are_passed(aggregate.mean.0, score.expected.0, score.z_score.0) { spoken(verdict, policy).map_or(0.0, f64::abs) } else { 0.0 }
}

/// Writes a report as JSON.
///
/// # Errors
/// A file that cannot be written.
pub fn write_report(quality: &Quality, out: Destination) -> Result<()> {
    let text = serde_json::to_string_pretty(quality).context("the report is no JSON")?;
    out.open()?.write_all((text + "\n").as_bytes()).with_context(|| out.failed())?;
    out.keep()
}
