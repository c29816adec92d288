//! What a page shows of history, as queries that both stores answer: the fleet, its latest verdicts, an incident's episodes, anomalies of a series.

use super::incident::IncidentRow;
use super::row;
use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError};
use crate::series::SeriesName;
use dataflows::{IncidentId, SeriesId, Time};
use std::collections::BTreeMap;

/// Zone and rack by type and name of the entity.
pub type Places = BTreeMap<(String, String), (String, String)>;

/// A bucket as a cell of a heat map.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The series, by its number: there are many cells.
    pub series: SeriesId,
    /// The start of the bucket.
    pub start: Time,
    /// The z_score, with its sign; `None` where the bucket has none.
    pub z_score: Option<f64>,
    /// Whether samples are missing that should be there.
    pub missing: bool,
    /// Whether it is normal: whatever its z_score, nobody is to hear of it.
    pub normal: bool,
}

/// An episode as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeRow {
    /// The series.
    pub name: SeriesName,
    /// The start of the first bucket of evidence.
    pub opened: Time,
    /// The start of the last one.
    pub last: Time,
    /// `open`, `closed` or `withdrawn`.
    pub status: String,
    /// `low` to `critical`.
    pub severity: String,
    /// Anomalous buckets.
    pub anomalous: u32,
    /// Missing buckets.
    pub missing: u32,
    /// The worst bucket: its start, then mean, expected, sigma and z_score; `None` where all evidence is silence.
    pub peak: Option<(Time, [f64; 4])>,
    /// 1 when first stored, one more with every change after that.
    pub revision: i64,
    /// When it was first stored.
    pub known_at: Time,
}

/// An anomaly of one series, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyRow {
    /// The series.
    pub name: SeriesName,
    /// The start of the bucket.
    pub start: Time,
    /// `low` to `critical`.
    pub severity: String,
    /// `provisional`, `open` or `withdrawn`.
    pub status: String,
    /// Why it was withdrawn.
    pub withdrawn_reason: Option<String>,
    /// 0 while provisional, 1 when its bucket is closed, one more with every change after that.
    pub revision: i64,
    /// What was seen, what was expected, and the z_score.
    pub details: [Option<f64>; 3],
}

/// The buckets of all series that start in `[from, until)` and say something: they have a score, or they are missing.
///
/// # Errors
/// A history that cannot be read.
pub fn cells(history: &mut dyn History, from: Time, until: Time) -> Result<Vec<Cell>, HistoryError> {
    let sql = "SELECT series_id, bucket_start, z_score, state = 'missing', state = 'normal' FROM buckets
        WHERE bucket_start >= $1 AND bucket_start < $2 AND (z_score IS NOT NULL AND state <> 'silenced' OR state = 'missing')";
    let shapes = [Shape::Integer, Shape::Time, Shape::Number, Shape::Flag, Shape::Flag];
    let read = |mut columns: Columns| Cell {
        series: row::series_of(columns.integer()),
        start: columns.time().unwrap_or_default(),
        z_score: columns.number(),
        missing: columns.flag(),
        normal: columns.flag(),
    };
    let values = vec![Value::time(from), Value::time(until)];
    Ok(history.select(&Statement { sql, values }, &shapes)?.into_iter().map(read).collect())
}

/// How many series are in which state in the bucket that starts at `start`.
///
/// # Errors
/// A history that cannot be read.
pub fn states(history: &mut dyn History, start: Time) -> Result<BTreeMap<String, i64>, HistoryError> {
    let sql = "SELECT state, count(*) FROM buckets WHERE bucket_start = $1 GROUP BY state";
    let rows = history.select(&Statement { sql, values: vec![Value::time(start)] }, &[Shape::Text, Shape::Integer])?;
    Ok(rows.into_iter().map(|mut columns| (columns.text().unwrap_or_default(), columns.integer())).collect())
}

/// Where every entity stands now: zone and rack, empty where it has none.
///
/// # Errors
/// A history that cannot be read.
pub fn places(history: &mut dyn History) -> Result<Places, HistoryError> {
    let sql = "SELECT entity_type, entity_id, zone, rack FROM placements ORDER BY since";
    let rows = history.select(&Statement { sql, values: Vec::new() }, &[Shape::Text; 4])?;
    let read = |mut columns: Columns| {
        let mut text = || columns.text().unwrap_or_default();
        ((text(), text()), (text(), text()))
    };
    Ok(rows.into_iter().map(read).collect())
}

/// One incident; `None` where there is none of this number.
///
/// # Errors
/// A history that cannot be read.
pub fn incident(history: &mut dyn History, id: IncidentId) -> Result<Option<IncidentRow>, HistoryError> {
    let sql = "SELECT opened FROM incidents WHERE incident_id = $1";
    let found = history.select(&Statement { sql, values: vec![id.0.cast_signed().into()] }, &[Shape::Time])?;
    let Some(opened) = found.into_iter().next().and_then(|mut columns| columns.time()) else { return Ok(None) };
    let rows = super::incident::incidents(history, opened, opened.saturating_add(1))?;
    Ok(rows.into_iter().find(|row| row.id == id))
}

/// The episodes of an incident, withdrawn ones included, in the order in which they began.
///
/// # Errors
/// A history that cannot be read.
pub fn episodes(history: &mut dyn History, id: IncidentId) -> Result<Vec<EpisodeRow>, HistoryError> {
    use Shape::{Integer, Number, Text, Time as T};
    let sql =
        "SELECT entity_type, entity_id, metric, opened, last, status, severity, anomalous, missing, peak_start, peak_mean, peak_expected,
            peak_sigma, peak_z_score, revision, known_at
        FROM episodes JOIN series ON series.series_id = episodes.series_id WHERE incident_id = $1 ORDER BY opened, entity_id, metric";
    let shapes = [Text, Text, Text, T, T, Text, Text, Integer, Integer, T, Number, Number, Number, Number, Integer, T];
    let rows = history.select(&Statement { sql, values: vec![id.0.cast_signed().into()] }, &shapes)?;
    Ok(rows.into_iter().map(episode).collect())
}

fn episode(mut columns: Columns) -> EpisodeRow {
    EpisodeRow {
        name: name(&mut columns),
        opened: columns.time().unwrap_or_default(),
        last: columns.time().unwrap_or_default(),
        status: columns.text().unwrap_or_default(),
        severity: columns.text().unwrap_or_default(),
        anomalous: columns.count(),
        missing: columns.count(),
        peak: peak(&mut columns),
        revision: columns.integer(),
        known_at: columns.time().unwrap_or_default(),
    }
}

fn peak(columns: &mut Columns) -> Option<(Time, [f64; 4])> {
    let start = columns.time();
    let [mean, expected, sigma, z_score] = [columns.number(), columns.number(), columns.number(), columns.number()];
    Some((start?, [mean?, expected?, sigma?, z_score?]))
}

const ANOMALY: [Shape; 9] = {
    use Shape::{Integer, Text, Time as T};
    [Text, Text, Text, T, Text, Text, Text, Integer, Text]
};

/// The anomalies of a series that start in `[from, until)`, whatever became of them, in order.
///
/// # Errors
/// A history that cannot be read.
pub fn anomalies(history: &mut dyn History, series: &SeriesName, from: Time, until: Time) -> Result<Vec<AnomalyRow>, HistoryError> {
    let sql = "SELECT series.entity_type, series.entity_id, metric, timestamp, severity, status, withdrawn_reason, revision, CAST(details AS TEXT)
        FROM anomalies JOIN series ON series.series_id = anomalies.series_id
        WHERE timestamp >= $2 AND timestamp < $3 AND anomalies.series_id = $1 ORDER BY timestamp";
    let values = vec![row::key(series.id()).into(), Value::time(from), Value::time(until)];
    Ok(history.select(&Statement { sql, values }, &ANOMALY)?.into_iter().map(anomaly).collect())
}

/// Which metrics of an entity speak in the buckets of `[from, until)` in which `series` accompanies another one, and in how many of them.
///
/// # Errors
/// A history that cannot be read.
pub fn speakers(
    history: &mut dyn History,
    series: &SeriesName,
    from: Time,
    until: Time,
) -> Result<BTreeMap<SeriesName, i64>, HistoryError> {
    // The order of the join is said: one bucket for each of few anomalies.
    let sql = "SELECT series.entity_type, series.entity_id, series.metric, count(*)
        FROM series CROSS JOIN anomalies CROSS JOIN buckets
        WHERE series.entity_type = $4 AND series.entity_id = $5 AND anomalies.series_id = series.series_id
            AND timestamp >= $2 AND timestamp < $3 AND status = 'open'
            AND bucket_start = timestamp AND buckets.series_id = $1 AND state = 'accompanying'
        GROUP BY series.entity_type, series.entity_id, series.metric";
    let key = [row::key(series.id()).into(), Value::time(from), Value::time(until)].into_iter();
    let values = key.chain([series.entity_type.as_str().into(), series.entity_id.as_str().into()]).collect();
    let rows = history.select(&Statement { sql, values }, &[Shape::Text, Shape::Text, Shape::Text, Shape::Integer])?;
    Ok(rows.into_iter().map(|mut columns| (name(&mut columns), columns.integer())).collect())
}

/// What was withdrawn of an incident: anomalies within its episodes that no longer hold, at most 200.
///
/// # Errors
/// A history that cannot be read.
pub fn withdrawn(history: &mut dyn History, id: IncidentId, from: Time, until: Time) -> Result<Vec<AnomalyRow>, HistoryError> {
    let sql = "SELECT series.entity_type, series.entity_id, metric, timestamp, anomalies.severity, anomalies.status, withdrawn_reason,
            anomalies.revision, CAST(details AS TEXT)
        FROM anomalies JOIN series ON series.series_id = anomalies.series_id
        WHERE timestamp >= $2 AND timestamp < $3 AND anomalies.status = 'withdrawn' AND EXISTS (SELECT 1 FROM episodes
            WHERE incident_id = $1 AND episodes.series_id = anomalies.series_id AND timestamp >= opened AND timestamp <= last)
        ORDER BY timestamp LIMIT 200";
    let values = vec![id.0.cast_signed().into(), Value::time(from), Value::time(until)];
    Ok(history.select(&Statement { sql, values }, &ANOMALY)?.into_iter().map(anomaly).collect())
}

fn anomaly(mut columns: Columns) -> AnomalyRow {
    let name = name(&mut columns);
    let start = columns.time().unwrap_or_default();
    let mut text = || columns.text();
    let (severity, status, withdrawn_reason) = (text().unwrap_or_default(), text().unwrap_or_default(), text());
    let revision = columns.integer();
    let details: serde_json::Value = columns.text().and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let details = ["actual_value", "expected_value", "z_score"].map(|field| details[field].as_f64());
    AnomalyRow { name, start, severity, status, withdrawn_reason, revision, details }
}

fn name(columns: &mut Columns) -> SeriesName {
    let mut text = || columns.text().unwrap_or_default();
    SeriesName { entity_type: text(), entity_id: text(), metric: text() }
}

/// What looks anomalous in buckets that are still open, the furthest off first.
///
/// # Errors
/// A history that cannot be read.
pub fn provisional(history: &mut dyn History, from: Time) -> Result<Vec<AnomalyRow>, HistoryError> {
    let sql = "SELECT series.entity_type, series.entity_id, metric, timestamp, severity, status, withdrawn_reason, revision, CAST(details AS TEXT)
        FROM anomalies JOIN series ON series.series_id = anomalies.series_id
        WHERE status = 'provisional' AND timestamp >= $1 ORDER BY anomaly_score DESC, timestamp LIMIT 100";
    Ok(history.select(&Statement { sql, values: vec![Value::time(from)] }, &ANOMALY)?.into_iter().map(anomaly).collect())
}
