//! The fleet as a whole: what is wrong, worst first, and who was furthest from what was expected when.

use super::Site;
use super::curve::anomaly;
use super::desk::{Desk, Problem, Stores};
use super::pulse::Beat;
use crate::history::incident::{self, IncidentRow};
use crate::history::{label, view};
use crate::instant;
use crate::series::SeriesName;
use axum::Json;
use axum::extract::{Query, State};
use dataflows::{MetricId, Policy, Time};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const HOUR: Time = 3_600_000;
const DAY: Time = 24 * HOUR;

/// Incidents shown at once.
const INCIDENTS_MAX: usize = 200;

/// A span of time in an address.
#[derive(Deserialize)]
pub struct Span {
    /// `1h`, `6h`, `24h` or `14d`.
    span: Option<String>,
    /// The end, exclusive; now where it is not said.
    until: Option<String>,
}

impl Span {
    /// The length in milliseconds.
    ///
    /// # Errors
    /// Another word.
    pub fn length(&self, default: &str) -> Result<Time, Problem> {
        match self.span.as_deref().unwrap_or(default) {
            "1h" => Ok(HOUR),
            "6h" => Ok(6 * HOUR),
            "24h" => Ok(DAY),
            "14d" => Ok(14 * DAY),
            other => Err(Problem::Wrong(format!("'{other}' is no span: write 1h, 6h, 24h or 14d"))),
        }
    }

    /// The end: as asked for, but not later than the run has come, its open bucket included.
    ///
    /// # Errors
    /// What is no time.
    pub fn until(&self, site: &Site) -> Result<Time, Problem> {
        let latest = site.now() + site.width;
        let Some(text) = &self.until else { return Ok(latest) };
        let until = instant::parse(text).map(|until| until.min(latest));
        until.ok_or_else(|| Problem::Wrong(format!("'{text}' is not a time: write it like 2026-01-24T12:34:56Z")))
    }
}

/// `GET /api/v1/overview`.
///
/// # Errors
/// Too many questions. That history is away, or not there yet, is part of the answer.
pub async fn overview(State(site): State<Arc<Site>>) -> Result<Json<Value>, Problem> {
    let (now, width) = (site.now(), site.width);
    let known = site.desk.look("overview".into(), move |stores| fleet(stores, now, width)).await;
    let mut answer = json!({
        "beat": Beat::of(&site.statistics, &site.rates),
        "now": instant::format(now),
        "bucket_seconds": width / 1000,
        "threshold": site.policy.limits.threshold,
        "trained_until": site.statistics.trained().1.map(|ends| ends.1).map(instant::format),
    });
    match known {
        Ok(fleet) => answer["fleet"] = fleet,
        Err(problem) => (answer["fleet"], answer["problem"]) = (Value::Null, problem.to_string().into()),
    }
    Ok(Json(answer))
}

fn fleet(stores: &mut Stores, now: Time, width: Time) -> Result<Value, Problem> {
    let history = stores.history()?;
    let series = history.series()?;
    let entities: BTreeSet<_> = series.iter().map(|series| (&series.name.entity_type, &series.name.entity_id)).collect();
    // The latest bucket that is closed.
    let states = view::states(history, now.div_euclid(width) * width - width)?;
    let mut early = view::provisional(history, now - HOUR)?;
    early.retain(|row| row.start > now - 2 * width);
    let early: Vec<Value> = early.iter().map(anomaly).collect();
    let labels = label::all(history)?;
    let mut incidents = incident::incidents(history, now - 14 * DAY, Time::MAX)?;
    incidents.retain(|row| row.status == "open" || (row.status == "closed" && row.last > now - DAY));
    incidents.sort_by_key(|row| (row.status != "open", std::cmp::Reverse(rank(row)), std::cmp::Reverse(row.last)));
    let open = incidents.iter().filter(|row| row.status == "open").count();
    let shown: Vec<Value> = incidents.iter().take(INCIDENTS_MAX).map(|row| told(row, width, labels.get(&row.id.0))).collect();
    Ok(
        json!({ "series": series.len(), "entities": entities.len(), "states": states, "open": open, "incidents": shown, "provisional": early }),
    )
}

/// How bad: the severity, then how many were hit, then how far the worst was off, in thousandths of sigma.
#[allow(clippy::cast_possible_truncation)] // saturates
fn rank(row: &IncidentRow) -> (usize, u32, i64) {
    let severity = ["low", "medium", "high", "critical"].iter().position(|word| *word == row.severity).unwrap_or(0);
    let z_score = row.peak.as_ref().map_or(0.0, |(_, _, _, numbers)| numbers[2].abs());
    (severity, row.entities, (z_score * 1000.0) as i64)
}

/// An incident as it is told, in one row.
pub fn told(row: &IncidentRow, width: Time, label: Option<&String>) -> Value {
    let peak = row.peak.as_ref().map(|(entity, metric, start, [mean, expected, z_score])| {
        json!({ "series": format!("{}:{entity}:{metric}", row.entity_type), "entity_id": entity, "metric": metric,
            "timestamp": instant::format(*start), "mean": mean, "expected": expected, "z_score": z_score })
    });
    json!({
        "incident_id": format!("{:016x}", row.id.0),
        "scope": row.scope, "entity_type": row.entity_type, "entity_id": row.entity_id, "zone": row.zone, "rack": row.rack,
        "reach": reach(row), "opened": instant::format(row.opened), "last": instant::format(row.last),
        "until": instant::format(row.last + width), "status": row.status,
        "severity": row.severity, "entities": row.entities, "peers": row.peers, "metrics": row.metrics, "anomalous": row.anomalous,
        "missing": row.missing, "peak": peak, "withdrawn_reason": row.withdrawn_reason,
        "joined_id": row.joined.map(|joined| format!("{:016x}", joined.0)), "revision": row.revision,
        "known_at": instant::format(row.known_at), "label": label,
    })
}

/// What an incident reaches, for a person.
fn reach(row: &IncidentRow) -> String {
    let (kind, entities, peers) = (&row.entity_type, row.entities, row.peers);
    match row.scope.as_str() {
        "rack" => format!("{entities} of {peers} {kind}s of rack {}", row.rack),
        "zone" => format!("{entities} of {peers} {kind}s of zone {}", row.zone),
        "kind" => format!("{entities} of all {peers} {kind}s"),
        _ => format!("{kind} {}", row.entity_id),
    }
}

/// Of incidents, those of one status.
#[derive(Deserialize)]
pub struct Which {
    /// `open`, `closed` or `withdrawn`; all where it is not said.
    status: Option<String>,
}

/// `GET /api/v1/incidents`: those that were open in a span or had evidence in it, the latest first.
///
/// # Errors
/// No span, or a history that cannot be read.
pub async fn incidents(
    State(site): State<Arc<Site>>,
    Query(span): Query<Span>,
    Query(Which { status }): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let (length, until, width) = (span.length("24h")?, span.until(&site)?, site.width);
    if let Some(word) = status.as_deref().filter(|word| !["open", "closed", "withdrawn"].contains(word)) {
        return Err(Problem::Wrong(format!("'{word}' is no status: write open, closed or withdrawn")));
    }
    let key = format!("incidents {length} {until} {status:?}");
    let work = move |stores: &mut Stores| {
        let history = stores.history()?;
        let labels = label::all(history)?;
        // One that began long before may be open still.
        let mut rows = incident::incidents(history, until - length - 14 * DAY, until)?;
        rows.retain(|row| row.status == "open" || row.last + width > until - length);
        rows.retain(|row| status.as_ref().is_none_or(|status| *status == row.status));
        let shown: Vec<Value> = rows.iter().rev().take(INCIDENTS_MAX).map(|row| told(row, width, labels.get(&row.id.0))).collect();
        Ok(json!({ "incidents": shown, "total": rows.len() }))
    };
    site.desk.look(key, work).await.map(Json)
}

/// `GET /api/v1/series`: the names of all series, with where their entities stand.
///
/// # Errors
/// A history that cannot be read.
pub async fn names(State(site): State<Arc<Site>>) -> Result<Json<Value>, Problem> {
    let work = |stores: &mut Stores| {
        let history = stores.history()?;
        let places = view::places(history)?;
        let told = |series: crate::history::Series| {
            let name = series.name;
            let (zone, rack) = places.get(&(name.entity_type.clone(), name.entity_id.clone())).cloned().unwrap_or_default();
            json!({ "series": name.to_string(), "entity_type": name.entity_type, "entity_id": name.entity_id, "metric": name.metric,
                "zone": zone, "rack": rack })
        };
        let series: Vec<Value> = history.series()?.into_iter().map(told).collect();
        Ok(json!({ "series": series }))
    };
    site.desk.look("series".into(), work).await.map(Json)
}

/// `GET /api/v1/heatmap`: for every entity and bucket the series that was furthest from what was expected.
///
/// # Errors
/// No span, or a history that cannot be read.
pub async fn heatmap(State(site): State<Arc<Site>>, Query(span): Query<Span>) -> Result<Json<Value>, Problem> {
    let (length, width) = (span.length("6h")?.min(DAY), site.width);
    // Open buckets are not stored yet.
    let until = (span.until(&site)? - if span.until.is_some() { 0 } else { width }).div_euclid(width) * width;
    let desk: &Desk = &site.desk;
    let policy = site.policy.clone();
    desk.look(format!("heatmap {length} {until}"), move |stores| heat(stores, (until - length, until), width, &policy)).await.map(Json)
}

/// From this |z| on a cell has the colour of what is beyond the default threshold...
const BEYOND: f64 = 3.0;
/// ...and one that is normal comes up to no more than this share of it, or of the threshold, if that is less.
const NORMAL_MAX: f64 = 0.99;

/// The cells of one entity, the bucket with the largest |z| among them, and its metric.
struct Row {
    cells: Vec<Value>,
    worst: f64,
    metric: String,
}

fn heat(stores: &mut Stores, (from, until): (Time, Time), width: Time, policy: &Policy) -> Result<Value, Problem> {
    let history = stores.history()?;
    let normal_max = |metric: &str| NORMAL_MAX * policy.limits(MetricId::of(metric)).threshold.min(policy.limits.threshold).min(BEYOND);
    let of = |name: SeriesName| (name.id(), (normal_max(&name.metric), name));
    let series: BTreeMap<_, _> = history.series()?.into_iter().map(|series| of(series.name)).collect();
    let places = view::places(history)?;
    let columns = usize::try_from((until - from) / width).unwrap_or(0);
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    for (_, name) in series.values() {
        rows.entry((name.entity_type.clone(), name.entity_id.clone())).or_insert_with(|| Row {
            cells: vec![Value::Null; columns],
            worst: 0.0,
            metric: name.metric.clone(),
        });
    }
    for cell in view::cells(history, from, until)? {
        let Some((normal_max, name)) = series.get(&cell.series) else { continue };
        let Some(row) = rows.get_mut(&(name.entity_type.clone(), name.entity_id.clone())) else { continue };
        let Some(place) = usize::try_from((cell.start - from).div_euclid(width)).ok().and_then(|place| row.cells.get_mut(place)) else {
            continue;
        };
        // A deviation that nobody minds, to the other side or too small, is not beyond the threshold here either.
        let most = if cell.normal { *normal_max } else { 1e6 };
        let z_score = cell.z_score.map_or(0.0, |z_score| z_score.clamp(-most, most));
        if cell.missing && !place.as_f64().is_some_and(|known| known.abs() > 3.0) {
            *place = "missing".into();
        } else if !place.is_string() && place.as_f64().is_none_or(|known| known.abs() < z_score.abs()) {
            *place = ((z_score * 100.0).round() / 100.0).into();
        }
        if z_score.abs() > row.worst {
            (row.worst, row.metric) = (z_score.abs(), name.metric.clone());
        }
    }
    let nowhere = (String::new(), String::new());
    let mut zones: BTreeMap<&str, BTreeMap<&str, Vec<Value>>> = BTreeMap::new();
    for (entity, row) in &rows {
        let (zone, rack) = places.get(entity).unwrap_or(&nowhere);
        let told = json!({ "entity_type": entity.0, "entity_id": entity.1, "worst": row.worst, "metric": row.metric, "cells": row.cells });
        zones.entry(zone).or_default().entry(rack).or_default().push(told);
    }
    let racks = |racks: BTreeMap<&str, Vec<Value>>| -> Vec<Value> {
        racks.into_iter().map(|(rack, rows)| json!({ "rack": rack, "rows": rows })).collect()
    };
    let zones: Vec<Value> = zones.into_iter().map(|(zone, inside)| json!({ "zone": zone, "racks": racks(inside) })).collect();
    Ok(json!({ "from": instant::format(from), "until": instant::format(until), "step_seconds": width / 1000, "zones": zones }))
}
