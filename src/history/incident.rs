//! Placements, episodes and incidents as rows, the same in both stores.

use super::statement::{Columns, Shape, Statement, Value};
use super::{Batch, History, HistoryError, row};
use crate::instant;
use crate::series::SeriesName;
use dataflows::{Digest, EntityId, Episode, Incident, IncidentId, Placement, SeriesId, Severity, Stage, Time};
use std::collections::BTreeMap;

/// Where an entity stands, with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityPlacement {
    /// Its name.
    pub entity_id: String,
    /// Where, and since when.
    pub placement: Placement,
}

/// An incident with the names behind its identities.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedIncident {
    /// What it is.
    pub incident: Incident,
    /// The name of its first entity.
    pub entity_id: String,
    /// The metrics that were hit, by name.
    pub metrics: Vec<String>,
    /// The series that was furthest from what was expected.
    pub peak: Option<SeriesName>,
}

/// An incident that no longer holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Withdrawn {
    /// Which.
    pub id: IncidentId,
    /// Why, in words.
    pub reason: String,
    /// The incident that it is part of now, if that is why.
    pub joined: Option<IncidentId>,
}

/// An incident as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentRow {
    /// Its number.
    pub id: IncidentId,
    /// `entity`, `rack`, `zone` or `kind`.
    pub scope: String,
    /// What kind of thing was hit.
    pub entity_type: String,
    /// The entity that was hit first; the only one where the scope is `entity`.
    pub entity_id: String,
    /// The zone of that entity; empty where it has none.
    pub zone: String,
    /// Its rack; empty where it has none.
    pub rack: String,
    /// The start of the first bucket of evidence.
    pub opened: Time,
    /// The start of the last bucket of evidence.
    pub last: Time,
    /// `open`, `closed` or `withdrawn`.
    pub status: String,
    /// Whether nothing can change it any more.
    pub settled: bool,
    /// `low` to `critical`.
    pub severity: String,
    /// Entities hit.
    pub entities: u32,
    /// Entities there were.
    pub peers: u32,
    /// The metrics that were hit.
    pub metrics: Vec<String>,
    /// Deviating buckets: anomalous ones, and those that accompany one.
    pub anomalous: u32,
    /// Missing buckets.
    pub missing: u32,
    /// Its worst bucket: the entity, the metric, the start of the bucket, then mean, expected and z_score. Empty where all evidence is silence.
    pub peak: Option<(String, String, Time, [f64; 3])>,
    /// Why it no longer holds, where it was withdrawn.
    pub withdrawn_reason: Option<String>,
    /// Which incident it is part of now, where it was withdrawn for that.
    pub joined: Option<IncidentId>,
    /// 1 when first stored, one more with every change after that.
    pub revision: i64,
    /// When it was first stored.
    pub known_at: Time,
}

const PLACE: &str = "INSERT INTO placements (source, entity_type, entity_id, since, zone, rack) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (source, entity_type, entity_id, since) DO UPDATE SET zone = excluded.zone, rack = excluded.rack";

const UPSERT_EPISODE: &str = "INSERT INTO episodes (series_id, opened, last, status, settled, severity, anomalous, missing, peak_start, peak_mean,
        peak_expected, peak_sigma, peak_z_score, incident_id, revision, known_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, $15)
    ON CONFLICT (series_id, opened) DO UPDATE SET last = excluded.last, status = excluded.status, settled = excluded.settled,
        severity = excluded.severity, anomalous = excluded.anomalous, missing = excluded.missing, peak_start = excluded.peak_start,
        peak_mean = excluded.peak_mean, peak_expected = excluded.peak_expected, peak_sigma = excluded.peak_sigma,
        peak_z_score = excluded.peak_z_score, incident_id = excluded.incident_id,
        revision = episodes.revision + 1, revised_at = excluded.known_at
    WHERE (episodes.last, episodes.status, episodes.severity, episodes.anomalous, episodes.missing, episodes.peak_mean, episodes.peak_z_score,
           episodes.peak_start, episodes.peak_expected, episodes.peak_sigma, episodes.incident_id, episodes.settled)
        IS DISTINCT FROM (excluded.last, excluded.status, excluded.severity, excluded.anomalous, excluded.missing, excluded.peak_mean,
           excluded.peak_z_score, excluded.peak_start, excluded.peak_expected, excluded.peak_sigma, excluded.incident_id, excluded.settled)";

const WITHDRAW_EPISODE: &str = "UPDATE episodes SET status = 'withdrawn', settled = $3, revision = revision + 1, revised_at = $4
    WHERE series_id = $1 AND opened = $2 AND status <> 'withdrawn'";

const UPSERT_INCIDENT: &str = "INSERT INTO incidents (incident_id, source, scope, entity_type, entity_id, zone, rack, opened, last, status, settled,
        severity, entities, peers, metrics, anomalous, missing, peak_entity_id, peak_metric, peak_start, peak_mean, peak_expected,
        peak_z_score, revision, known_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, 1, $24)
    ON CONFLICT (incident_id) DO UPDATE SET scope = excluded.scope, zone = excluded.zone, rack = excluded.rack, opened = excluded.opened, last = excluded.last, status = excluded.status, settled = excluded.settled,
        severity = excluded.severity, entities = excluded.entities, peers = excluded.peers, metrics = excluded.metrics,
        anomalous = excluded.anomalous, missing = excluded.missing, peak_entity_id = excluded.peak_entity_id,
        peak_metric = excluded.peak_metric, peak_start = excluded.peak_start, peak_mean = excluded.peak_mean,
        peak_expected = excluded.peak_expected, peak_z_score = excluded.peak_z_score, withdrawn_reason = NULL, joined_id = NULL,
        revision = incidents.revision + 1, revised_at = excluded.known_at
    WHERE (incidents.scope, incidents.zone, incidents.rack, incidents.opened, incidents.peak_entity_id, incidents.peak_metric, incidents.peak_start, incidents.peak_expected, incidents.last, incidents.status, incidents.severity, incidents.entities, incidents.peers, incidents.metrics,
           incidents.anomalous, incidents.missing, incidents.peak_mean, incidents.peak_z_score, incidents.settled)
        IS DISTINCT FROM (excluded.scope, excluded.zone, excluded.rack, excluded.opened, excluded.peak_entity_id, excluded.peak_metric, excluded.peak_start, excluded.peak_expected, excluded.last, excluded.status, excluded.severity, excluded.entities, excluded.peers,
           excluded.metrics, excluded.anomalous, excluded.missing, excluded.peak_mean, excluded.peak_z_score, excluded.settled)";

const WITHDRAW_INCIDENT: &str =
    "UPDATE incidents SET status = 'withdrawn', settled = $3, withdrawn_reason = $2, joined_id = $5, revision = revision + 1, revised_at = $4
    WHERE incident_id = $1 AND status <> 'withdrawn'";

const SETTLE: &str = "UPDATE sources SET settled = $2 WHERE source = $1 AND (settled IS NULL OR settled < $2)";

fn status(stage: Stage) -> &'static str {
    if stage == Stage::Open { "open" } else { "closed" }
}

/// Names as one text; there are few.
fn list(names: &[String]) -> String {
    serde_json::Value::from(names.to_vec()).to_string()
}

/// What a batch writes to the tables of this file.
pub(super) fn statements(batch: &Batch) -> Vec<Statement> {
    let known_at = Value::time(instant::now());
    let settled = batch.settled.map(|settled| Statement { sql: SETTLE, values: vec![batch.source.as_str().into(), Value::time(settled)] });
    let placed = batch.placements.iter().map(|placed| {
        let Placement { since, entity_type, zone, rack, .. } = &placed.placement;
        let texts = [batch.source.as_str(), entity_type, &placed.entity_id].map(Value::from);
        let values = texts.into_iter().chain([Value::time(*since), zone.as_str().into(), rack.as_str().into()]);
        Statement { sql: PLACE, values: values.collect() }
    });
    let gone = batch.episodes_withdrawn.iter().map(|id| {
        let key = row::key(SeriesId::of(id.entity, id.metric));
        Statement { sql: WITHDRAW_EPISODE, values: vec![key.into(), Value::time(id.opened), true.into(), known_at.clone()] }
    });
    let withdrawn = batch.incidents_withdrawn.iter().map(|Withdrawn { id, reason, joined }| {
        let joined = Value::Integer(joined.map(|joined| joined.0.cast_signed()));
        let values = vec![id.0.cast_signed().into(), reason.as_str().into(), true.into(), known_at.clone(), joined];
        Statement { sql: WITHDRAW_INCIDENT, values }
    });
    let episodes = batch.episodes.iter().map(|(episode, incident)| upsert_episode(episode, *incident, &known_at));
    let incidents = batch.incidents.iter().map(|incident| upsert_incident(&batch.source, incident, &known_at));
    settled.into_iter().chain(placed).chain(gone).chain(withdrawn).chain(episodes).chain(incidents).collect()
}

fn upsert_episode(episode: &Episode, incident: IncidentId, known_at: &Value) -> Statement {
    let peak = episode.peak;
    let number = |number: Option<dataflows::Number>| Value::Number(number.map(|number| number.0));
    let values = vec![
        row::key(SeriesId::of(episode.id.entity, episode.id.metric)).into(),
        Value::time(episode.id.opened),
        Value::time(episode.last),
        status(episode.stage).into(),
        (episode.stage == Stage::Settled).into(),
        episode.severity.as_str().into(),
        episode.anomalous.into(),
        episode.missing.into(),
        Value::some_time(peak.map(|peak| peak.start)),
        number(peak.map(|peak| peak.mean)),
        number(peak.map(|peak| peak.score.expected)),
        number(peak.map(|peak| peak.score.sigma)),
        number(peak.map(|peak| peak.score.z_score)),
        incident.0.cast_signed().into(),
        known_at.clone(),
    ];
    Statement { sql: UPSERT_EPISODE, values }
}

fn upsert_incident(source: &str, named: &NamedIncident, known_at: &Value) -> Statement {
    let incident = &named.incident;
    let peak = incident.peak.map(|(_, _, peak)| peak);
    let values = vec![
        incident.id.0.cast_signed().into(),
        source.into(),
        incident.scope.as_str().into(),
        incident.place.entity_type.as_str().into(),
        named.entity_id.as_str().into(),
        incident.place.zone.as_str().into(),
        incident.place.rack.as_str().into(),
        Value::time(incident.opened),
        Value::time(incident.last),
        status(incident.stage).into(),
        (incident.stage == Stage::Settled).into(),
        incident.severity.as_str().into(),
        incident.entities.into(),
        incident.peers.into(),
        list(&named.metrics).as_str().into(),
        incident.anomalous.into(),
        incident.missing.into(),
        named.peak.as_ref().map(|name| name.entity_id.as_str()).into(),
        named.peak.as_ref().map(|name| name.metric.as_str()).into(),
        Value::some_time(peak.map(|peak| peak.start)),
        Value::Number(peak.map(|peak| peak.mean.0)),
        Value::Number(peak.map(|peak| peak.score.expected.0)),
        Value::Number(peak.map(|peak| peak.score.z_score.0)),
        known_at.clone(),
    ];
    Statement { sql: UPSERT_INCIDENT, values }
}

/// The start of the first bucket of a source that was not settled at its last commit; `None` where it was never committed.
///
/// # Errors
/// A history that cannot be read.
pub fn settled(history: &mut dyn History, source: &str) -> Result<Option<Time>, HistoryError> {
    let query = Statement { sql: "SELECT settled FROM sources WHERE source = $1", values: vec![source.into()] };
    Ok(history.select(&query, &[Shape::Time])?.first_mut().and_then(Columns::time))
}

/// Where the entities of a source stand and stood.
///
/// # Errors
/// A history that cannot be read.
pub fn placements(history: &mut dyn History, source: &str) -> Result<Vec<EntityPlacement>, HistoryError> {
    let sql = "SELECT entity_type, entity_id, since, zone, rack FROM placements WHERE source = $1 ORDER BY entity_type, entity_id, since";
    let shapes = [Shape::Text, Shape::Text, Shape::Time, Shape::Text, Shape::Text];
    let rows = history.select(&Statement { sql, values: vec![source.into()] }, &shapes)?;
    let read = |mut columns: Columns| {
        let (entity_type, entity_id) = (columns.text().unwrap_or_default(), columns.text().unwrap_or_default());
        let since = columns.time().unwrap_or(Time::MIN);
        let (zone, rack) = (columns.text().unwrap_or_default(), columns.text().unwrap_or_default());
        let entity = EntityId::of(&entity_type, &entity_id);
        EntityPlacement { entity_id, placement: Placement { since, entity, entity_type, zone, rack } }
    };
    Ok(rows.into_iter().map(read).collect())
}

/// The incidents that opened in `[from, until)`, withdrawn ones included, oldest first.
///
/// # Errors
/// A history that cannot be read.
pub fn incidents(history: &mut dyn History, from: Time, until: Time) -> Result<Vec<IncidentRow>, HistoryError> {
    use Shape::{Flag, Integer, Number, Text, Time as T};
    let sql = "SELECT incident_id, scope, entity_type, entity_id, zone, rack, opened, last, status, settled, severity, entities, peers, metrics, anomalous,
            missing, peak_entity_id, peak_metric, peak_start, peak_mean, peak_expected, peak_z_score, withdrawn_reason, joined_id, revision, known_at
        FROM incidents WHERE opened >= $1 AND opened < $2 ORDER BY opened, incident_id";
    let shapes = [
        Integer, Text, Text, Text, Text, Text, T, T, Text, Flag, Text, Integer, Integer, Text, Integer, Integer, Text, Text, T, Number,
        Number, Number, Text, Integer, Integer, T,
    ];
    let values = vec![Value::time(from), Value::time(until)];
    Ok(history.select(&Statement { sql, values }, &shapes)?.into_iter().map(|mut columns| incident_at(&mut columns)).collect())
}

/// How wide the buckets of the incidents are that opened in `[from, until)`, in milliseconds.
///
/// # Errors
/// A history that cannot be read.
pub fn bucket_widths(history: &mut dyn History, from: Time, until: Time) -> Result<BTreeMap<IncidentId, Time>, HistoryError> {
    let sql = "SELECT incident_id, bucket_width FROM incidents JOIN sources ON sources.source = incidents.source WHERE opened >= $1 AND opened < $2";
    let rows = history.select(&Statement { sql, values: vec![Value::time(from), Value::time(until)] }, &[Shape::Integer; 2])?;
    Ok(rows.into_iter().map(|mut columns| (IncidentId(columns.integer().cast_unsigned()), columns.integer())).collect())
}

/// Reads the columns of an incident, and when it became known.
pub(super) fn incident_at(columns: &mut Columns) -> IncidentRow {
    let text = |columns: &mut Columns| columns.text().unwrap_or_default();
    IncidentRow {
        id: IncidentId(columns.integer().cast_unsigned()),
        scope: text(columns),
        entity_type: text(columns),
        entity_id: text(columns),
        zone: text(columns),
        rack: text(columns),
        opened: columns.time().unwrap_or_default(),
        last: columns.time().unwrap_or_default(),
        status: text(columns),
        settled: columns.flag(),
        severity: text(columns),
        entities: columns.count(),
        peers: columns.count(),
        metrics: serde_json::from_str(&text(columns)).unwrap_or_default(),
        anomalous: columns.count(),
        missing: columns.count(),
        peak: peak_at(columns),
        withdrawn_reason: columns.text(),
        joined: columns.some_integer().map(|id| IncidentId(id.cast_unsigned())),
        revision: columns.integer(),
        known_at: columns.time().unwrap_or_default(),
    }
}

fn peak_at(columns: &mut Columns) -> Option<(String, String, Time, [f64; 3])> {
    let (entity_id, metric, start) = (columns.text(), columns.text(), columns.time());
    let numbers = [columns.number(), columns.number(), columns.number()];
    Some((entity_id?, metric?, start?, [numbers[0]?, numbers[1]?, numbers[2]?]))
}

/// Adds the episodes and incidents that opened in `[from, until)` and hold to a digest. What time alone changes does not count: whether they are settled,
/// how often they were revised.
///
/// # Errors
/// A history that cannot be read.
pub fn digest(history: &mut dyn History, from: Time, until: Time, digest: &mut Digest) -> Result<(), HistoryError> {
    use Shape::{Integer, Number, Text, Time as T};
    let sql = "SELECT series_id, opened, last, status, severity, anomalous, missing, peak_start, peak_mean, peak_expected, peak_sigma, peak_z_score,
            incident_id
        FROM episodes WHERE opened >= $1 AND opened < $2 AND status <> 'withdrawn'";
    let shapes = [Integer, T, T, Text, Text, Integer, Integer, T, Number, Number, Number, Number, Integer];
    for columns in history.select(&Statement { sql, values: vec![Value::time(from), Value::time(until)] }, &shapes)? {
        digest.add_episode(&format!("{:?}", columns.0.as_slice()));
    }
    for row in incidents(history, from, until)?.iter().filter(|row| row.status != "withdrawn") {
        let told = IncidentRow { settled: false, revision: 0, known_at: 0, ..row.clone() };
        digest.add_incident(&format!("{told:?}"));
    }
    Ok(())
}

/// The severity that [`Severity::as_str`] wrote.
pub fn severity(text: &str) -> Option<Severity> {
    [Severity::Low, Severity::Medium, Severity::High, Severity::Critical].into_iter().find(|severity| severity.as_str() == text)
}
