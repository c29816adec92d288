//! A row of a table: the event that it becomes, and what is wrong with one that is refused.

use super::Origin;
use super::decode::shortened;
use csv::ByteRecord;
use std::borrow::Cow;
use std::io::Write;

/// The columns that must be there; others are left alone.
pub const COLUMNS: [&str; 4] = ["timestamp", "entity", "metric", "value"];

/// A row, for whoever has to mend it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// All its fields.
    pub(super) fields: &'a ByteRecord,
    /// Where those of [`COLUMNS`] are.
    pub(super) columns: [usize; 4],
    /// The line in which it begins, from 1.
    pub(super) line: u64,
}

impl Origin for Row<'_> {
    fn text(&self) -> Vec<u8> {
        self.fields.iter().collect::<Vec<_>>().join(&b","[..])
    }

    fn problem(&self, reason: &str, detail: &str) -> String {
        let [timestamp, entity, metric, value] = self.columns.map(|column| text(self.fields, column));
        let missing = (0..4).find(|place| self.columns[*place] >= self.fields.len()).map(|place| COLUMNS[place]);
        let said = match (reason, missing) {
            (_, Some(column)) => format!("it ends before its '{column}', with {} of its fields", self.fields.len()),
            ("no_metrics", None) if !value.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
                format!("'value' is '{}', which is no finite number like 85.2", shortened(&value))
            }
            ("no_metrics", None) => format!("'metric' is '{}', which its kind does not watch", shortened(&metric)),
            ("duplicate_key", None) => format!("'metric' is '{}', which is the name of another field of the event", shortened(&metric)),
            ("bad_time", None) => format!("'timestamp' is '{}', which is no time like 2026-01-24T12:34:56Z", shortened(&timestamp)),
            ("bad_entity", None) => format!("'entity' is '{}': it must be a text, neither empty nor with a NUL", shortened(&entity)),
            ("bad_metric_name", None) => format!("'metric' is '{}': it must have at least one letter and no colon", shortened(&metric)),
            _ => detail.into(),
        };
        // A quotation mark that nobody closed takes the lines behind it along.
        let more = self.fields.iter().map(|field| memchr::memchr_iter(b'\n', field).count() as u64).sum::<u64>();
        match more {
            0 => format!("line {}: {said}", self.line),
            more => format!("lines {} to {}, a text in quotation marks goes on so long: {said}", self.line, self.line + more),
        }
    }
}

/// A field of a row as a text; empty where there is none.
pub(super) fn text(row: &ByteRecord, column: usize) -> Cow<'_, str> {
    String::from_utf8_lossy(row.get(column).unwrap_or_default())
}

/// Writes a row as the event of a server. What is no number stays what it is, so that the decoder refuses it with a reason.
pub(super) fn render(row: &ByteRecord, [timestamp, entity, metric, value]: [usize; 4], json: &mut Vec<u8>) {
    let quoted = |column: usize| serde_json::Value::from(text(row, column).trim()).to_string();
    let value = match text(row, value).trim().parse::<f64>() {
        Ok(number) if number.is_finite() => serde_json::Value::from(number).to_string(),
        _ => quoted(value),
    };
    // Writing to memory does not fail.
    let _ = write!(
        json,
        r#"{{"type":"server_metric","timestamp":{},"server_id":{},{}:{value}}}"#,
        quoted(timestamp),
        quoted(entity),
        quoted(metric)
    );
}
