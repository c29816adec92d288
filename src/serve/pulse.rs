//! How a run goes this second, without a look at history: for the live part of the page, for `/readyz` and for `/metrics`.

use super::Site;
use crate::instant;
use crate::run::{Absence, Stage, Statistics};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How often somebody who looks on is told.
const BEAT: Duration = Duration::from_secs(1);

/// The rate is that of so many seconds: longer than the usual interval of a producer.
const RATE_OVER: usize = 10;

/// Pages that can be told at once; one more is refused, and asks again by itself.
pub const LISTENERS_MAX: usize = 64;

/// What cannot be reached.
#[derive(Clone, PartialEq, Serialize)]
pub struct Away {
    what: &'static str,
    since: String,
    reason: String,
}

impl From<Absence> for Away {
    fn from(absence: Absence) -> Self {
        Self { what: absence.what.as_str(), since: instant::format(absence.since), reason: absence.reason }
    }
}

/// Work that people wait for.
#[derive(Clone, PartialEq, Serialize)]
struct Doing {
    what: &'static str,
    unit: &'static str,
    done: u64,
    total: Option<u64>,
}

/// What is told every second.
#[derive(Clone, PartialEq, Serialize)]
pub struct Beat {
    /// Whether it watches and nothing that it needs is away.
    pub ready: bool,
    /// `starting`, `restoring` or `watching`.
    pub stage: &'static str,
    /// What cannot be reached.
    pub away: Vec<Away>,
    /// The common watermark that was committed last; `null` before the first.
    pub watermark: Option<String>,
    /// How far it is behind the wall clock, in seconds; less than 0 where a simulated clock is ahead.
    pub lag_seconds: Option<f64>,
    activity: Option<Doing>,
    records: u64,
    records_per_second: f64,
    refused: BTreeMap<String, u64>,
    verdicts: u64,
    anomalies: u64,
    revisions: u64,
    withdrawn: u64,
    commits: u64,
    generation: u64,
}

/// The last counts of records, a second apart.
#[derive(Default)]
pub struct Rates(Mutex<VecDeque<(Instant, u64)>>);

impl Rates {
    /// Takes note of a count.
    pub fn note(&self, at: Instant, records: u64) {
        let mut known = self.0.lock().expect("no holder panics");
        known.push_back((at, records));
        while known.len() > RATE_OVER + 1 {
            known.pop_front();
        }
    }

    /// Records per second; 0 until there are two counts.
    #[allow(clippy::cast_precision_loss)] // a rate for people
    pub fn rate(&self) -> f64 {
        let known = self.0.lock().expect("no holder panics");
        let (Some(first), Some(last)) = (known.front(), known.back()) else { return 0.0 };
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        if seconds > 0.0 { last.1.saturating_sub(first.1) as f64 / seconds } else { 0.0 }
    }
}

impl Beat {
    /// How it goes now.
    #[allow(clippy::cast_precision_loss)] // seconds for people
    pub fn of(statistics: &Statistics, rates: &Rates) -> Self {
        let (stage, away) = (statistics.health.stage(), statistics.health.away());
        let horizon = statistics.horizon();
        let doing =
            |activity: crate::run::Activity| Doing { what: activity.what, unit: activity.unit, done: activity.done, total: activity.total };
        Self {
            ready: stage == Stage::Watching && !away.iter().any(|absence| absence.what.is_needed()),
            stage: stage.as_str(),
            away: away.into_iter().map(Away::from).collect(),
            watermark: horizon.map(instant::format),
            lag_seconds: horizon.map(|horizon| ((instant::now() - horizon) / 100) as f64 / 10.0),
            activity: statistics.activity().map(doing),
            records: statistics.records.get(),
            records_per_second: (rates.rate() * 10.0).round() / 10.0,
            refused: statistics.refused(),
            verdicts: statistics.verdicts.get(),
            anomalies: statistics.anomalies.get(),
            revisions: statistics.revisions.get(),
            withdrawn: statistics.withdrawn.get(),
            commits: statistics.commits.get(),
            generation: statistics.generation.load(Ordering::Relaxed),
        }
    }
}

/// Counts records every second for as long as the server lives.
pub async fn count(site: Arc<Site>) {
    loop {
        site.rates.note(Instant::now(), site.statistics.records.get());
        tokio::time::sleep(BEAT).await;
    }
}

/// `GET /api/v1/events`: a beat every second, as server-sent events.
pub async fn events(State(site): State<Arc<Site>>) -> Response {
    let Ok(place) = Arc::clone(&site.listeners).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let beats = stream::unfold((site, place, true), |(site, place, first)| async move {
        if !first {
            tokio::time::sleep(BEAT).await;
        }
        let beat = Beat::of(&site.statistics, &site.rates);
        let event = Event::default().event("beat").data(json!(beat).to_string());
        Some((Ok::<_, Infallible>(event), (site, place, false)))
    });
    Sse::new(beats).keep_alive(KeepAlive::default()).into_response()
}

/// Room for [`LISTENERS_MAX`] pages.
pub fn listeners() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(LISTENERS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_ten_seconds() {
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(rates.rate(), 0.0);
        for second in 0..100 {
            rates.note(start + Duration::from_secs(second), if second < 50 { second * 1000 } else { 50_000 + second });
        }
        assert!((rates.rate() - 1.0).abs() < 1e-9, "{}", rates.rate());
    }
}
