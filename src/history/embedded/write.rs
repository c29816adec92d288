//! One batch into SQLite, in one transaction.

use super::{Fault, ledger, rows};
use crate::history::statement::{Statement, Value};
use crate::history::wide::{WIDES, label};
use crate::history::{Batch, FENCED, RawEntity, anomaly, calibration, incident, outbox, row, track};
use crate::instant;
use crate::series::SeriesName;
use dataflows::{SeriesId, Time};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Applies a batch. A transaction that is dropped on the way is rolled back.
pub(super) fn commit(connection: &mut Connection, batch: &Batch, writer: Option<&str>) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(writer) = writer {
        let select = "SELECT writer FROM sources WHERE source = ?";
        let holder: String = transaction.prepare_cached(select)?.query_row([&batch.source], |columns| columns.get(0))?;
        if holder != writer {
            return Err(FENCED.to_string().into());
        }
    }
    write_series(&transaction, batch)?;
    write_anomalies(&transaction, batch)?;
    write_buckets(&transaction, batch)?;
    let statements = anomaly::sweep(batch)
        .into_iter()
        .chain(incident::statements(batch))
        .chain(track::statements(batch))
        .chain(calibration::statements(batch))
        .chain(outbox::statements(batch));
    execute(&transaction, &statements.collect::<Vec<_>>())?;
    write_raw(&transaction, batch)?;
    write_dead_letters(&transaction, batch)?;
    ledger::write(&transaction, batch)?;
    write_progress(&transaction, batch)?;
    Ok(transaction.commit()?)
}

/// Runs statements that both stores understand; the number of rows that the last one touched.
pub(super) fn execute(connection: &Connection, statements: &[Statement]) -> Result<u64, Fault> {
    let mut touched = 0;
    for statement in statements {
        touched = connection.prepare_cached(&statement.sql.replace('$', "?"))?.execute(rusqlite::params_from_iter(&statement.values))?;
    }
    Ok(touched as u64)
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Integer(value) | Self::Time(value) => value.to_sql(),
            Self::Number(value) => value.to_sql(),
            Self::Text(value) => value.to_sql(),
            Self::Flag(value) => value.to_sql(),
        }
    }
}

/// Makes `writer` the only one whose commits are taken.
pub(super) fn claim(connection: &Connection, source: &str, bucket_width: Time, writer: &str) -> Result<(), Fault> {
    let sql =
        "INSERT INTO sources (source, bucket_width, writer) VALUES (?, ?, ?) ON CONFLICT (source) DO UPDATE SET writer = excluded.writer";
    connection.execute(sql, (source, bucket_width, writer))?;
    let known = connection.query_row("SELECT bucket_width FROM sources WHERE source = ?", [source], |columns| columns.get(0))?;
    row::check_width(known, bucket_width).map_err(Fault::Data)
}

fn write_series(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO series (series_id, entity_type, entity_id, metric, labels, source, partition) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (series_id) DO UPDATE SET labels = excluded.labels, source = excluded.source, partition = excluded.partition",
    )?;
    for series in &batch.series {
        upsert.execute(params![
            row::key(series.name.id()),
            row::text(&series.name.entity_type),
            row::text(&series.name.entity_id),
            row::text(&series.name.metric),
            row::labels_to_json(&series.labels),
            batch.source,
            series.partition,
        ])?;
    }
    Ok(())
}

fn write_buckets(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault> {
    let mut delete = transaction.prepare_cached("DELETE FROM buckets WHERE bucket_start = ? AND series_id = ?")?;
    for gone in batch.changes.iter().filter(|change| change.new.is_none()).filter_map(|change| change.old.as_deref()) {
        delete.execute(row::place_of(gone))?;
    }
    let sql = format!("INSERT OR REPLACE INTO buckets ({}) VALUES", row::COLUMNS);
    rows::insert(transaction, &sql, 11, batch.changes.iter().filter_map(|change| change.new.as_ref()), |row, verdict| {
        let (start, series) = row::place_of(verdict);
        row.bind(&series)?;
        row.bind(&start)?;
        row.bind(&row::count(verdict))?;
        row::numbers(verdict).iter().try_for_each(|number| row.bind(number))?;
        row.bind(&verdict.state.as_str())
    })
}

/// The stored anomalies that share a start with a bucket of the batch: few, and found by the first column of their key.
fn stored_anomalies(transaction: &Transaction<'_>, batch: &Batch) -> Result<HashMap<(SeriesId, Time), anomaly::Row>, Fault> {
    let mut select = transaction.prepare_cached(&format!("SELECT {} FROM anomalies WHERE timestamp = ?", super::read::ANOMALY))?;
    let mut stored = HashMap::new();
    for start in anomaly::starts(batch) {
        let mut rows = select.query([start])?;
        while let Some(columns) = rows.next()? {
            let row = super::read::anomaly_row(columns)?;
            stored.insert((row.series, row.start), row);
        }
    }
    Ok(stored)
}

fn write_anomalies(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault> {
    let changes = anomaly::changes(batch, &stored_anomalies(transaction, batch)?);
    let mut name_of = transaction.prepare_cached("SELECT entity_type, entity_id, metric FROM series WHERE series_id = ?")?;
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO anomalies (series_id, timestamp, entity_id, entity_type, severity, anomaly_score, details, status,
                                withdrawn_reason, revision, known_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (timestamp, series_id) DO UPDATE SET
            severity = excluded.severity, anomaly_score = excluded.anomaly_score, details = excluded.details,
            status = excluded.status, withdrawn_reason = excluded.withdrawn_reason, revision = excluded.revision,
            revised_at = excluded.known_at",
    )?;
    let known_at = instant::now();
    for anomaly in changes {
        let key = row::key(anomaly.series);
        let name = name_of.query_row([key], |columns| {
            Ok(SeriesName { entity_type: columns.get(0)?, entity_id: columns.get(1)?, metric: columns.get(2)? })
        })?;
        upsert.execute(params![
            key,
            anomaly.start,
            name.entity_id,
            name.entity_type,
            anomaly.severity,
            anomaly.anomaly_score(),
            anomaly.details(&name.metric),
            anomaly.status(),
            anomaly.withdrawn_reason(),
            anomaly.revision,
            known_at,
        ])?;
    }
    Ok(())
}

fn write_raw(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault> {
    for wide in &WIDES {
        let columns = wide.columns();
        let sql = format!("INSERT OR IGNORE INTO {} ({}) VALUES", wide.table, columns.join(", "));
        for raw in &batch.raw {
            let places = wide.places(raw);
            let mut labels: HashMap<*const RawEntity, String> = HashMap::new();
            rows::insert(transaction, &sql, columns.len(), wide.events(raw), |row, event| {
                row.bind(&event.time)?;
                row.bind(&row::text(&event.entity.entity_id))?;
                wide.labels.iter().try_for_each(|column| row.bind(&label(&event.entity.labels, column).map(row::text)))?;
                places[event.form].iter().try_for_each(|place| row.bind(&place.map(|place| raw.values[event.first + place])))?;
                let json = labels.entry(Arc::as_ptr(&event.entity)).or_insert_with(|| row::labels_to_json(&event.entity.labels));
                row.bind(json)?;
                row.bind(&raw.partition)?;
                row.bind(&event.offset)
            })?;
        }
    }
    Ok(())
}

fn write_dead_letters(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO dead_letters (source, partition, record_offset, reason, detail, bytes, known_at) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )?;
    let known_at = instant::now();
    for letter in &batch.dead_letters {
        let (reason, detail) = (row::text(&letter.reason), row::text(&letter.detail));
        insert.execute(params![batch.source, letter.partition, letter.offset, reason, detail, letter.bytes, known_at])?;
    }
    Ok(())
}

fn write_progress(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT INTO sources (source, bucket_width, horizon) VALUES (?, ?, ?) ON CONFLICT (source) DO UPDATE SET
                bucket_width = excluded.bucket_width, horizon = coalesce(excluded.horizon, horizon)",
        )?
        .execute((&batch.source, batch.bucket_width, batch.horizon))?;
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO progress (source, partition, next_offset, replay_offset, replay_time, beginning) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (source, partition) DO UPDATE SET
            next_offset = excluded.next_offset, replay_offset = excluded.replay_offset, replay_time = excluded.replay_time,
            beginning = excluded.beginning",
    )?;
    for progress in &batch.progress {
        let (next_offset, replay_offset, replay_time) = (progress.next_offset, progress.replay_offset, progress.replay_time);
        upsert.execute((&batch.source, &progress.partition, next_offset, replay_offset, replay_time, &progress.beginning))?;
    }
    Ok(())
}
