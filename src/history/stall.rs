//! What the outbox says of a source whose watermark stands still. It is no incident: it follows from the clock, and no digest knows of it.

use super::outbox::Subscription;
use super::statement::{Statement, Value};
use super::{History, HistoryError};
use crate::instant;
use dataflows::{SeriesId, Time};
use std::sync::LazyLock;

/// The scope of such a row, where an incident has `entity`, `rack`, `zone` or `kind`.
pub const SOURCE: &str = "source";

const COLUMNS: &str = "source, receiver, change, incident_id, scope, entity_type, entity_id, zone, rack, opened, last, status,
    settled, severity, entities, peers, metrics, anomalous, missing, revision, created_at, state, attempts, next_try_at";

/// The revision of what is told: odd ones say that it stands, even ones that this is over. It is the last one, and so nothing new, where that is odd.
const NEXT: &str = "(SELECT coalesce(max(revision), 0) + (coalesce(max(revision), 0) + 1) % 2 FROM outbox
    WHERE source = $1 AND receiver = $2 AND incident_id = $3)";

static OPENED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO outbox ({COLUMNS})
        VALUES ($1, $2, 'opened', $3, 'source', 'source', $4, '', '', $5, $5, 'open',
            $6, 'critical', 1, 1, '[]', 0, 0, {NEXT}, $7, 'pending', 0, $7)
        ON CONFLICT DO NOTHING"
    )
});

/// Whoever was told that it stands still, or is about to be, but at one place.
static CLOSED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO outbox ({COLUMNS})
        SELECT source, receiver, 'closed', incident_id, scope, entity_type, entity_id, zone, rack, opened,
            CASE WHEN $5 THEN opened WHEN $3 < opened THEN $2 ELSE $3 END, 'closed',
            settled, severity, entities, peers, metrics, anomalous, missing, revision + 1, $2, 'pending', 0, $2
        FROM outbox AS told WHERE source = $1 AND scope = 'source' AND status = 'open' AND incident_id <> $4
        ON CONFLICT DO NOTHING"
    )
});

/// Tells all subscribers that the watermark of a source stands at `watermark`, unless they believe so already. `name` is the source as people know it.
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
    if subscriptions.is_empty() {
        return Ok(());
    }
    // It has moved from wherever it was before; a process that was killed may not have come to say so.
    let elsewhere = ended(source, End::Moved(watermark), id);
    let opened = subscriptions.iter().map(|one| Statement { sql: &OPENED, values: values(&one.receiver) });
    let statements: Vec<_> = std::iter::once(elsewhere).chain(opened).collect();
    history.execute(&statements).map(|_| ())
}

/// Why it is over that a watermark stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has come to this.
    Moved(Time),
    /// There is nothing more to come.
    Log,
}

/// Tells whoever heard that the watermark of a source stood still that this is over.
///
/// # Errors
/// A history that cannot be written.
pub fn tell_end(history: &mut dyn History, source: &str, end: End) -> Result<(), HistoryError> {
    // No place has this number.
    history.execute(&[ended(source, end, 0)]).map(|_| ())
}

/// What tells the end of all that was told of a source, but for what goes by the number `but`.
fn ended(source: &str, end: End, but: i64) -> Statement {
    let (watermark, is_log) = match end {
        End::Moved(watermark) => (watermark, false),
        End::Log => (Time::MIN, true),
    };
    let values = vec![source.into(), Value::time(instant::now()), Value::time(watermark), but.into(), is_log.into()];
    Statement { sql: &CLOSED, values }
}
