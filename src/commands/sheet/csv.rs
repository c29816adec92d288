//! Rows as CSV.

use super::column::{is_anomaly, severity, state};
use super::{Column, Row, Sheet};
use crate::number;
use dataflows::Policy;
use std::io::{self, Write};

/// So much text is written at once.
const CHUNK_BYTES: usize = 1 << 16;

/// A file of CSV, its header first.
pub struct Csv {
    out: Box<dyn Write + Send>,
    columns: Vec<Column>,
    policy: Policy,
    /// What is not written yet.
    text: String,
}

impl Csv {
    /// Nothing but a header yet.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: Box<dyn Write + Send>, columns: &[Column], policy: Policy) -> io::Result<Self> {
        let names: Vec<String> = columns.iter().map(|column| column.name()).collect();
        writeln!(out, "{}", names.join(","))?;
        Ok(Self { out, columns: columns.into(), policy, text: String::with_capacity(2 * CHUNK_BYTES) })
    }
}

impl Sheet for Csv {
    fn add(&mut self, row: &Row<'_>) -> io::Result<()> {
        let Self { out, columns, policy, text } = self;
        // Nearly all of the time goes to the digits of numbers: one that was written just now is not written again.
        let (line, mut spoken, mut written) = (text.len(), None, 0..0);
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            match column {
                Column::ZScore => {
                    let start = text.len();
                    spoken = row.number(Column::ZScore, policy);
                    add_number(text, spoken);
                    written = start..text.len();
                }
                Column::OwnZScore if !written.is_empty() && row.number(Column::OwnZScore, policy) == spoken => {
                    text.extend_from_within(written.clone());
                }
                _ => add_cell(text, *column, row, policy),
            }
        }
        // A line without anything, which one column may come to, is none to those who read CSV.
        if text.len() == line {
            text.push_str("\"\"");
        }
        text.push('\n');
        if text.len() >= CHUNK_BYTES {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(self.text.as_bytes())?;
        self.text.clear();
        self.out.flush()
    }
}

impl Row<'_> {
    fn number(&self, column: Column, policy: &Policy) -> Option<f64> {
        self.verdict.and_then(|(verdict, _)| column.number(verdict, policy))
    }
}

/// Adds what a column says of a row; nothing where there is no score.
fn add_cell(text: &mut String, column: Column, row: &Row<'_>, policy: &Policy) {
    let verdict = row.verdict.map(|(verdict, _)| verdict);
    match column {
        Column::Timestamp => text.push_str(row.time.1),
        Column::Entity => add_field(text, row.entity),
        Column::Metric => add_field(text, row.metric),
        Column::Value if row.value.is_some() => add_field(text, row.value.unwrap_or_default()),
        Column::IsAnomaly => text.push_str(if is_anomaly(verdict) { "true" } else { "false" }),
        Column::BucketStart => text.push_str(row.verdict.map_or("", |(_, start)| start)),
        Column::State => text.push_str(state(verdict)),
        Column::Severity => text.push_str(verdict.and_then(|verdict| severity(verdict, policy)).unwrap_or_default()),
        Column::Count => verdict.and_then(|verdict| verdict.bucket.aggregate).iter().for_each(|aggregate| add_whole(text, aggregate.count)),
        _ => add_number(text, row.number(column, policy)),
    }
}

fn add_number(text: &mut String, number: Option<f64>) {
    number.into_iter().for_each(|number| number::plain(text, number));
}

/// Adds a whole number.
fn add_whole(text: &mut String, number: u64) {
    if number >= 10 {
        add_whole(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Adds a text, quoted where it must be.
fn add_field(text: &mut String, field: &str) {
    // All of it is looked at, sixteen bytes at once, rather than one after another up to the first: nearly always there is none.
    if field.bytes().fold(false, |found, byte| found | matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        ["\"", &field.replace('"', "\"\""), "\""].iter().for_each(|part| text.push_str(part));
    } else {
        text.push_str(field);
    }
}
