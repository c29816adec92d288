//! What Prometheus scrapes, in its text format: a few lines, whose labels are words of ours alone.

use super::Site;
use crate::instant;
use crate::run::{Part, Stage};
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

#[allow(clippy::cast_precision_loss)] // Prometheus knows nothing but doubles
fn text(site: &Site) -> String {
    let statistics = &site.statistics;
    let mut out = String::new();
    let seconds = |since| (instant::now() - since) as f64 / 1000.0;
    let alone = |value: f64| vec![(String::new(), value)];
    let some = |value: Option<f64>| value.map(alone).unwrap_or_default();
    let refused = statistics.refused();
    let by = |name: &str, word: &str| format!("{{{name}=\"{word}\"}}");
    family(&mut out, ("records_total", "counter", "Records read."), &alone(statistics.records.get() as f64));
    let reasons: Vec<_> = refused.iter().map(|(reason, count)| (by("reason", reason), *count as f64)).collect();
    family(&mut out, ("dead_letters_total", "counter", "Records refused, by reason: too_late, future and what was no event."), &reasons);
    let states = [("anomalous", &statistics.anomalies), ("missing", &statistics.missing), ("unscored", &statistics.unscored)];
    let told: u64 = states.iter().map(|(_, counter)| counter.get()).sum();
    let mut verdicts: Vec<_> = states.iter().map(|(state, counter)| (by("state", state), counter.get() as f64)).collect();
    verdicts.push((by("state", "other"), statistics.verdicts.get().saturating_sub(told) as f64));
    family(&mut out, ("verdicts_total", "counter", "Verdicts committed, by state; other is normal, silenced or withdrawn."), &verdicts);
    family(
        &mut out,
        ("revisions_total", "counter", "Verdicts that took the place of an earlier one."),
        &alone(statistics.revisions.get() as f64),
    );
    family(
        &mut out,
        ("anomalies_withdrawn_total", "counter", "Anomalies that a revision took back."),
        &alone(statistics.withdrawn.get() as f64),
    );
    family(
        &mut out,
        ("behind_total", "counter", "Events left out because their partition had been idle for longer than the lateness."),
        &alone(statistics.behind.get() as f64),
    );
    let _ = writeln!(out, "# HELP tidewatch_commit_seconds How long commits took, waiting for a store that was away included.");
    let _ = writeln!(out, "# TYPE tidewatch_commit_seconds summary");
    let _ = writeln!(out, "tidewatch_commit_seconds_sum {}", statistics.commit_microseconds.get() as f64 / 1e6);
    let _ = writeln!(out, "tidewatch_commit_seconds_count {}", statistics.commits.get());
    let lag = statistics.horizon().map(seconds);
    family(
        &mut out,
        ("watermark_lag_seconds", "gauge", "Wall clock less the common watermark; negative where a simulated clock is ahead."),
        &some(lag),
    );
    let age = statistics.trained_until().map(|until| (site.now() - until) as f64 / 1000.0);
    family(&mut out, ("model_age_seconds", "gauge", "Event time since the training of the newest model ended."), &some(age));
    family(
        &mut out,
        ("model_generation", "gauge", "The generation of the models in use."),
        &alone(statistics.generation.load(Ordering::Relaxed) as f64),
    );
    let away = statistics.health.away();
    let parts: Vec<_> = [Part::Source, Part::History, Part::Models]
        .into_iter()
        .map(|part| (by("part", part.as_str()), if away.iter().any(|absence| absence.what == part) { 0.0 } else { 1.0 }))
        .collect();
    family(&mut out, ("up", "gauge", "Whether a part can be reached."), &parts);
    let ready = statistics.health.stage() == Stage::Watching && away.is_empty();
    family(
        &mut out,
        ("ready", "gauge", "Whether the run watches and nothing is away, as /readyz says."),
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
        site.statistics.health.note(Part::Models, 0, Some("refused"));
        let text = text(&site);
        for line in [
            "tidewatch_records_total 3",
            "tidewatch_dead_letters_total{reason=\"too_late\"} 2",
            "tidewatch_up{part=\"models\"} 0",
            "tidewatch_ready 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.starts_with("tidewatch_"), "{line}");
            let family = name.split('{').next().unwrap().trim_end_matches("_sum").trim_end_matches("_count");
            assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
        }
    }
}
