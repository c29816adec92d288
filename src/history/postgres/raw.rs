//! Raw events into PostgreSQL: copied straight into their tables, piece by piece, so that the server is busy while the next piece is encoded.

use super::Fault;
use super::copy::Rows;
use super::write::Commit;
use crate::history::wide::{WIDES, Wide, label, metric};
use crate::history::{RawEntity, RawEvent, row};
use postgres::CopyInWriter;
use postgres::error::SqlState;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

/// Encoded rows are sent when they are so many bytes: a buffer that stays in the processor's cache. A whole batch was 20 MB of fresh memory each time.
const PIECE_BYTES: usize = 65_536;

/// Writes the events of a batch that have a table.
pub(super) fn write(commit: &mut Commit<'_>, raw: &[RawEvent]) -> Result<(), Fault> {
    WIDES.iter().filter(|wide| wide.events(raw).next().is_some()).try_for_each(|wide| write_wide(commit, wide, raw))
}

/// Rows are new, but where a commit is tried again of which nobody knows whether it came through. Only then they go by way of a staging table, which writes
/// each of them twice.
fn write_wide(commit: &mut Commit<'_>, wide: &Wide, raw: &[RawEvent]) -> Result<(), Fault> {
    let (table, columns) = (wide.table, wide.columns().join(", "));
    let into = |table: &str| format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
    let copy = commit.statements.get(&mut commit.transaction, &into(table))?;
    let mut savepoint = commit.transaction.transaction()?;
    let outcome = savepoint.copy_in(&copy).map_err(Fault::from).and_then(|writer| send(wide, raw, writer));
    match outcome {
        Ok(()) => return Ok(savepoint.commit()?),
        Err(Fault::Client(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => savepoint.rollback()?,
        Err(fault) => return Err(fault),
    }
    let copy = commit.statements.get(&mut commit.transaction, &into(&format!("staged_{table}")))?;
    send(wide, raw, commit.transaction.copy_in(&copy)?)?;
    commit.move_over(table, &columns, "DO NOTHING")
}

/// Encodes the events of one table and hands them to a COPY.
fn send(wide: &Wide, raw: &[RawEvent], mut writer: CopyInWriter<'_>) -> Result<(), Fault> {
    let mut rows = Rows::new(i16::try_from(wide.columns().len()).unwrap_or(i16::MAX));
    // Entities are few, and their events are many.
    let mut labels: HashMap<*const RawEntity, String> = HashMap::new();
    for event in wide.events(raw) {
        let entity = &event.entity;
        rows.row();
        rows.time(event.time);
        rows.text(&entity.entity_id);
        wide.labels.iter().for_each(|column| rows.text_or_null(label(&entity.labels, column)));
        wide.metrics.iter().for_each(|column| rows.number(metric(event, column)));
        rows.json(labels.entry(Arc::as_ptr(entity)).or_insert_with(|| row::labels_to_json(&entity.labels)));
        rows.text(&event.partition);
        rows.integer(event.offset);
        if rows.encoded().len() >= PIECE_BYTES {
            writer.write_all(rows.encoded())?;
            rows.clear();
        }
    }
    writer.write_all(&rows.finish())?;
    writer.finish()?;
    Ok(())
}
