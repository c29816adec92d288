//! The first records of a log, as a run would understand them: what is checked before hours of a log are read in vain.

use crate::instant;
use crate::kind::{Kind, Kinds};
use crate::limits::Limits;
use crate::run::future;
use crate::series::{NAMED, few, on_one_line};
use crate::source::decode::{Decoded, Refusal, decode};
use crate::source::{Poll, Record, Source};
use anyhow::{Result, bail};
use dataflows::Time;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// So many records are read of all partitions together.
const RECORDS: usize = 1000;

/// A log that is not there at once is waited for so long in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found where nothing failed.
pub enum Found {
    /// It is as it must be.
    Sure(String),
    /// Somebody should look at it.
    Doubtful(String),
}

/// What a run goes by.
pub struct Terms<'a> {
    /// The kinds of the configuration.
    pub kinds: &'a Kinds,
    /// What a record may bring.
    pub limits: &'a Limits,
    /// Metrics that have limits of their own.
    pub named: BTreeSet<&'a str>,
    /// How far beyond the clock it may be, in milliseconds.
    pub skew: Time,
    /// The clock.
    pub now: Time,
}

/// What is known of the records that were read.
#[derive(Default)]
struct Glimpse {
    /// Records.
    read: usize,
    /// By the place of their kind.
    by_kind: BTreeMap<usize, Seen>,
    /// Times of the earliest and of the latest event.
    span: Option<(Time, Time)>,
    /// By their reason.
    refused: BTreeMap<&'static str, usize>,
    /// Where the first of them stands, and what is wrong with it.
    first_refused: Option<String>,
    /// What the first that is of no kind consists of.
    strange: Option<String>,
}

/// The events of a kind.
#[derive(Default)]
struct Seen {
    events: usize,
    entities: BTreeSet<String>,
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Seen {
    fn add(&mut self, event: &Decoded<'_>) {
        self.events += 1;
        self.entities.insert(event.entity_id.to_string());
        self.metrics.extend(event.metrics.iter().map(|(name, _)| name.to_string()));
        self.labels.extend(event.labels.iter().map(|(name, _)| name.to_string()));
    }

    /// What the kind names and none of them has.
    fn unseen<'a>(&self, kind: &'a Kind) -> Vec<&'a str> {
        kind.unseen(&self.metrics.iter().map(String::as_str).collect(), &self.labels.iter().map(String::as_str).collect())
    }

    fn words(&self, kind: &Kind, is_configured: bool) -> String {
        let (metrics, labels): (Vec<String>, Vec<String>) = (self.metrics.iter().cloned().collect(), self.labels.iter().cloned().collect());
        let labelled = if labels.is_empty() { "no labels".into() } else { format!("labels {}", few(&labels, NAMED, labels.len())) };
        let unseen = self.unseen(kind);
        let unseen = if unseen.is_empty() || !is_configured { String::new() } else { format!("; none has '{}'", unseen.join("', '")) };
        format!(
            "{} of kind {} ({} of type {}; metrics {}; {labelled}{unseen})",
            counted(self.events, "event", "events"),
            kind.name,
            counted(self.entities.len(), "entity", "entities"),
            kind.entity_type,
            few(&metrics, NAMED, metrics.len()),
        )
    }
}

/// So many of something.
fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

/// The fields of a record that no kind fits, for whoever is to write one.
fn fields(bytes: &[u8]) -> Option<String> {
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_slice(bytes).ok()?;
    let names: Vec<String> = fields.into_keys().collect();
    Some(few(&names, NAMED, names.len()))
}

impl Glimpse {
    fn take(&mut self, partition: &str, record: &Record<'_>, terms: &Terms<'_>) {
        self.read += 1;
        let is_there = |event: &Decoded<'_>| event.time <= terms.now.saturating_add(terms.skew);
        let decoded = decode(record.bytes, terms.kinds, terms.limits);
        match decoded
            .and_then(|event| if is_there(&event) { Ok(event) } else { Err(Refusal::new("future", future(event.time, terms.now))) })
        {
            Ok(event) => {
                self.by_kind.entry(event.kind).or_default().add(&event);
                let (first, last) = self.span.unwrap_or((event.time, event.time));
                self.span = Some((first.min(event.time), last.max(event.time)));
            }
            Err(refusal) => {
                *self.refused.entry(refusal.reason).or_default() += 1;
                if refusal.reason == "unknown_kind" && self.strange.is_none() {
                    self.strange = fields(record.bytes);
                }
                self.first_refused.get_or_insert_with(|| {
                    let (offset, detail) = (record.offset, &refusal.detail);
                    match record.origin {
                        Some(origin) => origin.problem(offset, refusal.reason, detail),
                        None => format!("at offset {offset} of {partition}: {detail}"),
                    }
                });
            }
        }
    }

    fn words(&self, terms: &Terms<'_>) -> Result<Found> {
        let refused = || {
            let reasons: Vec<String> = self.refused.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            format!("{}, the first {}", reasons.join(", "), self.first_refused.as_deref().unwrap_or_default())
        };
        let Some((first, last)) = self.span else {
            if self.read == 0 {
                return Ok(Found::Sure("none there yet".into()));
            }
            let table = |fields: &String| format!("; a [kinds.NAME] table of the configuration file says what its fields are: {fields}");
            let advice = self.strange.as_ref().map_or_else(String::new, table);
            bail!("not one of the first {} is an event: {}", self.read, on_one_line(&(refused() + &advice)));
        };
        let of_kind = |(place, kind)| Some((kind, self.by_kind.get(&place)?));
        let seen: Vec<(&Kind, &Seen)> = terms.kinds.iter().enumerate().filter_map(of_kind).collect();
        let is_configured = |kind: &Kind| terms.kinds.configured().any(|configured| configured == kind);
        let events: Vec<String> = seen.iter().map(|(kind, seen)| seen.words(kind, is_configured(kind))).collect();
        let is_there = |metric: &str| seen.iter().any(|(_, seen)| seen.metrics.contains(metric));
        let strange: Vec<&str> = terms.named.iter().copied().filter(|metric| !is_there(metric)).collect();
        let mut told =
            format!("of the first {}, {} to {}: {}", self.read, instant::format(first), instant::format(last), events.join(", "));
        if !strange.is_empty() {
            told += &format!("; no metric is called '{}', which has limits of its own", strange.join("', '"));
        }
        if !self.refused.is_empty() {
            told += &format!("; refused: {}", refused());
        }
        let is_odd = |(kind, seen): &(&Kind, &Seen)| is_configured(kind) && !seen.unseen(kind).is_empty();
        let is_doubtful = !self.refused.is_empty() || !strange.is_empty() || seen.iter().any(is_odd);
        let told = on_one_line(&told);
        Ok(if is_doubtful { Found::Doubtful(told) } else { Found::Sure(told) })
    }
}

/// Reads the first records of each partition and says what events they are, or that none of them is one.
///
/// # Errors
/// A log that cannot be read, or of which nothing comes, and one in whose first records nothing is understood.
pub fn of(source: &dyn Source, terms: &Terms<'_>) -> Result<Found> {
    let partitions: Vec<_> = source.partitions()?.into_iter().map(|partition| (partition, None)).collect();
    let share = RECORDS.div_ceil(partitions.len().max(1));
    let mut reader = source.open(&partitions)?;
    let (mut glimpse, mut waited, until) = (Glimpse::default(), None, Instant::now() + PATIENCE);
    for (partition, _) in &partitions {
        let mut left = share;
        while left > 0 {
            match reader.poll(partition.id, left, &mut |record| glimpse.take(&partition.name, &record, terms))? {
                Poll::Read(records) => left = left.saturating_sub(records),
                Poll::Waiting if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                Poll::Waiting => {
                    waited = waited.or(Some(&partition.name));
                    break;
                }
                Poll::Idle | Poll::Ended => break,
            }
        }
    }
    if let Some(partition) = waited.filter(|_| glimpse.read == 0) {
        let absence = reader.absence().map_or_else(String::new, |absence| format!(": {absence}"));
        bail!("nothing came of {partition} for {} s{absence}", PATIENCE.as_secs());
    }
    glimpse.words(terms)
}
