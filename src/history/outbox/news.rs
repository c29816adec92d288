//! What is news to whom: it follows from comparing an incident with the last row that a receiver has of it, so that the same batch twice, a restart and a
//! change that concerns nobody write nothing.

use super::SNAPSHOT;
use crate::history::statement::{Statement, Value};
use crate::history::{Batch, row};
use crate::instant;
use dataflows::{Episode, IncidentId, SeriesId, Severity, Stage, Time};
use std::sync::LazyLock;

/// Who is to be told, and of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The name of the receiver.
    pub receiver: String,
    /// Incidents below this are not told.
    pub minimum: Severity,
    /// Incidents whose last evidence is older than this are no news.
    pub since: Time,
}

/// A severity and a scope as numbers that SQL can compare.
const RANK: &str = "CASE $ WHEN 'critical' THEN 3 WHEN 'high' THEN 2 WHEN 'medium' THEN 1
    WHEN 'kind' THEN 3 WHEN 'zone' THEN 2 WHEN 'rack' THEN 1 ELSE 0 END";

fn rank_of(column: &str) -> String {
    RANK.replace('$', column)
}

/// A bucket of the incident's entity that has samples.
fn sent(when: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM buckets JOIN series ON series.series_id = buckets.series_id
            WHERE series.entity_id = incidents.entity_id AND series.entity_type = incidents.entity_type
                AND buckets.bucket_start {when} AND buckets.count > 0)"
    )
}

/// One incident, one receiver. An entity in trouble that falls silent altogether is worse off than it was, however bad that was, unless it was silent
/// when the receiver was told last. Of entities, half as many again are worth a word: a rack that falls over one by one is five messages, not twenty.
static TELL: LazyLock<String> = LazyLock::new(|| {
    let [severity, told_severity] = ["incidents.severity", "told.severity"].map(rank_of);
    let [scope, told_scope] = ["incidents.scope", "told.scope"].map(rank_of);
    format!(
        "INSERT INTO outbox (source, receiver, change, {SNAPSHOT}, created_at, state, attempts, next_try_at)
        SELECT source, $2, change, {SNAPSHOT}, $5, 'pending', 0, $5
        FROM (SELECT incidents.*, CASE
                WHEN told.outbox_id IS NULL THEN CASE WHEN incidents.status = 'open' THEN 'opened' END
                WHEN incidents.status = 'withdrawn' THEN CASE WHEN told.status <> 'withdrawn' THEN 'withdrawn' END
                WHEN incidents.status = 'closed' THEN CASE WHEN told.status = 'open' THEN 'closed' END
                WHEN told.status <> 'open' THEN 'reopened'
                WHEN {severity} > {told_severity} THEN 'escalated'
                WHEN incidents.scope = 'entity' AND incidents.missing > 0 AND NOT {} AND (told.missing = 0 OR {}) THEN 'escalated'
                WHEN {scope} > {told_scope} OR 2 * incidents.entities >= 3 * told.entities THEN 'spread'
              END AS change
              FROM incidents LEFT JOIN outbox AS told
                  ON told.outbox_id = (SELECT max(outbox_id) FROM outbox WHERE incident_id = $1 AND receiver = $2)
              WHERE incidents.incident_id = $1) AS news
        WHERE change IN ('closed', 'withdrawn') OR (change IS NOT NULL AND last >= $3 AND {} >= CAST($4 AS BIGINT))
        ON CONFLICT DO NOTHING",
        sent(">= incidents.last"),
        sent("= told.last"),
        rank_of("severity")
    )
});

/// A receiver that knows of an incident hears of another of its metrics that goes off so long after the last evidence it was told of, in milliseconds: half an
/// hour. What goes off sooner is of a piece with what was told.
pub const APART: Time = 30 * 60_000;

/// An episode of a metric that the receiver was not told of, in an incident that it was told of some time ago.
static TELL_OF_ANOTHER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO outbox (source, receiver, change, {SNAPSHOT}, created_at, state, attempts, next_try_at, added_series_id)
        SELECT source, $2, 'spread', {SNAPSHOT}, $3, 'pending', 0, $3, $4
        FROM (SELECT incidents.*
              FROM incidents JOIN series ON series.series_id = $4 JOIN outbox AS told
                  ON told.outbox_id = (SELECT max(outbox_id) FROM outbox WHERE incident_id = $1 AND receiver = $2)
              WHERE incidents.incident_id = $1 AND incidents.status = 'open' AND told.status = 'open' AND told.last <= $5
                  AND replace(told.metrics, '\"' || series.metric || '\"', '') = told.metrics) AS news
        WHERE source IS NOT NULL
        ON CONFLICT DO NOTHING"
    )
});

/// Whoever was told of an incident that is withdrawn now. Nobody else needs to know.
static TELL_WITHDRAWN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO outbox (source, receiver, change, {SNAPSHOT}, created_at, state, attempts, next_try_at)
        SELECT source, told_receiver, 'withdrawn', {SNAPSHOT}, $1, 'pending', 0, $1
        FROM (SELECT incidents.*, told.receiver AS told_receiver
              FROM incidents JOIN outbox AS told ON told.incident_id = incidents.incident_id
              WHERE incidents.status = 'withdrawn' AND told.status <> 'withdrawn'
                AND told.outbox_id = (SELECT max(outbox_id) FROM outbox AS latest
                                      WHERE latest.incident_id = told.incident_id AND latest.receiver = told.receiver)) AS news
        WHERE told_receiver IS NOT NULL
        ON CONFLICT DO NOTHING"
    )
});

fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
        Severity::Critical => 3,
    }
}

/// What a batch writes to the outbox: to be run after its incidents are written.
pub(in crate::history) fn statements(batch: &Batch) -> Vec<Statement> {
    let now = Value::time(instant::now());
    let changed = batch.incidents.iter().map(|named| named.incident.id).chain(batch.incidents_withdrawn.iter().map(|gone| gone.id));
    let tell = |id: IncidentId, subscription: &Subscription| {
        let Subscription { receiver, minimum, since } = subscription;
        let values = vec![id.0.cast_signed().into(), receiver.as_str().into(), Value::time(*since), rank(*minimum).into(), now.clone()];
        Statement { sql: &TELL, values }
    };
    let told = changed.flat_map(|id| batch.subscriptions.iter().map(move |to| (id, to))).map(|(id, to)| tell(id, to));
    // The worst first: of those that a batch brings at once one is told of.
    let mut begun: Vec<_> = batch.episodes.iter().filter(|(episode, _)| episode.stage == Stage::Open).collect();
    let loudness = |episode: &Episode| episode.peak.map_or(0.0, |peak| peak.score.z_score.0.abs());
    begun.sort_by(|(one, _), (other, _)| other.severity.cmp(&one.severity).then(loudness(other).total_cmp(&loudness(one))));
    let begun = begun.into_iter().flat_map(|(episode, id)| batch.subscriptions.iter().map(move |to| (episode, *id, to)));
    let another = begun.filter(|(episode, _, to)| episode.severity >= to.minimum && episode.last >= to.since);
    let another = another.map(|(episode, id, to)| {
        let series = row::key(SeriesId::of(episode.id.entity, episode.id.metric));
        let apart = Value::time(episode.id.opened.saturating_sub(APART));
        let values = vec![id.0.cast_signed().into(), to.receiver.as_str().into(), now.clone(), series.into(), apart];
        Statement { sql: &TELL_OF_ANOTHER, values }
    });
    // A receiver that hears that an incident is worse, or hits more, hears of all its metrics with that.
    told.chain(another).collect()
}

/// What tells of the incidents that a silence has just withdrawn.
pub(in crate::history) fn tell_withdrawn(now: &Value) -> Statement {
    Statement { sql: &TELL_WITHDRAWN, values: vec![now.clone()] }
}
