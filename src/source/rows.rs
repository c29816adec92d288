//! The rows of a table in the order of the file. A row is a line, so that a quotation mark that nobody closed ends with it, and where a row begins does not
//! depend on where reading began.

use super::SourceError;
use super::line_reader::LineReader;
use super::row::{COLUMNS, Columns, Row};
use csv::{ByteRecord, StringRecord};
use csv_core::{ReadRecordResult, Terminator};
use std::io::Error;

/// What a file begins with that gzip made (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Where a row begins, and where the next line does.
pub(super) type Place = (i64, i64);

/// A row that was read.
#[derive(Default)]
pub(super) struct Found {
    /// The line that it is, from 1, where it was counted.
    line: Option<u64>,
    /// Its fields; the beginning of it alone where it is too long.
    pub(super) fields: ByteRecord,
    is_too_long: bool,
    /// Whether a quotation mark in it is not closed.
    is_open: bool,
}

impl Found {
    /// A copy that is no larger than it must be: a clone would be as large as the largest row so far.
    pub(super) fn compact(&self) -> Self {
        Self { fields: self.fields.iter().collect(), ..*self }
    }
}

/// A file that is read row by row.
pub(super) struct Rows {
    reader: LineReader,
    record_bytes_max: usize,
    columns: Columns,
    parser: Parser,
    /// Lines that were read, from the beginning of the file.
    count: Option<u64>,
    /// The row that was read last.
    pub(super) found: Found,
}

impl Rows {
    /// Those of the file at `path`, from its first row on, or from the one that begins at `offset`.
    ///
    /// # Errors
    /// A file that cannot be read, is empty, or whose first line does not name the columns.
    pub(super) fn open(path: &str, offset: Option<i64>, record_bytes_max: usize) -> Result<Self, SourceError> {
        let fail = |problem: String| SourceError::File { path: path.to_owned(), cause: Error::other(problem) };
        let mut reader = LineReader::open(path, 0, record_bytes_max)?;
        let (mut parser, mut header) = (Parser::new(), ByteRecord::new());
        let mut count = 0;
        while reader.next_line()?.is_some() {
            count += 1;
            // Blank lines are no rows, and no header.
            if !reader.line().is_empty() {
                break;
            }
        }
        parser.parse(reader.line(), &mut header);
        let line = reader.line().strip_prefix(b"\xef\xbb\xbf").unwrap_or(reader.line());
        if line.is_empty() {
            return Err(fail(format!("is empty: its first line must name {}", COLUMNS.join(","))));
        }
        if line.len() > record_bytes_max {
            return Err(fail(format!(
                "its first line is longer than --record-bytes-max, {record_bytes_max} bytes; it must name the columns"
            )));
        }
        if line.starts_with(&GZIP) {
            return Err(fail("is packed by gzip: unpack it first".into()));
        }
        if line.contains(&0) {
            return Err(fail("is no text: its first line holds NULs".into()));
        }
        if line.contains(&b'\r') {
            return Err(fail("its lines end in carriage returns alone; save it with line feeds".into()));
        }
        let header =
            StringRecord::from_byte_record(header).map_err(|_| fail("its first line is no UTF-8; save the table as that".into()))?;
        let columns = Columns::of(&header).map_err(fail)?;
        let offset = offset.filter(|offset| *offset > 0);
        if let Some(offset) = offset {
            reader = LineReader::open(path, offset, record_bytes_max)?;
        }
        let count = offset.is_none().then_some(count);
        Ok(Self { reader, record_bytes_max, columns, parser, count, found: Found::default() })
    }

    /// Reads the next row into `found`; `None` at the end.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub(super) fn next(&mut self) -> Result<Option<Place>, SourceError> {
        let Self { reader, record_bytes_max, parser, count, found, .. } = self;
        loop {
            let Some((offset, next_offset)) = reader.next_line()? else { return Ok(None) };
            *count = count.map(|count| count + 1);
            let line = reader.line();
            if line.is_empty() {
                continue;
            }
            (found.line, found.is_too_long) = (*count, line.len() > *record_bytes_max);
            if found.is_too_long {
                found.fields.clear();
                found.fields.push_field(line);
            } else {
                parser.parse(line, &mut found.fields);
            }
            found.is_open = memchr::memchr(b'"', line).is_some() && is_open(line);
            return Ok(Some((offset, next_offset)));
        }
    }

    /// A row of this file.
    pub(super) fn row<'a>(&'a self, found: &'a Found) -> Row<'a> {
        let Found { line, ref fields, is_too_long, is_open } = *found;
        let longer_than = is_too_long.then_some(self.record_bytes_max);
        Row { fields, columns: self.columns, place: self.reader.place(), line, longer_than, is_open }
    }
}

/// Whether a field of a line begins with a quotation mark and none ends it. One within a field that does not begin with one means nothing.
fn is_open(line: &[u8]) -> bool {
    let (mut begins, mut is_quoted) = (true, false);
    for byte in line {
        let was_quoted = is_quoted;
        is_quoted = if is_quoted { *byte != b'"' } else { begins && *byte == b'"' };
        // Two of them within quotation marks are one, as if the field ended and began again.
        begins = *byte == b',' || was_quoted && *byte == b'"';
    }
    is_quoted
}

/// Takes lines apart.
struct Parser {
    parser: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Parser {
    fn new() -> Self {
        // A carriage return ends nothing either, for what is behind it would be left out.
        let parser = csv_core::ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        Self { parser, text: Vec::new(), ends: Vec::new() }
    }

    /// The fields of one line.
    fn parse(&mut self, line: &[u8], fields: &mut ByteRecord) {
        let Self { parser, text, ends } = self;
        parser.reset();
        fields.clear();
        // No field is longer than the line, nor are there more of them than it has bytes, and one.
        text.resize(text.len().max(line.len()), 0);
        ends.resize(ends.len().max(line.len() + 1), 0);
        let (mut rest, mut at, mut count) = (line, 0, 0);
        loop {
            let (result, read, written, ended) = parser.read_record(rest, &mut text[at..], &mut ends[count..]);
            (rest, at, count) = (&rest[read..], at + written, count + ended);
            match result {
                // Asked with nothing left, it ends the record.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    text.resize(2 * text.len() + 1, 0);
                    ends.resize(2 * ends.len() + 1, 0);
                }
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let mut begin = 0;
        for end in &ends[..count] {
            fields.push_field(&text[begin..*end]);
            begin = *end;
        }
    }
}
