//! One incident: what belongs to it, why each was flagged, what was taken back; and what people say of it.

use super::Site;
use super::curve::anomaly;
use super::desk::{Problem, Stores};
use super::overview::told;
use crate::history::course::Course;
use crate::history::label::{self, LABELS};
use crate::history::silence::{self, SilenceRow};
use crate::history::view::{self, EpisodeRow};
use crate::instant;
use axum::Json;
use axum::extract::{Path, State};
use dataflows::{IncidentId, MetricId, Time};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Episodes whose arithmetic is told; the others are listed.
const EXPLAINED_MAX: usize = 40;

/// The longest silence that a button makes after the last evidence, in hours.
const HOURS_MAX: u32 = 24 * 14;

/// `GET /api/v1/incidents/{id}`.
///
/// # Errors
/// No such incident, or a history that cannot be read.
pub async fn incident(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let incident = number(&id)?;
    let inside = Arc::clone(&site);
    site.desk.look(format!("incident {id}"), move |stores| tell(&inside, stores, incident)).await.map(Json)
}

/// The number of an incident as it is written: 16 hexadecimal digits.
fn number(text: &str) -> Result<IncidentId, Problem> {
    let parsed = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    parsed.map(IncidentId).ok_or_else(|| Problem::Wrong(format!("'{text}' is no incident: write its 16 hexadecimal digits")))
}

fn absent(id: IncidentId) -> Problem {
    Problem::NotFound(format!("there is no incident {:016x}", id.0))
}

fn tell(site: &Site, stores: &mut Stores, id: IncidentId) -> Result<Value, Problem> {
    let row = view::incident(stores.history()?, id)?.ok_or_else(|| absent(id))?;
    let labels = label::all(stores.history()?)?;
    let episodes = view::episodes(stores.history()?, id)?;
    let withdrawn = view::withdrawn(stores.history()?, id, row.opened, row.last.saturating_add(1))?;
    let mut worst: Vec<&EpisodeRow> = episodes.iter().collect();
    let holds = |episode: &EpisodeRow| episode.status != "withdrawn";
    worst.sort_by(|one, other| holds(other).cmp(&holds(one)).then(distance(other).total_cmp(&distance(one))));
    let mut arithmetic = BTreeMap::new();
    for episode in worst.into_iter().take(EXPLAINED_MAX) {
        arithmetic.insert((&episode.name, episode.opened), words(site, stores, episode)?);
    }
    let told_episodes: Vec<Value> = episodes
        .iter()
        .map(|episode| {
            json!({
                "series": episode.name.to_string(), "entity_id": episode.name.entity_id, "metric": episode.name.metric,
                "opened": instant::format(episode.opened), "last": instant::format(episode.last),
                "until": instant::format(episode.last + site.width), "status": episode.status,
                "severity": episode.severity, "anomalous": episode.anomalous, "missing": episode.missing, "revision": episode.revision,
                "known_at": instant::format(episode.known_at),
                "peak": episode.peak.map(|(start, [mean, expected, sigma, z_score])| json!({
                    "timestamp": instant::format(start), "mean": mean, "expected": expected, "sigma": sigma, "z_score": z_score })),
                "arithmetic": arithmetic.get(&(&episode.name, episode.opened)),
            })
        })
        .collect();
    let mut answer = told(&row, site.width, labels.get(&id.0));
    let course = Course::so_far(stores.history()?, &row)?;
    let bucket =
        |(start, [mean, expected]): (Time, [f64; 2])| json!({ "timestamp": instant::format(start), "mean": mean, "expected": expected });
    answer["unmoved_since"] = course.unmoved_since.map(instant::format).into();
    answer["furthest"] = course.furthest.map(bucket).into();
    answer["latest"] = course.latest.map(bucket).into();
    answer["growth"] = growth(&episodes, site.width).into();
    answer["episodes"] = told_episodes.into();
    answer["withdrawn"] = withdrawn.iter().map(anomaly).collect();
    Ok(answer)
}

fn distance(episode: &EpisodeRow) -> f64 {
    episode.peak.map_or(0.0, |(_, numbers)| numbers[3].abs())
}

/// The arithmetic behind the worst bucket of an episode, as `tidewatch explain` says it.
fn words(site: &Site, stores: &mut Stores, episode: &EpisodeRow) -> Result<Option<String>, Problem> {
    let start = episode.peak.map_or(episode.opened, |(start, _)| start);
    let model = stores.model(&episode.name);
    let limits = site.policy.limits(MetricId::of(&episode.name.metric));
    let words = (site.explain)(stores.history()?, &episode.name, start, site.width, limits, model.as_ref());
    words.map_err(|error| Problem::Away(format!("{error:#}")))
}

/// How an incident grew: at each moment that something began, how many series and entities had been hit by then, and which are new.
fn growth(episodes: &[EpisodeRow], width: Time) -> Vec<Value> {
    let mut new: BTreeMap<Time, Vec<&EpisodeRow>> = BTreeMap::new();
    for episode in episodes.iter().filter(|episode| episode.status != "withdrawn") {
        new.entry(episode.opened.div_euclid(width) * width).or_default().push(episode);
    }
    let (mut entities, mut series) = (BTreeSet::new(), BTreeSet::new());
    let step = |(time, episodes): (Time, Vec<&EpisodeRow>)| {
        entities.extend(episodes.iter().map(|episode| episode.name.entity()));
        series.extend(episodes.iter().map(|episode| episode.name.id()));
        let names: BTreeSet<String> = episodes.iter().map(|episode| episode.name.to_string()).collect();
        json!({ "timestamp": instant::format(time), "entities": entities.len(), "series": series.len(), "new": names })
    };
    new.into_iter().map(step).collect()
}

/// What somebody thinks of an incident.
#[derive(Deserialize)]
pub struct Opinion {
    label: Option<String>,
}

/// `PUT /api/v1/incidents/{id}/label`: `useful`, `not_useful`, or `null` to take it back.
///
/// # Errors
/// Another word, no such incident, or a history that cannot be written.
pub async fn set_label(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Json(opinion): Json<Opinion>,
) -> Result<Json<Value>, Problem> {
    let id = number(&id)?;
    if let Some(word) = opinion.label.as_deref().filter(|word| !LABELS.contains(word)) {
        return Err(Problem::Wrong(format!("'{word}' is no label: write useful, not_useful or null")));
    }
    let work = move |stores: &mut Stores| {
        let history = stores.history()?;
        view::incident(history, id)?.ok_or_else(|| absent(id))?;
        match &opinion.label {
            Some(word) => label::set(history, id, word)?,
            None => label::clear(history, id)?,
        }
        Ok(json!({ "incident_id": format!("{:016x}", id.0), "label": opinion.label }))
    };
    site.desk.change(work).await.map(Json)
}

/// That an incident was expected.
#[derive(Deserialize)]
pub struct Expected {
    /// How long after its last evidence it may go on.
    hours: Option<u32>,
    reason: Option<String>,
}

/// `POST /api/v1/incidents/{id}/expected`: a silence for each of its series, from its beginning until some hours after its last evidence.
///
/// # Errors
/// No such incident, too many hours, or a history that cannot be written.
pub async fn expect(State(site): State<Arc<Site>>, Path(id): Path<String>, Json(expected): Json<Expected>) -> Result<Json<Value>, Problem> {
    let (id, hours, width) = (number(&id)?, expected.hours.unwrap_or(1), site.width);
    if hours > HOURS_MAX {
        return Err(Problem::Wrong(format!("at most {HOURS_MAX} hours")));
    }
    let reason = expected.reason.unwrap_or_else(|| "expected".into());
    let work = move |stores: &mut Stores| {
        let history = stores.history()?;
        let row = view::incident(history, id)?.ok_or_else(|| absent(id))?;
        let series: BTreeSet<_> = view::episodes(history, id)?.into_iter().map(|episode| episode.name).collect();
        let until = row.last + width + Time::from(hours) * 3_600_000;
        for name in &series {
            let (entity, metric) = (name.entity_id.clone(), Some(name.metric.clone()));
            silence::add(history, &SilenceRow { id: 0, entity, metric, from: row.opened, until, reason: reason.clone() })?;
        }
        Ok(json!({ "silences": series.len(), "from": instant::format(row.opened), "until": instant::format(until) }))
    };
    site.desk.change(work).await.map(Json)
}
