//! Who is told of incidents, of which ones, and what a row of the outbox says to them.

use crate::history::incident::{self, IncidentRow};
use crate::history::outbox::{OutboxRow, Subscription};
use crate::history::stall;
use crate::history::view::EpisodeRow;
use crate::history::{History, HistoryError};
use crate::instant;
use crate::notify::{Added, Alert, Change, Peak, Receiver};
use crate::series::SeriesName;
use dataflows::{Severity, Time};
use std::sync::Arc;
use std::time::Duration;

/// A receiver, and what it is to hear.
pub struct Recipient {
    /// The name that the configuration gives it.
    pub name: String,
    /// Where it is, to be shown.
    pub place: String,
    /// Incidents below this are not told.
    pub minimum: Severity,
    /// Changes in an hour; `None`: no limit.
    pub per_hour: Option<u32>,
    /// The way there.
    pub receiver: Box<dyn Receiver>,
}

/// What the time is, for those who ask whether an incident is news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Present {
    /// That of the wall clock: a log that is read for the first time is mostly past.
    #[default]
    WallClock,
    /// The horizon: a simulated clock has a present of its own.
    Horizon,
}

/// Opens another connection to the history of the run.
pub type OpenHistory = Arc<dyn Fn() -> Result<Box<dyn History>, HistoryError> + Send + Sync>;

/// Who is told of incidents.
#[derive(Default)]
pub struct Alerts {
    /// The receivers. A run takes them out.
    pub recipients: Vec<Recipient>,
    /// Their names, and the least severity that they hear of.
    pub told: Vec<(String, Severity)>,
    /// An incident whose last evidence is older than this is no news.
    pub age_max: Time,
    /// See [`Present`].
    pub present: Present,
    /// Where the page is, for people; without a slash at its end.
    pub page_url: Option<String>,
    /// For how long the watermark may stand still by the wall clock; `None`: for ever.
    pub stalled_after: Option<Duration>,
    /// The source, as people know it.
    pub source: String,
    /// Each receiver reads the outbox on its own; `None` where there are no receivers.
    pub open_history: Option<OpenHistory>,
}

impl Alerts {
    /// What is news to whom, where everything before `horizon` is closed.
    pub fn subscriptions(&self, horizon: Time) -> Vec<Subscription> {
        let present = match self.present {
            Present::WallClock => instant::now(),
            Present::Horizon => horizon,
        };
        let since = present.saturating_sub(self.age_max);
        self.told.iter().map(|(receiver, minimum)| Subscription { receiver: receiver.clone(), minimum: *minimum, since }).collect()
    }
}

/// What a row says of buckets of this width, to be sent.
pub fn alert(row: &OutboxRow, held_back: u64, page_url: Option<&str>, bucket_width: Time) -> Alert {
    let incident = &row.incident;
    let incident_id = format!("{:016x}", incident.id.0);
    let is_source = incident.scope == stall::SOURCE;
    let url = page_url.map(|page| if is_source { format!("{page}/") } else { format!("{page}/incidents/{incident_id}") });
    let IncidentRow { status, scope, entity_type, entity_id, rack, zone, metrics, .. } = incident.clone();
    let peak = incident.peak.clone().map(|(entity_id, metric, start, [mean, expected, z_score])| Peak {
        entity_id,
        metric,
        start,
        mean,
        expected,
        z_score,
    });
    Alert {
        idempotency_key: format!("{incident_id}-{}-{}", incident.revision, row.receiver),
        change: Change::named(&row.change).unwrap_or(Change::Opened),
        revision: incident.revision,
        status,
        severity: incident::severity(&incident.severity).unwrap_or(Severity::Low),
        scope,
        entity_type,
        entity_id,
        rack,
        zone,
        entities: incident.entities,
        peers: incident.peers,
        metrics,
        anomalous: incident.anomalous,
        missing: incident.missing,
        opened: incident.opened,
        last: incident.last,
        // What a watermark has come to is no bucket.
        until: if is_source { incident.last } else { incident.last + bucket_width },
        peak,
        furthest: None,
        unmoved_since: None,
        added: None,
        withdrawn_reason: incident.withdrawn_reason.clone(),
        joined_id: incident.joined.map(|joined| format!("{:016x}", joined.0)),
        created_at: incident.known_at,
        held_back,
        problem: None,
        silent: false,
        forgotten: false,
        hit: Vec::new(),
        incident_id,
        url,
        test: false,
    }
}

/// What an episode says of its metric.
pub fn added(episode: EpisodeRow) -> Added {
    let SeriesName { entity_id, metric, .. } = episode.name;
    let severity = incident::severity(&episode.severity).unwrap_or(Severity::Low);
    let peak = episode.peak.map(|(start, [mean, expected, _, z_score])| {
        let metric = metric.clone();
        Peak { entity_id, metric, start, mean, expected, z_score }
    });
    Added { metric, severity, peak }
}
