//! Silences: listed, declared, removed.

use super::Site;
use super::desk::{Problem, Stores};
use crate::history::silence::{self, SilenceRow};
use crate::instant;
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest pattern, name or reason.
const TEXT_MAX: usize = 1024;

/// `GET /api/v1/silences`: those that were not removed, the latest first.
///
/// # Errors
/// A history that cannot be read.
pub async fn list(State(site): State<Arc<Site>>) -> Result<Json<Value>, Problem> {
    let now = site.now();
    let work = move |stores: &mut Stores| {
        let told = |row: &SilenceRow| {
            json!({ "silence_id": row.id, "entity": row.entity, "metric": row.metric, "from": instant::format(row.from),
                "until": instant::format(row.until), "reason": row.reason, "holds": row.from <= now && now < row.until,
                "now": if now < row.from { "begins later" } else if now < row.until { "holds" } else { "is over" } })
        };
        let rows: Vec<Value> = silence::all(stores.history()?)?.iter().rev().map(told).collect();
        Ok(json!({ "silences": rows }))
    };
    site.desk.look("silences".into(), work).await.map(Json)
}

/// A silence that is asked for.
#[derive(Deserialize)]
pub struct Wish {
    entity: String,
    metric: Option<String>,
    from: String,
    until: String,
    reason: Option<String>,
}

/// `POST /api/v1/silences`.
///
/// # Errors
/// A wish that makes no sense, or a history that cannot be written.
pub async fn add(State(site): State<Arc<Site>>, Json(wish): Json<Wish>) -> Result<Json<Value>, Problem> {
    let time = |text: &str| {
        instant::parse(text).ok_or_else(|| Problem::Wrong(format!("'{text}' is not a time: write it like 2026-01-24T12:34:56Z")))
    };
    let (from, until) = (time(&wish.from)?, time(&wish.until)?);
    let metric = wish.metric.filter(|metric| !metric.is_empty());
    let row = SilenceRow { id: 0, entity: wish.entity, metric, from, until, reason: wish.reason.unwrap_or_default() };
    if row.entity.is_empty() || from >= until {
        return Err(Problem::Wrong("a silence needs an entity, and an end after its beginning".into()));
    }
    if [Some(&row.entity), row.metric.as_ref(), Some(&row.reason)].into_iter().flatten().any(|text| text.len() > TEXT_MAX) {
        return Err(Problem::Wrong(format!("a text is longer than {TEXT_MAX} bytes")));
    }
    let work = move |stores: &mut Stores| Ok(json!({ "incidents_withdrawn": silence::add(stores.history()?, &row)? }));
    site.desk.change(work).await.map(Json)
}

/// `DELETE /api/v1/silences/{id}`.
///
/// # Errors
/// No such silence, or a history that cannot be written.
pub async fn remove(State(site): State<Arc<Site>>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    let work = move |stores: &mut Stores| match silence::remove(stores.history()?, id)? {
        true => Ok(json!({ "removed": id })),
        false => Err(Problem::NotFound(format!("there is no silence {id}"))),
    };
    site.desk.change(work).await.map(Json)
}
