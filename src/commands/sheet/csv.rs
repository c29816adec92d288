//! Rows as CSV.

use super::{Row, Said, Sheet, columns};
use crate::number;
use dataflows::Policy;
use std::io::{self, Write};
use std::ops::Range;

/// So much text is written at once.
const CHUNK_BYTES: usize = 1 << 16;

/// A file of CSV, its header first.
pub struct Csv {
    out: Box<dyn Write + Send>,
    policy: Policy,
    /// What is not written yet.
    text: String,
}

impl Csv {
    /// Nothing but a header yet.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: Box<dyn Write + Send>, policy: Policy) -> io::Result<Self> {
        writeln!(out, "{}", columns().collect::<Vec<_>>().join(","))?;
        Ok(Self { out, policy, text: String::with_capacity(2 * CHUNK_BYTES) })
    }
}

impl Sheet for Csv {
    fn add(&mut self, row: &Row<'_>) -> io::Result<()> {
        let Self { out, policy, text } = self;
        let said = row.verdict.map_or(Said::REFUSED, |(verdict, _)| Said::of(verdict, policy));
        text.push_str(row.time.1);
        text.push_str(row.name.fields);
        match row.value {
            Some(value) => add_field(text, value),
            None => said.aggregate.into_iter().for_each(|aggregate| number::plain(text, aggregate.mean.0)),
        }
        text.push(',');
        add_scores(text, &said, row.verdict.map_or("", |(_, start)| start));
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

/// Adds what follows the columns of the input, a comma between two; empty where there is no score. `start` is that of the bucket, written out. Nearly all of
/// the time goes to the digits of numbers, so that a z_score is written once.
fn add_scores(text: &mut String, said: &Said, start: &str) {
    let Said { score, aggregate, .. } = said;
    add_number(text, score.map(|score| score.expected.0));
    let spoken = add_number(text, said.z_score);
    text.push_str(if said.is_anomaly { "true," } else { "false," });
    text.push_str(start);
    text.push(',');
    add_number(text, aggregate.map(|aggregate| aggregate.mean.0));
    add_number(text, score.map(|score| score.sigma.0));
    [said.state, ",", said.severity.unwrap_or_default(), ","].iter().for_each(|part| text.push_str(part));
    add_number(text, said.anomaly_score);
    let own = score.map(|score| score.z_score.0);
    if own == said.z_score {
        text.extend_from_within(spoken);
    } else {
        add_number(text, own);
    }
    aggregate.iter().for_each(|aggregate| add_whole(text, aggregate.count));
    text.push(',');
    add_number(text, aggregate.map(|aggregate| aggregate.min.0));
    add_number(text, aggregate.map(|aggregate| aggregate.max.0));
    aggregate.iter().for_each(|aggregate| number::plain(text, aggregate.stddev.0));
}

/// Adds a number and a comma; where they stand.
fn add_number(text: &mut String, number: Option<f64>) -> Range<usize> {
    let start = text.len();
    number.into_iter().for_each(|number| number::plain(text, number));
    text.push(',');
    start..text.len()
}

/// Adds a whole number.
fn add_whole(text: &mut String, number: u64) {
    if number >= 10 {
        add_whole(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Adds entity and metric between commas, quoted where they must be.
pub fn add_fields(text: &mut String, entity: &str, metric: &str) {
    for field in [entity, metric] {
        text.push(',');
        add_field(text, field);
    }
    text.push(',');
}

/// Adds a text, quoted where it must be.
fn add_field(text: &mut String, field: &str) {
    if field.contains([',', '"', '\r', '\n']) {
        ["\"", &field.replace('"', "\"\""), "\""].iter().for_each(|part| text.push_str(part));
    } else {
        text.push_str(field);
    }
}
