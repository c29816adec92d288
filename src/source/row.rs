//! A row of a table: the event that it becomes, and what is wrong with one that is refused.

use super::Origin;
use super::decode::shortened;
use super::line_reader::Place;
use crate::instant;
use csv::{ByteRecord, StringRecord};
use dataflows::accumulator::VALUE_LIMIT;
use std::borrow::Cow;
use std::io::Write;

/// The columns that must be there; others are left alone.
pub const COLUMNS: [&str; 4] = ["timestamp", "entity", "metric", "value"];

/// What a header names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// Where those of [`COLUMNS`] are.
    pub(super) places: [usize; 4],
    /// How many there are.
    pub(super) count: usize,
}

/// Why a header may lack a column.
fn hint(header: &StringRecord, wanted: &str) -> String {
    let alone = header.iter().next().filter(|_| header.len() == 1).unwrap_or_default();
    if let Some((_, what)) = [(';', "semicolons"), ('\t', "tabs"), ('|', "bars")].iter().find(|(mark, _)| alone.contains(*mark)) {
        return format!(", for its columns are parted by {what}, not by commas");
    }
    let alike = header.iter().map(str::trim).find(|name| name.eq_ignore_ascii_case(wanted));
    alike.map_or_else(String::new, |name| format!(", which '{name}' is not"))
}

impl Columns {
    /// Those of a header.
    ///
    /// # Errors
    /// One of [`COLUMNS`] that is not there, or is there twice.
    pub(super) fn of(header: &StringRecord) -> Result<Self, String> {
        let mut places = [0; 4];
        for (place, wanted) in places.iter_mut().zip(COLUMNS) {
            let mut found = header.iter().enumerate().filter(|(_, name)| name.trim().trim_start_matches('\u{feff}') == wanted);
            let named = header.iter().collect::<Vec<_>>().join(",");
            *place = match (found.next(), found.next()) {
                (Some((place, _)), None) => place,
                (None, _) => {
                    let hint = hint(header, wanted);
                    return Err(format!("has no column '{wanted}'{hint}: the header is '{named}', it must name {}", COLUMNS.join(",")));
                }
                (Some(_), Some(_)) => return Err(format!("has the column '{wanted}' twice: the header is '{named}'")),
            };
        }
        Ok(Self { places, count: header.len() })
    }

    /// Why nobody can say what a row says, if so. Empty fields behind those that the header names are none.
    fn defect(self, row: &ByteRecord) -> Option<String> {
        let Self { places, count } = self;
        if let Some(column) = (0..4).find(|column| places[*column] >= row.len()) {
            return Some(format!("it ends before its '{}', with {} of its fields", COLUMNS[column], row.len()));
        }
        if row.iter().skip(count).any(|field| !field.trim_ascii().is_empty()) {
            let fields = row.len();
            return Some(format!(
                "it has {fields} fields where the header names {count}: a value with a comma in it stands in quotation marks"
            ));
        }
        // Two names could come to the same.
        let column = (0..4).find(|column| std::str::from_utf8(&row[places[*column]]).is_err())?;
        Some(format!("'{}' is '{}', which is no UTF-8: save the table as that", COLUMNS[column], shortened(&text(row, places[column]))))
    }
}

/// A row, for whoever has to mend it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// All its fields.
    pub(super) fields: &'a ByteRecord,
    /// What the header names.
    pub(super) columns: Columns,
    /// Where it is: its file, and the line of that, from 1, where it was counted.
    pub(super) place: &'a Place,
    pub(super) line: Option<u64>,
    /// What it exceeds, where it is too long to be read; then its only field is the beginning of it.
    pub(super) longer_than: Option<usize>,
    /// Whether a quotation mark in it is not closed.
    pub(super) is_open: bool,
}

impl Row<'_> {
    /// Whether it says a value of a series, as far as it can be seen here.
    pub(super) fn is_sample(&self) -> bool {
        self.value().is_some_and(|value| value.abs() < VALUE_LIMIT)
    }

    /// The number that it says, if it is known what belongs where.
    fn value(&self) -> Option<f64> {
        let value = text(self.fields, self.columns.places[3]).trim().parse::<f64>().ok().filter(|value| value.is_finite())?;
        (self.longer_than.is_none() && self.columns.defect(self.fields).is_none()).then_some(value)
    }

    /// Writes it as the event of a server. What is no number stays what it is, so that the decoder refuses it with a reason; and so does the number of a
    /// row of which nobody can say what belongs where. One that is too long is written as that.
    pub(super) fn render(&self, json: &mut Vec<u8>) {
        if let Some(limit) = self.longer_than {
            json.resize(limit + 1, b' ');
            return;
        }
        let [timestamp, entity, metric, value] = self.columns.places;
        let quoted = |column: usize| serde_json::Value::from(text(self.fields, column).trim()).to_string();
        let value = self.value().map_or_else(|| quoted(value), |number| serde_json::Value::from(number).to_string());
        // Writing to memory does not fail.
        let _ = write!(
            json,
            r#"{{"type":"server_metric","timestamp":{},"server_id":{},{}:{value}}}"#,
            quoted(timestamp),
            quoted(entity),
            quoted(metric)
        );
    }
}

impl Origin for Row<'_> {
    fn text(&self) -> Option<Vec<u8>> {
        Some(self.fields.iter().collect::<Vec<_>>().join(&b","[..]))
    }

    fn problem(&self, offset: i64, reason: &str, detail: &str) -> String {
        let [timestamp, entity, metric, value] = self.columns.places.map(|column| text(self.fields, column));
        let said = match (reason, self.longer_than) {
            (_, Some(limit)) => format!("it is longer than --record-bytes-max, {limit} bytes"),
            (_, None) if let Some(defect) = self.columns.defect(self.fields) => defect,
            ("no_metrics", None) if !value.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
                format!("'value' is '{}', which is no finite number like 85.2", shortened(&value))
            }
            ("no_metrics", None) => format!("'metric' is '{}', which its kind does not watch", shortened(&metric)),
            ("duplicate_key", None) => format!("'metric' is '{}', which is the name of another field of the event", shortened(&metric)),
            ("bad_time", None) => format!("'timestamp' is '{}', which {}", shortened(&timestamp), no_time(timestamp.trim())),
            ("bad_entity", None) => format!("'entity' is '{}': it must be a text, neither empty nor with a NUL", shortened(&entity)),
            ("bad_metric_name", None) => format!("'metric' is '{}': it must have at least one letter and no colon", shortened(&metric)),
            _ => detail.into(),
        };
        let mark = if self.is_open { "; a quotation mark is not closed in it" } else { "" };
        match self.line.map_or_else(|| self.place.line(offset), Ok) {
            Ok(line) => format!("line {line}: {said}{mark}"),
            Err(_) => format!("{said}{mark}"),
        }
    }
}

/// Why a text is no time.
fn no_time(text: &str) -> String {
    match instant::lacks_zone(text) {
        Some(problem) => problem,
        None if text.parse::<f64>().is_ok() => "is a number: write it like 2026-01-24T12:34:56Z; JSON lines take numbers".into(),
        None => "is no time like 2026-01-24T12:34:56Z".into(),
    }
}

/// A field of a row as a text; empty where there is none.
pub(super) fn text(row: &ByteRecord, column: usize) -> Cow<'_, str> {
    String::from_utf8_lossy(row.get(column).unwrap_or_default())
}
