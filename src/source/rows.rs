//! The rows of a table in the order of the file, none of them read as a whole that is longer than a record may be.

use super::SourceError;
use super::row::{COLUMNS, Columns, Row};
use crate::line::Lines;
use csv::{ByteRecord, Position};
use std::fs::File;
use std::io::{Error, Read, Result as IoResult, Seek, SeekFrom};

/// Read ahead at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Of a line that is cut, so much is kept to be shown.
const SHOWN_BYTES: usize = 1024;

/// Where a row begins, and where the next one does.
pub(super) type Place = (i64, i64);

/// A file of which so much is read at most until somebody allows more.
struct Limited {
    file: File,
    left: usize,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        if self.left == 0 {
            return Err(Error::other("its first line goes on and on; is a quotation mark missing?"));
        }
        let room = buffer.len().min(self.left);
        let read = self.file.read(&mut buffer[..room])?;
        self.left -= read;
        Ok(read)
    }
}

impl Seek for Limited {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        self.file.seek(to)
    }
}

/// A row that was read.
#[derive(Default)]
pub(super) struct Found {
    /// Its fields; the beginning of its first line where it is cut.
    pub(super) fields: ByteRecord,
    /// The line in which it begins, from 1.
    pub(super) line: u64,
    /// Whether it goes on for longer than a record may be.
    pub(super) is_cut: bool,
}

/// A file that is read row by row.
pub(super) struct Rows {
    path: String,
    record_bytes_max: usize,
    reader: csv::Reader<Limited>,
    columns: Columns,
    lines: Lines<File>,
    /// The row that was read last.
    pub(super) found: Found,
}

impl Rows {
    /// Those of the file at `path`, from its first row on.
    ///
    /// # Errors
    /// A file that cannot be read, is empty, or whose first line does not name the columns.
    pub(super) fn open(path: &str, record_bytes_max: usize) -> Result<Self, SourceError> {
        let fail = |cause| SourceError::File { path: path.to_owned(), cause };
        let file = Limited { file: File::open(path).map_err(fail)?, left: record_bytes_max };
        // A row that is too short or too long is refused as a record, not as a file.
        let mut reader = csv::ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(file);
        let header = reader.headers().map_err(|error| fail(Error::other(error)))?;
        if header.is_empty() {
            return Err(fail(Error::other(format!("is empty: its first line must name {}", COLUMNS.join(",")))));
        }
        let columns = Columns::of(header).map_err(|problem| fail(Error::other(problem)))?;
        let lines = Lines::of(File::open(path).map_err(fail)?);
        Ok(Self { path: path.to_owned(), record_bytes_max, reader, columns, lines, found: Found::default() })
    }

    /// Goes on at a row that begins here.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub(super) fn seek(&mut self, byte: u64) -> Result<(), SourceError> {
        let mut position = Position::new();
        position.set_byte(byte);
        self.reader.seek_raw(SeekFrom::Start(byte), position).map_err(|error| self.fail(error))
    }

    /// Reads the next row into `found`; `None` at the end. What is too long, most often for want of a quotation mark, ends with its first line, so that the
    /// rows behind it are read.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub(super) fn next(&mut self) -> Result<Option<Place>, SourceError> {
        let begin = self.reader.position().byte();
        self.reader.get_mut().left = self.record_bytes_max + 1;
        let end = match self.reader.read_byte_record(&mut self.found.fields) {
            Ok(false) => return Ok(None),
            Ok(true) => {
                self.found.is_cut = false;
                self.found.line = self.lines.at(begin).map_err(|error| self.fail(error))?;
                self.reader.position().byte()
            }
            Err(error) if self.reader.get_ref().left > 0 => return Err(self.fail(error)),
            Err(_) => {
                let line = self.lines.at(begin).map_err(|error| self.fail(error))?;
                let (text, end) = self.lines.pass_line(SHOWN_BYTES).map_err(|error| self.fail(error))?;
                self.found = Found { fields: ByteRecord::from(vec![text]), line, is_cut: true };
                self.seek(end)?;
                end
            }
        };
        #[allow(clippy::cast_possible_wrap)] // positions in a file
        Ok(Some((begin as i64, end as i64)))
    }

    /// A row of this file.
    pub(super) fn row<'a>(&self, found: &'a Found) -> Row<'a> {
        let Found { fields, line, is_cut } = found;
        Row { fields, columns: self.columns, line: *line, longer_than: is_cut.then_some(self.record_bytes_max) }
    }

    fn fail(&self, problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
        SourceError::File { path: self.path.clone(), cause: Error::other(problem) }
    }
}
