//! What Prometheus scrapes, in its text format: a few lines, whose labels are words of ours alone.

use super::Site;
use super::pulse::Beat;
use crate::instant;
use crate::run::{BOUNDS, Part, Statistics};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `GET /metrics`.
pub async fn metrics(State(site): State<Arc<Site>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text(&site)).into_response()
}

/// One family: its name, kind and meaning, then a line per value.
fn family(out: &mut String, (name, kind, help): (&str, &str, &str), values: &[(String, f64)]) {
    let _ = writeln!(out, "# HELP tidewatch_{name} {help}\n# TYPE tidewatch_{name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(out, "tidewatch_{name}{labels} {value}");
    }
}

/// One label.
fn by(name: &str, word: &str) -> String {
    format!("{{{name}=\"{word}\"}}")
}

#[allow(clippy::cast_precision_loss)] // Prometheus knows nothing but doubles
fn verdicts(statistics: &Statistics) -> Vec<(String, f64)> {
    let states = [
        ("normal", &statistics.normal),
        ("anomalous", &statistics.anomalies),
        ("accompanying", &statistics.accompanying),
        ("missing", &statistics.missing),
        ("silenced", &statistics.silenced),
        ("unscored", &statistics.unscored),
    ];
    states.into_iter().map(|(state, counter)| (by("state", state), counter.get() as f64)).collect()
}

/// A histogram is three families in one.
fn commits(out: &mut String, statistics: &Statistics) {
    let _ = writeln!(out, "# HELP tidewatch_commit_seconds How long the transactions took.\n# TYPE tidewatch_commit_seconds histogram");
    let counts = statistics.commit_seconds.cumulative();
    let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".into()]);
    for (bound, count) in bounds.zip(counts) {
        let _ = writeln!(out, "tidewatch_commit_seconds_bucket{} {count}", by("le", &bound));
    }
    let (sum, count) = (statistics.commit_seconds.seconds(), counts[BOUNDS.len()]);
    let _ = writeln!(out, "tidewatch_commit_seconds_sum {sum}\ntidewatch_commit_seconds_count {count}");
}

#[allow(clippy::cast_precision_loss)] // Prometheus knows nothing but doubles
fn text(site: &Site) -> String {
    let statistics = &site.statistics;
    let mut out = String::new();
    let seconds = |since| (instant::now() - since) as f64 / 1000.0;
    let alone = |value: f64| vec![(String::new(), value)];
    let some = |value: Option<f64>| value.map(alone).unwrap_or_default();
    let refused = statistics.refused();
    family(&mut out, ("records_total", "counter", "Records read."), &alone(statistics.records.get() as f64));
    let reasons: Vec<_> = refused.iter().map(|(reason, count)| (by("reason", reason), *count as f64)).collect();
    family(&mut out, ("dead_letters_total", "counter", "Records refused, by reason: too_late, future and what was no event."), &reasons);
    family(&mut out, ("verdicts_total", "counter", "Verdicts committed, by state."), &verdicts(statistics));
    let retracted = [("verdict", &statistics.revisions), ("anomaly", &statistics.withdrawn)];
    let retracted: Vec<_> = retracted.into_iter().map(|(what, counter)| (by("what", what), counter.get() as f64)).collect();
    family(
        &mut out,
        ("retractions_total", "counter", "Verdicts that gave way to another one, and anomalies that ceased to be one."),
        &retracted,
    );
    family(
        &mut out,
        ("behind_total", "counter", "Events left out because their partition had been idle for longer than the lateness."),
        &alone(statistics.behind.get() as f64),
    );
    commits(&mut out, statistics);
    let lag = statistics.horizon().map(seconds);
    family(
        &mut out,
        ("watermark_lag_seconds", "gauge", "Wall clock less the common watermark; negative where a simulated clock is ahead."),
        &some(lag),
    );
    let age = statistics.trained().1.map(|ends| ends.1).map(|until| (site.now() - until) as f64 / 1000.0);
    family(&mut out, ("model_age_seconds", "gauge", "Event time since the training of the newest model ended."), &some(age));
    family(
        &mut out,
        ("model_generation", "gauge", "The generation of the models in use."),
        &alone(statistics.generation.load(Ordering::Relaxed) as f64),
    );
    family(
        &mut out,
        ("drifting_series", "gauge", "Series whose deviations have become larger than their models promised."),
        &alone(statistics.drifting.load(Ordering::Relaxed) as f64),
    );
    let away = statistics.health.away();
    let parts: Vec<_> = Part::ALL
        .into_iter()
        .map(|part| (by("part", part.as_str()), if away.iter().any(|absence| absence.what == part) { 0.0 } else { 1.0 }))
        .collect();
    family(&mut out, ("up", "gauge", "Whether a part can be reached."), &parts);
    let ready = Beat::of(statistics, &site.rates).ready;
    family(
        &mut out,
        ("ready", "gauge", "Whether the run watches and nothing that it needs is away, as /readyz says."),
        &alone(f64::from(u8::from(ready))),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Outcome;
    use crate::serve::tests::site;

    #[test]
    fn every_line_is_one_that_prometheus_reads() {
        let site = site(true, None);
        site.statistics.records.add(3);
        site.statistics.note(&Outcome { partition: "p".into(), outcome: "too_late".into(), records: 2 }, 2);
        site.statistics.commit_seconds.add(std::time::Duration::from_millis(20));
        site.statistics.health.note(Part::Models, 0, Some("refused"));
        let text = text(&site);
        for line in [
            "tidewatch_records_total 3",
            "tidewatch_dead_letters_total{reason=\"too_late\"} 2",
            "tidewatch_commit_seconds_bucket{le=\"0.01\"} 0",
            "tidewatch_commit_seconds_bucket{le=\"0.025\"} 1",
            "tidewatch_commit_seconds_bucket{le=\"+Inf\"} 1",
            "tidewatch_commit_seconds_sum 0.02",
            "tidewatch_up{part=\"models\"} 0",
            "tidewatch_ready 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.starts_with("tidewatch_"), "{line}");
            let family = name.split('{').next().unwrap();
            let family = ["_sum", "_count", "_bucket"].iter().find_map(|part| family.strip_suffix(part)).unwrap_or(family);
            assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
        }
    }
}
