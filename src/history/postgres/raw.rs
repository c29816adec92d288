//! Raw events into PostgreSQL: copied straight into their tables, piece by piece, so that the server is busy while the next piece is encoded.

use super::Fault;
use super::copy::Rows;
use super::write::Commit;
use crate::history::wide::{WIDES, Wide, label};
use crate::history::{RawEntity, RawEvents, row};
use postgres::CopyInWriter;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

/// Encoded rows are sent when they are so many bytes: a buffer that stays in the processor's cache. A whole batch was 20 MB of fresh memory each time.
const PIECE_BYTES: usize = 65_536;

/// Writes the events of a batch that have a table.
pub(super) fn write(commit: &mut Commit<'_>, raw: &[RawEvents]) -> Result<(), Fault> {
    let has_any = |wide: &&Wide| raw.iter().any(|raw| wide.events(raw).next().is_some());
    WIDES.iter().filter(has_any).try_for_each(|wide| write_wide(commit, wide, raw))
}

fn write_wide(commit: &mut Commit<'_>, wide: &Wide, raw: &[RawEvents]) -> Result<(), Fault> {
    let columns = wide.columns().join(", ");
    commit.insert(wide.table, &columns, "DO NOTHING", &|writer| send(wide, raw, writer))
}

/// Encodes the events of one table and hands them to a COPY.
fn send(wide: &Wide, raw: &[RawEvents], mut writer: CopyInWriter<'_>) -> Result<(), Fault> {
    let mut rows = Rows::new(i16::try_from(wide.columns().len()).unwrap_or(i16::MAX));
    // Entities are few, and their events are many.
    let mut labels: HashMap<*const RawEntity, String> = HashMap::new();
    let places: Vec<_> = raw.iter().map(|raw| (raw, wide.places(raw), row::text(&raw.partition))).collect();
    let mut events: Vec<_> = places.iter().flat_map(|of| wide.events(of.0).map(move |event| (event, of))).collect();
    // By time, as their key begins: the server finds the place of each beside that of the last one, wherever partitions and workers stand.
    events.sort_by_key(|(event, _)| event.time);
    for (event, (raw, places, partition)) in events {
        let entity = &event.entity;
        rows.row();
        rows.time(event.time);
        rows.text(&entity.entity_id);
        wide.labels.iter().for_each(|column| rows.text_or_null(label(&entity.labels, column)));
        places[event.form].iter().for_each(|place| rows.number(place.map(|place| raw.values[event.first + place])));
        rows.json(labels.entry(Arc::as_ptr(entity)).or_insert_with(|| row::labels_to_json(&entity.labels)));
        rows.field(partition.as_bytes());
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
