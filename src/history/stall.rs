//! What the outbox says of a source whose watermark stands still. It is no incident: it follows from the clock, and no digest knows of it.

use super::outbox::Subscription;
use super::statement::{Statement, Value};
use super::{History, HistoryError};
use crate::instant;
use dataflows::{SeriesId, Time};

/// The scope of such a row, where an incident has `entity`, `rack`, `zone` or `kind`.
pub const SOURCE: &str = "source";

const OPENED: &str =
    "INSERT INTO outbox (source, receiver, change, incident_id, scope, entity_type, entity_id, zone, rack, opened, last, status,
        settled, severity, entities, peers, metrics, anomalous, missing, revision, created_at, state, attempts, next_try_at)
    VALUES ($1, $2, 'opened', $3, 'source', 'source', $4, '', '', $5, $5, 'open', $6, 'critical', 1, 1, '[]', 0, 0, 1, $7, 'pending', 0, $7)
    ON CONFLICT DO NOTHING";

/// Whoever was told that it stands still, or is about to be.
const CLOSED: &str =
    "INSERT INTO outbox (source, receiver, change, incident_id, scope, entity_type, entity_id, zone, rack, opened, last, status,
        settled, severity, entities, peers, metrics, anomalous, missing, revision, created_at, state, attempts, next_try_at)
    SELECT source, receiver, 'closed', incident_id, scope, entity_type, entity_id, zone, rack, opened, $3, 'closed',
        settled, severity, entities, peers, metrics, anomalous, missing, 2, $2, 'pending', 0, $2
    FROM outbox AS told WHERE source = $1 AND scope = 'source' AND status = 'open'
    ON CONFLICT DO NOTHING";

/// Tells all subscribers that the watermark of a source stands at `watermark`, once for each place at which it stands. `name` is the source as people
/// know it.
///
/// # Errors
/// A history that cannot be written.
pub fn tell(
    history: &mut dyn History,
    (source, name): (&str, &str),
    watermark: Time,
    subscriptions: &[Subscription],
) -> Result<(), HistoryError> {
    let (id, now) = (SeriesId::named(SOURCE, source, &watermark.to_string()).0.cast_signed(), instant::now());
    // One that never was anywhere stands since now.
    let since = if watermark == Time::MIN { now } else { watermark };
    let values =
        |receiver: &str| vec![source.into(), receiver.into(), id.into(), name.into(), Value::time(since), true.into(), Value::time(now)];
    let opened: Vec<_> = subscriptions.iter().map(|one| Statement { sql: OPENED, values: values(&one.receiver) }).collect();
    if opened.is_empty() { Ok(()) } else { history.execute(&opened).map(|_| ()) }
}

/// Tells whoever heard that the watermark of a source stood still that it moves, and has come to `watermark`.
///
/// # Errors
/// A history that cannot be written.
pub fn tell_end(history: &mut dyn History, source: &str, watermark: Time) -> Result<(), HistoryError> {
    let values = vec![source.into(), Value::time(instant::now()), Value::time(watermark)];
    history.execute(&[Statement { sql: CLOSED, values }]).map(|_| ())
}
