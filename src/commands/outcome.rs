//! What a run came to: its last words, and what is amiss with what it read.

use crate::cli::EMBEDDED;
use crate::history::{History, rubbish};
use crate::instant;
use crate::kind::Kinds;
use crate::policy::LimitsArgs;
use crate::run::Statistics;
use crate::secret::redacted;
use anyhow::{Result, bail};
use indicatif::HumanCount;
use std::collections::BTreeSet;
use std::time::Instant;

/// The buckets that training has seen a part of are not scored: so many of each series are a run that has just begun, and no mistake.
const FIRST_BUCKETS: u64 = 12;

/// Says how much was read, and what became of it.
pub(super) fn sum_up(statistics: &Statistics, started: Instant, history: &str) {
    tracing::info!(
        "{} records in {:.1} s: {} verdicts, {} anomalies, {} missing, {} unscored, {} refused, {} commits",
        HumanCount(statistics.records.get()),
        started.elapsed().as_secs_f64(),
        HumanCount(statistics.verdicts.get()),
        HumanCount(statistics.anomalies.get()),
        HumanCount(statistics.missing.get()),
        HumanCount(statistics.unscored.get()),
        HumanCount(statistics.dead_letters.get()),
        HumanCount(statistics.commits.get()),
    );
    let (unscored, verdicts) = (statistics.unscored.get(), statistics.verdicts.get());
    let (models, _) = statistics.trained();
    if unscored * 10 > verdicts * 9 && unscored > FIRST_BUCKETS * models {
        tracing::warn!("{} of {} buckets were not scored: {}", HumanCount(unscored), HumanCount(verdicts), why_unscored(statistics));
    }
    let refusals = statistics.refusals();
    if !refusals.is_empty() {
        let kept = if history == EMBEDDED { String::new() } else { format!(" --history {}", redacted(history)) };
        let is_late = statistics.refused().contains_key("too_late");
        let order = if is_late {
            "; records must come in the order of time, within --lateness; to read them with another one takes a fresh --history"
        } else {
            ""
        };
        tracing::warn!("refused: {refusals}; see `tidewatch dead-letters{kept}`{order}");
    }
    if statistics.past.get() > 0 {
        tracing::info!(
            incidents = statistics.past.get(),
            "over when they became known, or for longer than --alert-age-max, so that nobody was told of them; `tidewatch incidents` lists them"
        );
    }
    if statistics.behind.get() > 0 {
        tracing::warn!(
            "{} events came from a partition that had been idle for longer than the lateness, and were left out",
            statistics.behind.get()
        );
    }
}

/// Why hardly any was: the commonest mistakes are to train after the fact, and not at all.
fn why_unscored(statistics: &Statistics) -> String {
    match statistics.trained() {
        (0, _) | (_, None) => "there is no model of any series; `tidewatch train` makes them, of a day of history or more".into(),
        (models, Some((first, _))) => format!(
            "a bucket is judged by a model whose training ended before it, and the earliest of the {} in use was trained until {}; \
             `tidewatch train --until` ends earlier",
            HumanCount(models),
            instant::format(first)
        ),
    }
}

/// Warns of what a configured kind names and none of its records has: mostly it is misspelt.
pub(super) fn warn_of_unseen(history: &mut dyn History, kinds: &Kinds) -> Result<()> {
    let series = if kinds.configured().next().is_some() { history.series()? } else { Vec::new() };
    for kind in kinds.configured() {
        let series: Vec<_> = series.iter().filter(|series| series.name.entity_type == kind.entity_type).collect();
        let metrics = series.iter().map(|series| series.name.metric.as_str()).collect();
        let labels = series.iter().flat_map(|series| series.labels.keys().map(String::as_str)).collect();
        let unseen = kind.unseen(&metrics, &labels);
        if !series.is_empty() && !unseen.is_empty() {
            tracing::warn!(
                "kind {}: no record has '{}' so far, as a number or a label; is it spelt so there?",
                kind.name,
                unseen.join("', '")
            );
        }
    }
    Ok(())
}

/// Warns of metrics that have limits of their own and no series: mostly they are misspelt. Whether there were series to look for.
pub(super) fn warn_of_strange_limits(history: &mut dyn History, limits: &LimitsArgs) -> Result<bool> {
    let named = limits.metrics();
    if named.is_empty() {
        return Ok(true);
    }
    let series = history.series()?;
    let known: BTreeSet<&str> = series.iter().map(|series| series.name.metric.as_str()).collect();
    let strange: Vec<&str> = named.into_iter().filter(|metric| !known.contains(metric)).collect();
    if !series.is_empty() && !strange.is_empty() {
        tracing::warn!("no series of history is of the metric '{}', which has limits of its own; is it spelt so?", strange.join("', '"));
    }
    Ok(!series.is_empty())
}

/// An error where a log has ended in which nothing was ever understood: it is not what its reader takes it for.
pub(super) fn some_are_events(history: &mut dyn History, source: &str) -> Result<()> {
    let reasons = rubbish::reasons(history, source)?;
    if reasons.is_empty() {
        if rubbish::is_unread(history, source)? {
            tracing::warn!("there was nothing to read: '{source}' holds no record");
        }
        return Ok(());
    }
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    bail!(
        "'{source}': not one record is an event: {}; `tidewatch dead-letters` shows them, and the next run reads the log from its beginning",
        reasons.join(", ")
    )
}
