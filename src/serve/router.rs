//! What can be asked for, and what answers.

use crate::instant;
use crate::run::{Absence, Part, Stage, Statistics};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// All routes.
pub fn router(statistics: Arc<Statistics>) -> Router {
    Router::new().route("/livez", get(alive)).route("/readyz", get(ready)).with_state(statistics)
}

/// `GET /livez`: that somebody answers is the answer. A run that waits for a service is alive: to restart it would mend nothing.
async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: 200 while the run watches and everything that it needs is there, 503 while it is not so; why, in JSON.
async fn ready(State(statistics): State<Arc<Statistics>>) -> Response {
    let readiness = Readiness::of(&statistics);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

/// The answer of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// `starting`, `restoring` or `watching`.
    stage: &'static str,
    away: Vec<Away>,
    /// The common watermark that was committed last; `null` before the first.
    watermark: Option<String>,
}

/// What cannot be reached.
#[derive(Serialize)]
struct Away {
    what: &'static str,
    since: String,
    reason: String,
}

impl From<Absence> for Away {
    fn from(absence: Absence) -> Self {
        Self { what: absence.what.as_str(), since: instant::format(absence.since), reason: absence.reason }
    }
}

impl Readiness {
    fn of(statistics: &Statistics) -> Self {
        let (stage, away) = (statistics.health.stage(), statistics.health.away());
        Self {
            // A receiver of alerts that is away keeps nobody from watching.
            ready: stage == Stage::Watching && away.iter().all(|absence| absence.what == Part::Alerts),
            stage: stage.as_str(),
            away: away.into_iter().map(Away::from).collect(),
            watermark: statistics.horizon().map(instant::format),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(statistics: &Statistics) -> String {
        serde_json::to_string(&Readiness::of(statistics)).unwrap()
    }

    #[test]
    fn a_run_is_ready_once_it_watches_and_while_nothing_is_away() {
        let statistics = Statistics::default();
        assert_eq!(answer(&statistics), r#"{"ready":false,"stage":"starting","away":[],"watermark":null}"#);
        statistics.health.begin(1);
        assert!(answer(&statistics).starts_with(r#"{"ready":false,"stage":"restoring""#));
        statistics.health.caught_up();
        statistics.set_horizon(1_768_780_800_000);
        assert_eq!(answer(&statistics), r#"{"ready":true,"stage":"watching","away":[],"watermark":"2026-01-19T00:00:00Z"}"#);
        statistics.health.note(Part::Alerts, 0, Some("no answer"));
        let text = answer(&statistics);
        assert!(text.starts_with(r#"{"ready":true,"stage":"watching","away":[{"what":"alerts","since":"2"#), "{text}");
        statistics.health.note(Part::Alerts, 0, None);
        statistics.health.note(Part::History, 0, Some("connection refused"));
        let text = answer(&statistics);
        assert!(text.starts_with(r#"{"ready":false,"stage":"watching","away":[{"what":"history","since":"2"#), "{text}");
        assert!(text.contains(r#""reason":"connection refused"}]"#), "{text}");
    }
}
