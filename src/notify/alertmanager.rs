//! Prometheus' Alertmanager, by version 2 of its interface: <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>.
//!
//! To it an alert is its labels. Where those change, because an incident is worse or reaches further, the old ones are ended along with the new ones'
//! beginning. What is open is said again and again, each time with a later end: should Tidewatch fall
//! silent, it is over by itself.

use super::address::Endpoint;
use super::http::Client;
use super::{Alert, Failure, Receiver, words};
use crate::instant;
use dataflows::Time;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What was not said again for so many times is over.
const LASTS: u32 = 5;

/// A sample is to be seen for a minute.
const SAMPLE: Time = 60_000;

/// An Alertmanager.
pub struct Alertmanager {
    client: Client,
    repeat: Duration,
}

impl Alertmanager {
    /// One that has heard nothing yet.
    pub fn new(endpoint: &Endpoint, repeat: Duration) -> Self {
        Self { client: Client::new(endpoint), repeat }
    }

    fn post(&self, alerts: &[Value]) -> Result<(), Failure> {
        self.client.post(&Value::from(alerts.to_vec()).to_string(), &[])
    }

    fn lasting(&self, now: Time) -> Time {
        now + Time::try_from((self.repeat * LASTS).as_millis()).unwrap_or(Time::MAX / 2)
    }
}

impl Receiver for Alertmanager {
    fn send(&mut self, alert: &Alert, before: Option<&Alert>) -> Result<(), Failure> {
        let now = instant::now();
        self.post(&changed(alert, before, now, self.lasting(now)))
    }

    fn repeats(&self) -> Option<Duration> {
        Some(self.repeat)
    }

    fn repeat(&mut self, open: &[Alert]) -> Result<(), Failure> {
        let now = instant::now();
        let ends_at = self.lasting(now);
        let alerts: Vec<Value> = open.iter().map(|alert| posted(alert, now, ends_at)).collect();
        if alerts.is_empty() { Ok(()) } else { self.post(&alerts) }
    }
}

/// An alert, until `lasting` where it has not ended; and, where it has other labels than `before`, the end of the one that had those.
fn changed(alert: &Alert, before: Option<&Alert>, now: Time, lasting: Time) -> Vec<Value> {
    let outdated = before.filter(|before| labels(before) != labels(alert)).map(|before| posted(before, now, now));
    let ends_at = match alert {
        _ if alert.change.ends() => now,
        _ if alert.test => now + SAMPLE,
        _ => lasting,
    };
    outdated.into_iter().chain([posted(alert, now, ends_at)]).collect()
}

/// What routes and inhibitions go by, and what tells alerts apart.
fn labels(alert: &Alert) -> Map<String, Value> {
    let labels = [
        ("alertname", if alert.test { "TidewatchTest" } else { "TidewatchIncident" }),
        ("incident_id", &alert.incident_id),
        ("severity", alert.severity.as_str()),
        ("scope", &alert.scope),
        ("entity_type", &alert.entity_type),
        ("entity_id", &alert.entity_id),
        ("rack", &alert.rack),
        ("zone", &alert.zone),
    ];
    labels.into_iter().filter(|label| !label.1.is_empty()).map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn posted(alert: &Alert, now: Time, ends_at: Time) -> Value {
    let facts: Vec<String> = words::facts(alert).into_iter().map(|(word, told)| format!("{word}: {told}")).collect();
    let mut annotations = json!({"summary": words::headline(alert), "description": facts.join("\n")});
    if let Some(command) = words::silence(alert) {
        annotations["silence"] = command.into();
    }
    // An alert that begins after its end is refused, and a simulated clock may be ahead.
    let starts_at = instant::format(alert.opened.min(now).min(ends_at));
    let mut posted =
        json!({"labels": labels(alert), "annotations": annotations, "startsAt": starts_at, "endsAt": instant::format(ends_at)});
    if let Some(url) = &alert.url {
        posted["generatorURL"] = url.as_str().into();
    }
    posted
}

#[cfg(test)]
mod tests {
    use super::super::alert::tests::alert;
    use super::*;
    use crate::notify::Change;
    use dataflows::Severity;

    #[test]
    fn an_alert_whose_labels_change_ends_where_the_new_one_begins() {
        let now = alert().created_at;
        let worse = Alert { severity: Severity::Critical, change: Change::Escalated, ..alert() };
        let told = |alert: &Alert, before: Option<&Alert>| -> Vec<(Value, Value)> {
            let alerts = changed(alert, before, now, now + 300_000);
            alerts.into_iter().map(|alert| (alert["labels"]["severity"].clone(), alert["endsAt"].clone())).collect()
        };
        let (over, lasting) = (json!("2026-01-19T03:20:30Z"), json!("2026-01-19T03:25:30Z"));
        assert_eq!(told(&worse, Some(&alert())), [(json!("high"), over.clone()), (json!("critical"), lasting.clone())]);
        assert_eq!(told(&alert(), Some(&alert())), [(json!("high"), lasting)]);
        assert_eq!(told(&Alert { change: Change::Closed, ..alert() }, Some(&alert())), [(json!("high"), over)]);
    }

    #[test]
    fn an_alert_has_labels_to_route_by_and_never_begins_after_its_end() {
        let mut alert = alert();
        alert.rack.clear();
        let now = alert.opened - 1000;
        let posted = posted(&alert, now, now + 60_000);
        let labels = json!({"alertname": "TidewatchIncident", "incident_id": "162ca1251f26ae7f", "severity": "high", "scope": "entity",
                            "entity_type": "server", "entity_id": "srv-038", "zone": "zone-2"});
        assert_eq!(posted["labels"], labels);
        assert_eq!((&posted["startsAt"], &posted["endsAt"]), (&json!("2026-01-19T03:04:59Z"), &json!("2026-01-19T03:05:59Z")));
        assert_eq!(posted["generatorURL"], "https://tidewatch.example.com/incidents/162ca1251f26ae7f");
        assert!(posted["annotations"]["summary"].as_str().unwrap().starts_with("HIGH: server srv-038"));
    }
}
