//! The ledger in PostgreSQL: a few rows a commit, sent as arrays.

use super::copy::Instant;
use super::read::query;
use super::write::Commit;
use super::{Fault, Session};
use crate::history::{Batch, DeadLetter, LetterFilter, Outcome, Stay, StoredLetter, row};
use dataflows::{EntityId, MetricId};
use postgres::types::ToSql;
use std::collections::{BTreeMap, BTreeSet};

/// Writes what a batch adds, and lets go of what no restart will read again.
pub(super) fn write(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    let source = row::text(&batch.source);
    write_stays(commit, batch)?;
    // The last of two with one key holds: ON CONFLICT does not touch a row twice.
    let outcomes: BTreeMap<_, _> =
        batch.ledger.outcomes.iter().map(|one| ((&one.partition, &one.outcome), one.records.cast_signed())).collect();
    if !outcomes.is_empty() {
        let (keys, records): (Vec<_>, Vec<i64>) = outcomes.into_iter().unzip();
        let (partitions, names): (Vec<_>, Vec<_>) =
            keys.into_iter().map(|(partition, name)| (row::text(partition), row::text(name))).unzip();
        let sql = "INSERT INTO outcomes (source, partition, outcome, records)
            SELECT $1, partition, outcome, records FROM unnest($2::text[], $3::text[], $4::bigint[]) AS said (partition, outcome, records)
            ON CONFLICT (source, partition, outcome) DO UPDATE SET records = excluded.records";
        commit.execute(sql, &[&source, &partitions, &names, &records])?;
    }
    if !batch.ledger.refusals.is_empty() {
        let (partitions, offsets): (Vec<_>, Vec<i64>) =
            batch.ledger.refusals.iter().map(|(partition, offset)| (row::text(partition), *offset)).unzip();
        let sql = "INSERT INTO refusals (source, partition, record_offset)
            SELECT $1, partition, record_offset FROM unnest($2::text[], $3::bigint[]) AS said (partition, record_offset) ON CONFLICT DO NOTHING";
        commit.execute(sql, &[&source, &partitions, &offsets])?;
    }
    for progress in &batch.progress {
        let (partition, replay_offset) = (row::text(&progress.partition), progress.replay_offset);
        let parameters: [&(dyn ToSql + Sync); 3] = [&source, &partition, &replay_offset];
        commit.execute("DELETE FROM census WHERE source = $1 AND partition = $2 AND until_offset <= $3", &parameters)?;
        commit.execute("DELETE FROM refusals WHERE source = $1 AND partition = $2 AND record_offset < $3", &parameters)?;
    }
    Ok(())
}

fn write_stays(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    if batch.ledger.stays.is_empty() {
        return Ok(());
    }
    let key = |stay: &Stay| (stay.partition.clone(), stay.entity, stay.metric, stay.since);
    let stays: BTreeMap<_, &Stay> = batch.ledger.stays.iter().map(|stay| (key(stay), stay)).collect();
    let (mut partitions, mut entities, mut metrics) = (Vec::new(), Vec::new(), Vec::new());
    let (mut since, mut until, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for stay in stays.values() {
        partitions.push(row::text(&stay.partition));
        entities.push(stay.entity.0.cast_signed());
        metrics.push(i64::from(stay.metric.0));
        since.push(stay.since);
        until.push(stay.until);
        last.push(Instant(stay.last));
    }
    let sql = "INSERT INTO census (source, partition, entity, metric, since_offset, until_offset, last_heard)
        SELECT $1, said.* FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[]) AS said
        ON CONFLICT (source, partition, entity, metric, since_offset) DO UPDATE SET
            until_offset = excluded.until_offset, last_heard = excluded.last_heard";
    commit.execute(sql, &[&row::text(&batch.source), &partitions, &entities, &metrics, &since, &until, &last])
}

pub(super) fn stays(session: &mut Session, source: &str) -> Result<Vec<Stay>, Fault> {
    let sql = r#"SELECT partition, entity, metric, since_offset, until_offset, last_heard FROM census WHERE source = $1
        ORDER BY partition COLLATE "C", entity, metric, since_offset"#;
    let mut stays = Vec::new();
    for columns in query(session, sql, &[&source])? {
        let metric = u32::try_from(columns.try_get::<_, i64>(2)?).map_err(|_| "table census: a metric has 32 bits".to_string())?;
        stays.push(Stay {
            partition: columns.try_get(0)?,
            entity: EntityId(columns.try_get::<_, i64>(1)?.cast_unsigned()),
            metric: MetricId(metric),
            since: columns.try_get(3)?,
            until: columns.try_get(4)?,
            last: columns.try_get::<_, Instant>(5)?.0,
        });
    }
    Ok(stays)
}

pub(super) fn outcomes(session: &mut Session, source: &str) -> Result<Vec<Outcome>, Fault> {
    let sql = r#"SELECT partition, outcome, records FROM outcomes WHERE source = $1 ORDER BY partition COLLATE "C", outcome COLLATE "C""#;
    let rows = query(session, sql, &[&source])?;
    let outcome = |columns: &postgres::Row| -> Result<Outcome, Fault> {
        let records = columns.try_get::<_, i64>(2)?.cast_unsigned();
        Ok(Outcome { partition: columns.try_get(0)?, outcome: columns.try_get(1)?, records })
    };
    rows.iter().map(outcome).collect()
}

pub(super) fn refused(session: &mut Session, source: &str) -> Result<BTreeMap<String, BTreeSet<i64>>, Fault> {
    let mut refused: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for columns in query(session, "SELECT partition, record_offset FROM refusals WHERE source = $1", &[&source])? {
        refused.entry(columns.try_get(0)?).or_default().insert(columns.try_get(1)?);
    }
    Ok(refused)
}

pub(super) fn counts(session: &mut Session) -> Result<BTreeMap<String, u64>, Fault> {
    let rows = query(session, "SELECT outcome, sum(records)::bigint FROM outcomes GROUP BY outcome", &[])?;
    let counted = |columns: &postgres::Row| Ok((columns.try_get(0)?, columns.try_get::<_, i64>(1)?.cast_unsigned()));
    rows.iter().map(counted).collect()
}

pub(super) fn letters(session: &mut Session, filter: &LetterFilter) -> Result<Vec<StoredLetter>, Fault> {
    let sql = r#"SELECT source, partition, record_offset, reason, detail, bytes, known_at FROM dead_letters
        WHERE known_at >= $1 AND known_at < $2 AND ($3::text IS NULL OR reason = $3)
        ORDER BY known_at DESC, source COLLATE "C", partition COLLATE "C", record_offset DESC LIMIT $4"#;
    let parameters: [&(dyn ToSql + Sync); 4] =
        [&Instant(filter.from), &Instant(filter.until), &filter.reason.as_deref().map(row::text), &i64::from(filter.limit)];
    let mut letters = Vec::new();
    for columns in query(session, sql, &parameters)? {
        let (partition, offset) = (columns.try_get(1)?, columns.try_get(2)?);
        let letter = DeadLetter { partition, offset, reason: columns.try_get(3)?, detail: columns.try_get(4)?, bytes: columns.try_get(5)? };
        letters.push(StoredLetter { source: columns.try_get(0)?, letter, known_at: columns.try_get::<_, Instant>(6)?.0 });
    }
    Ok(letters)
}
