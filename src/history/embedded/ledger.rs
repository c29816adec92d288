//! The ledger in SQLite.

use super::Fault;
use crate::history::{Batch, DeadLetter, LetterFilter, Outcome, Stay, StoredLetter, row};
use dataflows::{EntityId, MetricId};
use rusqlite::{Connection, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};

/// Writes what a batch adds, and lets go of what no restart will read again.
pub(super) fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO census (source, partition, entity, metric, since_offset, until_offset, last_heard) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (source, partition, entity, metric, since_offset) DO UPDATE SET
            until_offset = excluded.until_offset, last_heard = excluded.last_heard",
    )?;
    for stay in &batch.ledger.stays {
        let (entity, metric) = (stay.entity.0.cast_signed(), stay.metric.0);
        upsert.execute(params![batch.source, stay.partition, entity, metric, stay.since, stay.until, stay.last])?;
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO outcomes (source, partition, outcome, records) VALUES (?, ?, ?, ?)
         ON CONFLICT (source, partition, outcome) DO UPDATE SET records = excluded.records",
    )?;
    for Outcome { partition, outcome, records } in &batch.ledger.outcomes {
        upsert.execute((&batch.source, partition, outcome, records.cast_signed()))?;
    }
    let mut insert =
        transaction.prepare_cached("INSERT INTO refusals (source, partition, record_offset) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?;
    for (partition, offset) in &batch.ledger.refusals {
        insert.execute((&batch.source, partition, offset))?;
    }
    let mut left = transaction.prepare_cached("DELETE FROM census WHERE source = ? AND partition = ? AND until_offset <= ?")?;
    let mut settled = transaction.prepare_cached("DELETE FROM refusals WHERE source = ? AND partition = ? AND record_offset < ?")?;
    for progress in &batch.progress {
        left.execute((&batch.source, &progress.partition, progress.replay_offset))?;
        settled.execute((&batch.source, &progress.partition, progress.replay_offset))?;
    }
    Ok(())
}

pub(super) fn stays(connection: &Connection, source: &str) -> Result<Vec<Stay>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT partition, entity, metric, since_offset, until_offset, last_heard FROM census WHERE source = ?
         ORDER BY partition, entity, metric, since_offset",
    )?;
    let rows = select.query_map([source], |columns| {
        let (entity, metric) = (EntityId(columns.get::<_, i64>(1)?.cast_unsigned()), MetricId(columns.get(2)?));
        Ok(Stay { partition: columns.get(0)?, entity, metric, since: columns.get(3)?, until: columns.get(4)?, last: columns.get(5)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn outcomes(connection: &Connection, source: &str) -> Result<Vec<Outcome>, Fault> {
    let mut select =
        connection.prepare_cached("SELECT partition, outcome, records FROM outcomes WHERE source = ? ORDER BY partition, outcome")?;
    let rows = select.query_map([source], |columns| {
        Ok(Outcome { partition: columns.get(0)?, outcome: columns.get(1)?, records: columns.get::<_, i64>(2)?.cast_unsigned() })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn refused(connection: &Connection, source: &str) -> Result<BTreeMap<String, BTreeSet<i64>>, Fault> {
    let mut select = connection.prepare_cached("SELECT partition, record_offset FROM refusals WHERE source = ?")?;
    let mut refused: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut rows = select.query([source])?;
    while let Some(columns) = rows.next()? {
        refused.entry(columns.get(0)?).or_default().insert(columns.get(1)?);
    }
    Ok(refused)
}

pub(super) fn counts(connection: &Connection) -> Result<BTreeMap<String, u64>, Fault> {
    let mut select = connection.prepare_cached("SELECT outcome, sum(records) FROM outcomes GROUP BY outcome")?;
    let rows = select.query_map([], |columns| Ok((columns.get(0)?, columns.get::<_, i64>(1)?.cast_unsigned())))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn letters(connection: &Connection, filter: &LetterFilter) -> Result<Vec<StoredLetter>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT source, partition, record_offset, reason, detail, bytes, known_at FROM dead_letters
         WHERE known_at >= ?1 AND known_at < ?2 AND (?3 IS NULL OR reason = ?3)
         ORDER BY known_at DESC, source, partition, record_offset DESC LIMIT ?4",
    )?;
    let rows = select.query_map(params![filter.from, filter.until, filter.reason.as_deref().map(row::text), filter.limit], |columns| {
        let (partition, offset) = (columns.get(1)?, columns.get(2)?);
        let letter = DeadLetter { partition, offset, reason: columns.get(3)?, detail: columns.get(4)?, bytes: columns.get(5)? };
        Ok(StoredLetter { source: columns.get(0)?, letter, known_at: columns.get(6)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
