//! What can be asked for, and what answers.

use super::pulse::{Away, Beat};
use super::{Site, curve, guard, incidents, metrics, overview, page, pulse, silences};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// The largest body: nobody has much to say.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// All routes.
pub fn router(site: Arc<Site>) -> Router {
    let asked = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/openapi.json", get(page::description))
        .route("/api/v1/overview", get(overview::overview))
        .route("/api/v1/events", get(pulse::events))
        .route("/api/v1/heatmap", get(overview::heatmap))
        .route("/api/v1/series", get(overview::names))
        .route("/api/v1/series/{series}", get(curve::curve))
        .route("/api/v1/incidents", get(overview::incidents))
        .route("/api/v1/incidents/{id}", get(incidents::incident))
        .route("/api/v1/incidents/{id}/label", put(incidents::set_label))
        .route("/api/v1/incidents/{id}/expected", post(incidents::expect))
        .route("/api/v1/silences", get(silences::list).post(silences::add))
        .route("/api/v1/silences/{id}", delete(silences::remove));
    let seen = asked
        .route("/", get(page::overview))
        .route("/series", get(page::names))
        .route("/series/{series}", get(page::series))
        .route("/series/{entity}/{metric}", get(page::series))
        .route("/incidents", get(page::incidents))
        .route("/incidents/{id}", get(page::incident))
        .route("/silences", get(page::silences))
        .route("/assets/{name}", get(page::asset))
        .fallback(page::absent);
    seen.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).layer(from_fn_with_state(Arc::clone(&site), guard::guard)).with_state(site)
}

/// `GET /livez`: that somebody answers is the answer. A run that waits for a service is alive: to restart it would mend nothing.
async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: 200 while the run watches and everything that it needs is there, 503 while it is not so; why, in JSON.
async fn ready(State(site): State<Arc<Site>>) -> Response {
    let readiness = Readiness::of(&site);
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
    /// How many series have a model that was taken in: without any nothing is scored.
    models: u64,
    /// The common watermark that was committed last; `null` before the first.
    watermark: Option<String>,
    /// How far it is behind the wall clock; less than 0 where a simulated clock is ahead.
    lag_seconds: Option<f64>,
}

impl Readiness {
    fn of(site: &Site) -> Self {
        let Beat { ready, stage, away, watermark, lag_seconds, .. } = Beat::of(&site.statistics, &site.rates);
        Self { ready, stage, away, models: site.statistics.trained().0, watermark, lag_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Part;
    use crate::serve::tests::site;
    use std::collections::BTreeSet;

    fn answer(site: &Site) -> String {
        serde_json::to_string(&Readiness::of(site)).unwrap()
    }

    #[test]
    fn a_run_is_ready_once_it_watches_and_while_nothing_is_away() {
        let site = site(true, None);
        let statistics = &site.statistics;
        assert_eq!(answer(&site), r#"{"ready":false,"stage":"starting","away":[],"models":0,"watermark":null,"lag_seconds":null}"#);
        statistics.health.begin(1);
        assert!(answer(&site).starts_with(r#"{"ready":false,"stage":"restoring""#));
        statistics.health.caught_up();
        statistics.set_horizon(1_768_780_800_000);
        statistics.set_trained(&[0, 1]);
        let text = answer(&site);
        assert!(
            text.starts_with(r#"{"ready":true,"stage":"watching","away":[],"models":2,"watermark":"2026-01-19T00:00:00Z","lag_seconds":"#),
            "{text}"
        );
        // A receiver of alerts that is away keeps nobody from watching.
        statistics.health.note(Part::Alerts, 0, Some("no answer"));
        let text = answer(&site);
        assert!(text.starts_with(r#"{"ready":true,"stage":"watching","away":[{"what":"alerts","since":"2"#), "{text}");
        statistics.health.note(Part::Alerts, 0, None);
        statistics.health.note(Part::History, 0, Some("connection refused"));
        let text = answer(&site);
        assert!(text.starts_with(r#"{"ready":false,"stage":"watching","away":[{"what":"history","since":"2"#), "{text}");
        assert!(text.contains(r#""reason":"connection refused"}]"#), "{text}");
    }

    #[test]
    fn every_route_of_the_interface_is_described() {
        let description: serde_json::Value = serde_json::from_str(page::OPENAPI).unwrap();
        let described: BTreeSet<&str> = description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let source = include_str!("router.rs").split("#[cfg(test)]").next().unwrap();
        let routes = source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let routes: BTreeSet<&str> = routes.filter(|route| route.starts_with("/api/") && !route.ends_with("openapi.json")).collect();
        assert_eq!(described, routes);
    }
}
