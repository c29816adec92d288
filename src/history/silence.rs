//! Silences in history: declared by an operator, obeyed by whatever run watches.

use super::incident::IncidentRow;
use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError, outbox, view};
use crate::instant;
use dataflows::silence::fits;
use dataflows::{IncidentId, MetricId, Silence, Time};
use std::collections::{BTreeMap, BTreeSet};

/// A silence as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SilenceRow {
    /// Its number; 0 where it was not stored yet.
    pub id: i64,
    /// Names of entities; `*` and `?` as in a shell.
    pub entity: String,
    /// The metric; `None`: all.
    pub metric: Option<String>,
    /// The first moment.
    pub from: Time,
    /// The end, exclusive.
    pub until: Time,
    /// Why, for those who come later.
    pub reason: String,
}

impl SilenceRow {
    /// The same, for the graph.
    pub fn silence(&self) -> Silence {
        let metric = self.metric.as_deref().map(MetricId::of);
        Silence { id: self.id, entity: self.entity.clone(), metric, from: self.from, until: self.until }
    }
}

/// The silences that were not removed, oldest first.
///
/// # Errors
/// A history that cannot be read.
pub fn all(history: &mut dyn History) -> Result<Vec<SilenceRow>, HistoryError> {
    let sql = "SELECT silence_id, entity, metric, from_time, until_time, reason FROM silences WHERE removed_at IS NULL ORDER BY silence_id";
    let shapes = [Shape::Integer, Shape::Text, Shape::Text, Shape::Time, Shape::Time, Shape::Text];
    let read = |mut columns: Columns| SilenceRow {
        id: columns.integer(),
        entity: columns.text().unwrap_or_default(),
        metric: columns.text(),
        from: columns.time().unwrap_or(Time::MIN),
        until: columns.time().unwrap_or(Time::MIN),
        reason: columns.text().unwrap_or_default(),
    };
    Ok(history.select(&Statement { sql, values: Vec::new() }, &shapes)?.into_iter().map(read).collect())
}

/// Stores a silence. What it covers and is settled already is withdrawn here and now: anomalies, and the episodes and incidents that lie wholly
/// inside it. What may still change is up to the run that watches. Returns how many incidents were withdrawn.
///
/// # Errors
/// A history that cannot be read or written.
pub fn add(history: &mut dyn History, silence: &SilenceRow) -> Result<u64, HistoryError> {
    let now = Value::time(instant::now());
    let sql = "INSERT INTO silences (entity, metric, from_time, until_time, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    let values = vec![
        silence.entity.as_str().into(),
        silence.metric.as_deref().into(),
        Value::time(silence.from),
        Value::time(silence.until),
        silence.reason.as_str().into(),
        now.clone(),
    ];
    // In one transaction: a run that hears of the silence finds everything in history as it is to be.
    let mut statements = vec![Statement { sql, values }];
    let covered = evidence(history, silence, silence.from, silence.until)?;
    for (key, starts) in &covered {
        let silenced = |start: &Time| Statement { sql: SILENCE_BUCKET, values: vec![(*key).into(), Value::time(*start)] };
        statements.extend(starts.iter().map(silenced));
        statements.push(withdraw_anomalies(*key, silence, &now));
    }
    let withdrawn = |(key, opened, last): (i64, Time, Time)| vec![key.into(), Value::time(opened), now.clone(), Value::time(last)];
    let unfounded = without_evidence(history, silence, &covered)?;
    statements.extend(unfounded.into_iter().map(|episode| Statement { sql: WITHDRAW_EPISODE, values: withdrawn(episode) }));
    let reason = format!("a silence covers it: {}", silence.reason);
    statements.push(Statement { sql: WITHDRAW_INCIDENTS, values: vec![reason.as_str().into(), now.clone()] });
    statements.push(outbox::tell_withdrawn(&now));
    let withdrawn = |history: &mut dyn History| {
        let sql = "SELECT count(*) FROM incidents WHERE status = 'withdrawn' AND withdrawn_reason = $1 AND revised_at = $2";
        let query = Statement { sql, values: vec![reason.as_str().into(), now.clone()] };
        Ok(history.select(&query, &[Shape::Integer])?.first_mut().map_or(0, |columns| columns.integer().cast_unsigned()))
    };
    let before = withdrawn(history)?;
    history.execute(&statements)?;
    Ok(withdrawn(history)? - before)
}

/// What a silence would come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Foretold {
    /// Deviating and missing buckets that it covers.
    pub buckets: usize,
    /// The settled incidents that it withdraws.
    pub incidents: Vec<IncidentRow>,
}

/// What [`add`] would do with what is there now. Nothing is changed.
///
/// # Errors
/// A history that cannot be read.
pub fn foretell(history: &mut dyn History, silence: &SilenceRow) -> Result<Foretold, HistoryError> {
    let covered = evidence(history, silence, silence.from, silence.until)?;
    let mut gone: BTreeMap<i64, usize> = BTreeMap::new();
    for (key, opened, _) in without_evidence(history, silence, &covered)? {
        let sql = "SELECT incident_id FROM episodes WHERE series_id = $1 AND opened = $2 AND settled AND status <> 'withdrawn'";
        let found = history.select(&Statement { sql, values: vec![key.into(), Value::time(opened)] }, &[Shape::Integer])?;
        found.into_iter().for_each(|mut columns| *gone.entry(columns.integer()).or_default() += 1);
    }
    let mut incidents = Vec::new();
    for (id, episodes) in gone {
        let id = IncidentId(id.cast_unsigned());
        let left = view::episodes(history, id)?.iter().filter(|episode| episode.status != "withdrawn").count() - episodes;
        incidents.extend(view::incident(history, id)?.filter(|row| left == 0 && row.settled && row.status != "withdrawn"));
    }
    incidents.sort_by_key(|row| (row.opened, row.id));
    Ok(Foretold { buckets: covered.values().map(BTreeSet::len).sum(), incidents })
}

/// The evidence in `[from, until)` of the series that a silence names, by series. It is looked for in the order of time, in which SQLite keeps buckets: to ask
/// for each series would read those of all others each time.
fn evidence(
    history: &mut dyn History,
    silence: &SilenceRow,
    from: Time,
    until: Time,
) -> Result<BTreeMap<i64, BTreeSet<Time>>, HistoryError> {
    let sql = "SELECT series.series_id, series.entity_id, series.metric, bucket_start FROM buckets CROSS JOIN series
        WHERE series.series_id = buckets.series_id AND bucket_start >= $1 AND bucket_start < $2
          AND state IN ('anomalous', 'accompanying', 'missing')";
    let values = vec![Value::time(from), Value::time(until)];
    let rows = history.select(&Statement { sql, values }, &[Shape::Integer, Shape::Text, Shape::Text, Shape::Time])?;
    let mut covered: BTreeMap<i64, BTreeSet<Time>> = BTreeMap::new();
    for mut columns in rows {
        let (key, entity, metric, start) = (columns.integer(), columns.text(), columns.text(), columns.time());
        let is_covered = entity.is_some_and(|entity| fits(&silence.entity, &entity))
            && silence.metric.as_ref().is_none_or(|only| metric.as_ref() == Some(only));
        if is_covered {
            covered.entry(key).or_default().extend(start);
        }
    }
    Ok(covered)
}

const WITHDRAW_INCIDENTS: &str =
    "UPDATE incidents SET status = 'withdrawn', withdrawn_reason = $1, revision = revision + 1, revised_at = $2
    WHERE settled AND status <> 'withdrawn'
      AND NOT EXISTS (SELECT 1 FROM episodes WHERE episodes.incident_id = incidents.incident_id AND episodes.status <> 'withdrawn')";

const SILENCE_BUCKET: &str = "UPDATE buckets SET state = 'silenced'
    WHERE series_id = $1 AND bucket_start = $2 AND state IN ('anomalous', 'accompanying', 'missing')";

const WITHDRAW_EPISODE: &str = "UPDATE episodes SET status = 'withdrawn', revision = revision + 1, revised_at = $3
    WHERE series_id = $1 AND opened = $2 AND last = $4 AND settled AND status <> 'withdrawn'";

/// Takes back the anomalies of one series that a silence covers, where nothing else can change them any more.
fn withdraw_anomalies(series: i64, silence: &SilenceRow, now: &Value) -> Statement {
    let reason = format!("a silence covers the bucket: {}", silence.reason);
    Statement {
        sql: "UPDATE anomalies SET status = 'withdrawn', withdrawn_reason = $4, revision = revision + 1, revised_at = $5
            WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3 AND status = 'open'",
        values: vec![series.into(), Value::time(silence.from), Value::time(silence.until), reason.as_str().into(), now.clone()],
    }
}

/// The episodes that have no evidence but what is `covered`: series, beginning, last evidence. Whether one is settled is asked when it is written to.
fn without_evidence(
    history: &mut dyn History,
    silence: &SilenceRow,
    covered: &BTreeMap<i64, BTreeSet<Time>>,
) -> Result<Vec<(i64, Time, Time)>, HistoryError> {
    let sql = "SELECT series_id, opened, last FROM episodes WHERE last >= $1 AND opened < $2 AND status <> 'withdrawn'";
    let values = vec![Value::time(silence.from), Value::time(silence.until)];
    let rows = history.select(&Statement { sql, values }, &[Shape::Integer, Shape::Time, Shape::Time])?;
    let read = |mut columns: Columns| (columns.integer(), columns.time().unwrap_or(Time::MIN), columns.time().unwrap_or(Time::MIN));
    let mut episodes: Vec<(i64, Time, Time)> = rows.into_iter().map(read).filter(|episode| covered.contains_key(&episode.0)).collect();
    let Some(first) = episodes.iter().map(|episode| episode.1).min() else { return Ok(Vec::new()) };
    let last = episodes.iter().map(|episode| episode.2).max().unwrap_or(first);
    let all = evidence(history, silence, first, last.saturating_add(1))?;
    episodes.retain(|(key, opened, last)| {
        let is_covered = |start: &Time| covered.get(key).is_some_and(|starts| starts.contains(start));
        all.get(key).is_none_or(|starts| starts.range(opened..=last).all(is_covered))
    });
    Ok(episodes)
}

/// Ends a silence's being obeyed; `false` where there is none of this number. What was settled under it stays withdrawn.
///
/// # Errors
/// A history that cannot be written.
pub fn remove(history: &mut dyn History, id: i64) -> Result<bool, HistoryError> {
    let sql = "UPDATE silences SET removed_at = $2 WHERE silence_id = $1 AND removed_at IS NULL";
    Ok(history.execute(&[Statement { sql, values: vec![id.into(), Value::time(instant::now())] }])? > 0)
}
