//! One batch into PostgreSQL, one transaction: binary COPY of what is new into its table, and of the rest into staging tables, from each of which one
//! statement moves it.

use super::copy::{Instant, Rows};
use super::{Fault, Session, Statements, ledger, raw, read};
use crate::history::statement::Statement;
use crate::history::{Batch, Change, FENCED, anomaly, calibration, incident, outbox, row, track};
use crate::instant;
use crate::series::SeriesName;
use dataflows::{SeriesId, Time};
use postgres::types::ToSql;
use postgres::{CopyInWriter, Transaction};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;

/// Where COPY puts rows that may be there already: COPY itself knows no ON CONFLICT. Of the session alone, emptied by every commit, never logged to disk.
const STAGING: &str = "
    CREATE TEMP TABLE IF NOT EXISTS staged_buckets (LIKE buckets) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS staged_anomalies (LIKE anomalies) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS staged_server_metrics (LIKE server_metrics) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS staged_application_metrics (LIKE application_metrics) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS staged_dead_letters (LIKE dead_letters) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS staged_series (LIKE series) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS staged_tracks (LIKE tracks) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS staged_calibration (LIKE calibration) ON COMMIT DELETE ROWS;";

/// Far beyond what a statement of a commit takes. What is deleted is looked for by its key: the index of buckets by time would do, it says, where ANALYZE came
/// in the middle of a first backfill, and reads all of them for each.
const LIMITS: &str = "SET LOCAL statement_timeout = '60s'; SET LOCAL enable_bitmapscan = off";

/// A transaction and the statements of its connection.
pub(super) struct Commit<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) statements: &'a mut Statements,
}

/// What hands rows to a COPY, once or, where that failed, twice.
type SendRows<'a> = &'a dyn Fn(CopyInWriter<'_>) -> Result<(), Fault>;

/// Applies a batch. A transaction that is dropped on the way is rolled back.
pub(super) fn commit(session: &mut Session, batch: &Batch, writer: Option<&str>) -> Result<(), Fault> {
    if !session.staged {
        session.client.batch_execute(STAGING)?;
        session.staged = true;
    }
    let mut commit = Commit { transaction: session.client.transaction()?, statements: &mut session.statements };
    if let Some(writer) = writer {
        // A process that freezes in the middle of a COPY is waited for by its statement, which no limit on idleness ends.
        commit.transaction.batch_execute(LIMITS)?;
        // Locked until the end of the transaction: whoever claims the source meanwhile waits for this commit, and then reads what it wrote.
        let select = commit.statements.get(&mut commit.transaction, "SELECT writer FROM sources WHERE source = $1 FOR UPDATE")?;
        let holder: String = commit.transaction.query_one(&select, &[&row::text(&batch.source)])?.try_get(0)?;
        if holder != writer {
            return Err(FENCED.to_string().into());
        }
    }
    write_series(&mut commit, batch)?;
    write_anomalies(&mut commit, batch)?;
    write_buckets(&mut commit, batch)?;
    let statements: Vec<Statement> = anomaly::sweep(batch)
        .into_iter()
        .chain(incident::statements(batch))
        .chain(calibration::sweep(batch))
        .chain(outbox::statements(batch))
        .collect();
    execute(&mut commit, &statements)?;
    write_tracks(&mut commit, batch)?;
    write_calibration(&mut commit, batch)?;
    raw::write(&mut commit, &batch.raw)?;
    write_dead_letters(&mut commit, batch)?;
    ledger::write(&mut commit, batch)?;
    write_progress(&mut commit, batch)?;
    Ok(commit.transaction.commit()?)
}

/// Runs statements that both stores understand in a transaction of their own; the number of rows that the last one touched.
pub(super) fn execute_alone(session: &mut Session, statements: &[Statement]) -> Result<u64, Fault> {
    let mut commit = Commit { transaction: session.client.transaction()?, statements: &mut session.statements };
    let touched = execute(&mut commit, statements)?;
    commit.transaction.commit()?;
    Ok(touched)
}

fn execute(commit: &mut Commit<'_>, statements: &[Statement]) -> Result<u64, Fault> {
    let mut touched = 0;
    for statement in statements {
        let prepared = commit.statements.get(&mut commit.transaction, statement.sql)?;
        let parameters: Vec<&(dyn ToSql + Sync)> = statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        touched = commit.transaction.execute(&prepared, &parameters)?;
    }
    Ok(touched)
}

/// Makes `writer` the only one whose commits are taken.
pub(super) fn claim(session: &mut Session, source: &str, bucket_width: Time, writer: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO sources (source, bucket_width, writer) VALUES ($1, $2, $3) ON CONFLICT (source) DO UPDATE SET writer = excluded.writer";
    session.client.execute(sql, &[&row::text(source), &bucket_width, &writer])?;
    let known = session.client.query_one("SELECT bucket_width FROM sources WHERE source = $1", &[&row::text(source)])?.try_get(0)?;
    row::check_width(known, bucket_width).map_err(Fault::Data)
}

/// The mark of the process whose commits are taken.
pub(super) fn holder(session: &mut Session, source: &str) -> Result<String, Fault> {
    Ok(session.client.query_one("SELECT writer FROM sources WHERE source = $1", &[&row::text(source)])?.try_get(0)?)
}

impl Commit<'_> {
    /// Runs one statement.
    pub(super) fn execute(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<(), Fault> {
        let statement = self.statements.get(&mut self.transaction, sql)?;
        self.transaction.execute(&statement, parameters)?;
        Ok(())
    }

    /// Copies rows straight into `table`. They are new, but where a commit is tried again of which nobody knows whether it came through, and in the first
    /// commits after a restart: only then, and where the table takes no COPY, they go by way of a staging table, which writes each of them twice.
    pub(super) fn insert(&mut self, table: &str, columns: &str, on_conflict: &str, send: SendRows<'_>) -> Result<(), Fault> {
        let copy = self.statements.get(&mut self.transaction, &format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)"))?;
        let mut savepoint = self.transaction.transaction()?;
        match savepoint.copy_in(&copy).map_err(Fault::from).and_then(send) {
            Ok(()) => Ok(savepoint.commit()?),
            Err(fault) if fault.is_refusal() => {
                savepoint.rollback()?;
                self.merge(table, columns, on_conflict, send)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Copies rows into the staging table of `table`, if there are any, then moves them over with what to do `ON CONFLICT`.
    fn upsert(&mut self, table: &str, columns: &str, rows: Rows, on_conflict: &str) -> Result<(), Fault> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows = rows.finish();
        self.merge(table, columns, on_conflict, &|writer| copy(&rows, writer))
    }

    fn merge(&mut self, table: &str, columns: &str, on_conflict: &str, send: SendRows<'_>) -> Result<(), Fault> {
        let copy = self.statements.get(&mut self.transaction, &format!("COPY staged_{table} ({columns}) FROM STDIN (FORMAT binary)"))?;
        send(self.transaction.copy_in(&copy)?)?;
        let insert = format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM staged_{table} ON CONFLICT {on_conflict}");
        let insert = self.statements.get(&mut self.transaction, &insert)?;
        self.transaction.execute(&insert, &[])?;
        Ok(())
    }
}

fn copy(rows: &[u8], mut writer: CopyInWriter<'_>) -> Result<(), Fault> {
    writer.write_all(rows)?;
    writer.finish()?;
    Ok(())
}

fn write_series(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    // The last of two rows of one series holds: ON CONFLICT does not touch a row twice.
    let series: BTreeMap<i64, _> = batch.series.iter().map(|series| (row::key(series.name.id()), series)).collect();
    let mut rows = Rows::new(7);
    for (key, series) in series {
        rows.row();
        rows.integer(key);
        rows.text(&series.name.entity_type);
        rows.text(&series.name.entity_id);
        rows.text(&series.name.metric);
        rows.json(&row::labels_to_json(&series.labels));
        rows.text(&batch.source);
        rows.text(&series.partition);
    }
    let columns = "series_id, entity_type, entity_id, metric, labels, source, partition";
    let on_conflict = "(series_id) DO UPDATE SET labels = excluded.labels, source = excluded.source, partition = excluded.partition";
    commit.upsert("series", columns, rows, on_conflict)
}

fn write_buckets(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    let (mut fresh, mut revised) = (Rows::new(11), Rows::new(11));
    let mut gone = <(Vec<_>, Vec<_>)>::default();
    // Sorted by series, as the index is: PostgreSQL 15 without fsync takes 230,000 rows a second then, and 130,000 in the order of time.
    let mut changes: Vec<&Change> = batch.changes.iter().collect();
    changes.sort_by_cached_key(|change| change.latest().map(|verdict| row::key(verdict.bucket.series())));
    for change in changes {
        let Some(verdict) = change.new else {
            gone.extend(change.old.as_deref().map(row::place_of).map(|(start, series)| (series, Instant(start))));
            continue;
        };
        let (start, series) = row::place_of(&verdict);
        let rows = if change.old.is_none() { &mut fresh } else { &mut revised };
        rows.row();
        rows.integer(series);
        rows.time(start);
        rows.integer(row::count(&verdict));
        row::numbers(&verdict).into_iter().for_each(|number| rows.number(number));
        rows.text(verdict.state.as_str());
    }
    if !gone.0.is_empty() {
        let sql = "DELETE FROM buckets USING unnest($1::bigint[], $2::timestamptz[]) AS gone (series, start)
                   WHERE series_id = series AND bucket_start = start";
        let delete = commit.statements.get(&mut commit.transaction, sql)?;
        commit.transaction.execute(&delete, &[&gone.0, &gone.1])?;
    }
    // Every column is set even where nothing changed: `IS DISTINCT FROM` takes -0 for 0, and rows are to come back bit for bit.
    let on_conflict = "(series_id, bucket_start) DO UPDATE SET count = excluded.count, mean = excluded.mean, min = excluded.min,
        max = excluded.max, stddev = excluded.stddev, expected = excluded.expected, sigma = excluded.sigma,
        z_score = excluded.z_score, state = excluded.state";
    if !fresh.is_empty() {
        let fresh = fresh.finish();
        commit.insert("buckets", row::COLUMNS, on_conflict, &|writer| copy(&fresh, writer))?;
    }
    commit.upsert("buckets", row::COLUMNS, revised, on_conflict)
}

fn write_tracks(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    let mut rows = Rows::new(3);
    for (series, state) in &batch.tracks {
        rows.row();
        rows.integer(row::key(*series));
        rows.time(state.last_start);
        rows.text(&track::document(state));
    }
    commit.upsert("tracks", track::COLUMNS, rows, track::ON_CONFLICT)
}

fn write_calibration(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    let mut rows = Rows::new(15);
    for ((_, series), watch) in &batch.calibration {
        rows.row();
        calibration::values(*series, watch).iter().for_each(|value| rows.value(value));
    }
    commit.upsert("calibration", calibration::COLUMNS, rows, calibration::ON_CONFLICT)
}

/// The stored anomalies of the batch's buckets.
fn stored_anomalies(commit: &mut Commit<'_>, batch: &Batch) -> Result<HashMap<(SeriesId, Time), anomaly::Row>, Fault> {
    let sql = format!("SELECT {} FROM anomalies WHERE timestamp = ANY($1)", read::ANOMALY);
    let select = commit.statements.get(&mut commit.transaction, &sql)?;
    let starts: Vec<Instant> = anomaly::starts(batch).into_iter().map(Instant).collect();
    let rows = commit.transaction.query(&select, &[&starts])?;
    rows.iter().map(|columns| read::anomaly_row(columns).map(|row| ((row.series, row.start), row))).collect()
}

fn write_anomalies(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    if batch.changes.is_empty() && batch.provisionals.is_empty() && batch.provisionals_withdrawn.is_empty() {
        return Ok(());
    }
    let changes = anomaly::changes(batch, &stored_anomalies(commit, batch)?);
    if changes.is_empty() {
        return Ok(());
    }
    let keys: Vec<i64> = changes.iter().map(|anomaly| row::key(anomaly.series)).collect();
    let names = names(commit, &keys)?;
    let known_at = instant::now();
    let mut rows = Rows::new(11);
    for anomaly in changes {
        let key = row::key(anomaly.series);
        let name = names.get(&key).ok_or_else(|| format!("table series: an anomaly's series {key} is not there"))?;
        rows.row();
        rows.integer(key);
        rows.time(anomaly.start);
        rows.text(&name.entity_id);
        rows.text(&name.entity_type);
        rows.text(&anomaly.severity);
        rows.number(Some(anomaly.anomaly_score()));
        rows.json(&anomaly.details(&name.metric));
        rows.text(anomaly.status());
        rows.text_or_null(anomaly.withdrawn_reason());
        rows.integer(anomaly.revision);
        rows.time(known_at);
    }
    let columns = "series_id, timestamp, entity_id, entity_type, severity, anomaly_score, details, status, withdrawn_reason, revision,
        known_at";
    let on_conflict = "(timestamp, series_id) DO UPDATE SET severity = excluded.severity, anomaly_score = excluded.anomaly_score,
        details = excluded.details, status = excluded.status, withdrawn_reason = excluded.withdrawn_reason,
        revision = excluded.revision, revised_at = excluded.known_at";
    commit.upsert("anomalies", columns, rows, on_conflict)
}

fn names(commit: &mut Commit<'_>, keys: &[i64]) -> Result<HashMap<i64, SeriesName>, Fault> {
    let sql = "SELECT series_id, entity_type, entity_id, metric FROM series WHERE series_id = ANY($1)";
    let select = commit.statements.get(&mut commit.transaction, sql)?;
    let rows = commit.transaction.query(&select, &[&keys])?;
    let named = |columns: &postgres::Row| -> Result<(i64, SeriesName), Fault> {
        let (entity_type, entity_id, metric) = (columns.try_get(1)?, columns.try_get(2)?, columns.try_get(3)?);
        Ok((columns.try_get(0)?, SeriesName { entity_type, entity_id, metric }))
    };
    rows.iter().map(named).collect()
}

fn write_dead_letters(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    let known_at = instant::now();
    let mut rows = Rows::new(7);
    for letter in &batch.dead_letters {
        rows.row();
        rows.text(&batch.source);
        rows.text(&letter.partition);
        rows.integer(letter.offset);
        rows.text(&letter.reason);
        rows.text(&letter.detail);
        rows.field(&letter.bytes);
        rows.time(known_at);
    }
    let columns = "source, partition, record_offset, reason, detail, bytes, known_at";
    commit.upsert("dead_letters", columns, rows, "DO NOTHING")
}

fn write_progress(commit: &mut Commit<'_>, batch: &Batch) -> Result<(), Fault> {
    let sql = "INSERT INTO sources (source, bucket_width, horizon) VALUES ($1, $2, $3) ON CONFLICT (source) DO UPDATE SET
        bucket_width = excluded.bucket_width, horizon = coalesce(excluded.horizon, sources.horizon)";
    let source = row::text(&batch.source);
    let upsert = commit.statements.get(&mut commit.transaction, sql)?;
    commit.transaction.execute(&upsert, &[&source, &batch.bucket_width, &batch.horizon.map(Instant)])?;
    let sql = "INSERT INTO progress (source, partition, next_offset, replay_offset, replay_time, beginning) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (source, partition) DO UPDATE SET
            next_offset = excluded.next_offset, replay_offset = excluded.replay_offset, replay_time = excluded.replay_time,
            beginning = excluded.beginning";
    let upsert = commit.statements.get(&mut commit.transaction, sql)?;
    for progress in &batch.progress {
        let (partition, replay_time) = (row::text(&progress.partition), Instant(progress.replay_time));
        let (next, replay) = (progress.next_offset, progress.replay_offset);
        commit.transaction.execute(&upsert, &[&source, &partition, &next, &replay, &replay_time, &progress.beginning])?;
    }
    Ok(())
}
