//! What is sent: an incident as it was when it changed, and the change.

use dataflows::{Severity, Time};
use serde::{Serialize, Serializer};

/// What has become of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new to the receiver.
    Opened,
    /// It is worse than the receiver knows.
    Escalated,
    /// It hits more than the receiver knows: a rack instead of a host, half as many entities again, or another metric after a while.
    Spread,
    /// It is over.
    Closed,
    /// It was over and goes on.
    Reopened,
    /// It turned out to be none, or to be part of another.
    Withdrawn,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Opened, Self::Escalated, Self::Spread, Self::Closed, Self::Reopened, Self::Withdrawn];

    /// One word, as history stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Spread => "spread",
            Self::Closed => "closed",
            Self::Reopened => "reopened",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The change that a word names.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == word)
    }

    /// Whether the incident is none any more.
    pub fn ends(self) -> bool {
        matches!(self, Self::Closed | Self::Withdrawn)
    }
}

/// The bucket that was furthest from what was expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// Whose.
    pub entity_id: String,
    /// Of what.
    pub metric: String,
    /// When the bucket began.
    #[serde(serialize_with = "instant")]
    pub start: Time,
    /// Its mean.
    pub mean: f64,
    /// What was expected.
    pub expected: f64,
    /// How far that is, in sigmas.
    pub z_score: f64,
}

/// How far something went after its worst bucket, which mostly is the one that it began with: what goes on is less news from bucket to bucket.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Furthest {
    /// When the bucket began.
    #[serde(serialize_with = "instant")]
    pub start: Time,
    /// Its mean.
    pub mean: f64,
    /// What was expected.
    pub expected: f64,
}

/// A metric of the incident that the receiver had not been told of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Added {
    /// Which.
    pub metric: String,
    /// How bad its worst bucket is.
    pub severity: Severity,
    /// That bucket; `None` where all evidence is silence.
    pub peak: Option<Peak>,
}

/// Of the entities that an incident hit so many are named.
pub const HIT_MAX: usize = 20;

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// The same for every attempt to send it, and for nothing else that this receiver is sent.
    pub idempotency_key: String,
    /// What has become of the incident.
    pub change: Change,
    /// The number of the incident, sixteen hexadecimal digits.
    pub incident_id: String,
    /// How often it has changed.
    pub revision: i64,
    /// `open`, `closed` or `withdrawn`.
    pub status: String,
    /// How bad its worst bucket is.
    pub severity: Severity,
    /// `entity`, `rack`, `zone` or `kind`; `source` where it is no incident, but that the watermark stands still.
    pub scope: String,
    /// What kind of thing was hit: `server`.
    pub entity_type: String,
    /// The entity that was hit first; the only one where the scope is `entity`.
    pub entity_id: String,
    /// The rack of that entity; empty where it has none.
    pub rack: String,
    /// Its zone; empty where it has none.
    pub zone: String,
    /// Entities hit.
    pub entities: u32,
    /// The names of those entities, in order, and no more than [`HIT_MAX`].
    pub hit: Vec<String>,
    /// Entities there are in the rack, the zone or of the kind; 1 for an entity.
    pub peers: u32,
    /// The metrics that were hit.
    pub metrics: Vec<String>,
    /// Deviating buckets: anomalous ones, and those that accompany one.
    pub anomalous: u32,
    /// Missing buckets.
    pub missing: u32,
    /// The start of the first bucket of evidence.
    #[serde(serialize_with = "instant")]
    pub opened: Time,
    /// The start of the last bucket of evidence.
    #[serde(serialize_with = "instant")]
    pub last: Time,
    /// The end of that bucket.
    #[serde(serialize_with = "instant")]
    pub until: Time,
    /// `None` where all evidence is silence.
    pub peak: Option<Peak>,
    /// A later bucket of the same series that was still further, by a tenth or more and on the same side, from what was expected of it; `None` where none was.
    pub furthest: Option<Furthest>,
    /// Since when the mean had been the same in the worst bucket, where it had been for some while: a sensor that is stuck.
    #[serde(serialize_with = "some_instant")]
    pub unmoved_since: Option<Time>,
    /// The metric that is why this is sent, where one is.
    pub added: Option<Added>,
    /// Why it turned out to be none, where it did.
    pub withdrawn_reason: Option<String>,
    /// The number of the incident that it is part of, where it is none of its own any more for that.
    pub joined_id: Option<String>,
    /// When this was written down, by the wall clock.
    #[serde(serialize_with = "instant")]
    pub created_at: Time,
    /// Incidents that this receiver was not told of since the last message, for it had enough.
    pub held_back: u64,
    /// What is known of why nothing newer arrives from the source.
    pub problem: Option<String>,
    /// Whether its only entity sends nothing any more.
    pub silent: bool,
    /// Whether it is over for the only reason that the entity was silent for so long.
    pub forgotten: bool,
    /// Where a person can look at it.
    pub url: Option<String>,
    /// Whether it is a sample that somebody asked for, and nothing is wrong.
    pub test: bool,
}

fn instant<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::instant::format(*time))
}

#[allow(clippy::ref_option)] // as serde calls it
fn some_instant<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(crate::instant::format).serialize(serializer)
}

impl Alert {
    /// A sample: what a rack on fire would look like.
    pub fn sample(now: Time, page_url: Option<&str>) -> Self {
        let opened = now.div_euclid(300_000) * 300_000 - 900_000;
        let peak = Peak {
            entity_id: "srv-042".into(),
            metric: "cpu_usage_percent".into(),
            start: opened + 300_000,
            mean: 95.3,
            expected: 65.2,
            z_score: 4.2,
        };
        Self {
            idempotency_key: format!("test-{now}"),
            change: Change::Opened,
            incident_id: format!("{:016x}", now.cast_unsigned()),
            revision: 1,
            status: "open".into(),
            severity: Severity::High,
            scope: "rack".into(),
            entity_type: "server".into(),
            entity_id: "srv-042".into(),
            rack: "rack-B".into(),
            zone: "zone-2".into(),
            entities: 17,
            hit: (31..48).map(|number| format!("srv-{number:03}")).collect(),
            peers: 20,
            metrics: vec!["cpu_temperature_celsius".into(), "cpu_usage_percent".into()],
            anomalous: 48,
            missing: 0,
            opened,
            last: opened + 600_000,
            until: opened + 900_000,
            peak: Some(peak),
            furthest: None,
            unmoved_since: None,
            added: None,
            withdrawn_reason: None,
            joined_id: None,
            created_at: now,
            held_back: 0,
            problem: None,
            silent: false,
            forgotten: false,
            url: page_url.map(|page| format!("{}/", page.trim_end_matches('/'))),
            test: true,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What one host at five past three in the morning looks like.
    pub fn alert() -> Alert {
        let opened = 1_768_791_900_000; // 2026-01-19T03:05:00Z
        Alert {
            idempotency_key: "162ca1251f26ae7f-3-pager".into(),
            incident_id: "162ca1251f26ae7f".into(),
            revision: 3,
            scope: "entity".into(),
            entity_id: "srv-038".into(),
            entities: 1,
            hit: vec!["srv-038".into()],
            peers: 1,
            metrics: vec!["cpu_temperature_celsius".into(), "cpu_usage_percent".into()],
            anomalous: 3,
            opened,
            last: opened + 600_000,
            until: opened + 900_000,
            peak: Some(Peak {
                entity_id: "srv-038".into(),
                metric: "cpu_usage_percent".into(),
                start: opened,
                mean: 95.3,
                expected: 65.2,
                z_score: 4.2,
            }),
            created_at: opened + 930_000,
            url: Some("https://tidewatch.example.com/incidents/162ca1251f26ae7f".into()),
            test: false,
            ..Alert::sample(opened, None)
        }
    }

    #[test]
    fn a_change_survives_its_word() {
        for change in Change::ALL {
            assert_eq!(Change::named(change.as_str()), Some(change));
            assert_eq!(serde_json::to_value(change).unwrap(), change.as_str());
        }
        assert_eq!(Change::named("moved"), None);
    }
}
