//! The lines of one file or pipe, each with its place.

use super::{Origin, Record, SourceError};
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

/// Reading ahead by this much keeps system calls off the hot path, and the buffer in the processor's cache.
pub(super) const BUFFER_BYTES: usize = 128 << 10;

/// A file or a pipe, read line by line.
pub(super) struct LineReader {
    input: Box<dyn BufRead + Send>,
    place: Place,
    offset: i64,
    line: Vec<u8>,
    record_bytes_max: usize,
}

/// A file, and where the lines of it are that were refused.
#[derive(Debug)]
pub(super) struct Place {
    path: String,
    counted: RefCell<Counted>,
}

/// Its line feeds up to some place; the file once it was asked for.
#[derive(Debug, Default)]
struct Counted {
    file: Option<BufReader<File>>,
    at: u64,
    feeds: u64,
}

impl Origin for Place {
    fn problem(&self, offset: i64, _: &str, detail: &str) -> String {
        match self.line(offset) {
            Ok(line) => format!("line {line}: {detail}"),
            Err(_) => detail.to_owned(),
        }
    }
}

impl Place {
    /// The line that begins at `offset`, from 1: counted only where somebody asks, and on from the last that was asked for.
    pub(super) fn line(&self, offset: i64) -> std::io::Result<u64> {
        let mut counted = self.counted.borrow_mut();
        let Counted { file, at, feeds } = &mut *counted;
        let file = match file {
            Some(file) => file,
            none => none.insert(BufReader::with_capacity(BUFFER_BYTES, File::open(&self.path)?)),
        };
        let offset = u64::try_from(offset).unwrap_or(0);
        while *at < offset {
            let bytes = file.fill_buf()?;
            let length = usize::try_from(offset - *at).map_or(bytes.len(), |rest| bytes.len().min(rest));
            if length == 0 {
                break;
            }
            *feeds += memchr::memchr_iter(b'\n', &bytes[..length]).count() as u64;
            *at += length as u64;
            file.consume(length);
        }
        Ok(*feeds + 1)
    }

    fn fail(&self, cause: std::io::Error) -> SourceError {
        SourceError::File { path: self.path.clone(), cause }
    }
}

impl LineReader {
    /// A file from one of its places on.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn open(path: &str, offset: i64, record_bytes_max: usize) -> Result<Self, SourceError> {
        let fail = |cause| SourceError::File { path: path.to_owned(), cause };
        let mut file = File::open(path).map_err(fail)?;
        file.seek(SeekFrom::Start(u64::try_from(offset).unwrap_or(0))).map_err(fail)?;
        Ok(Self { offset, ..Self::of(file, path, record_bytes_max) })
    }

    /// What comes from its beginning, under this name. Of a line that is longer than `record_bytes_max`, so much is kept that it can be refused.
    pub(super) fn of(input: impl Read + Send + 'static, path: &str, record_bytes_max: usize) -> Self {
        let place = Place { path: path.to_owned(), counted: RefCell::default() };
        Self { input: Box::new(BufReader::with_capacity(BUFFER_BYTES, input)), place, offset: 0, line: Vec::new(), record_bytes_max }
    }

    /// Hands over some of the next lines that are not empty, at most so many, those that stand in the buffer as a whole without copying them; their
    /// number, or `None` at the end.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub(super) fn take_lines(&mut self, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Option<usize>, SourceError> {
        let available = self.input.fill_buf().map_err(|cause| self.place.fail(cause))?;
        let (mut count, mut used) = (0, 0);
        while count < most
            && let Some(end) = memchr::memchr(b'\n', &available[used..])
        {
            let line = &available[used..used + end];
            let bytes = if end > self.record_bytes_max { &line[..=self.record_bytes_max] } else { line.trim_ascii() };
            #[allow(clippy::cast_possible_wrap)] // a buffer's length
            let (offset, next_offset) = (self.offset, self.offset + end as i64 + 1);
            if !bytes.is_empty() {
                take(Record { offset, next_offset, bytes, arrived_at: None, origin: Some(&self.place) });
                count += 1;
            }
            used += end + 1;
            self.offset = next_offset;
        }
        self.input.consume(used);
        if used > 0 {
            return Ok(Some(count));
        }
        let Some((offset, next_offset)) = self.next_line()? else { return Ok(None) };
        let bytes = self.line();
        if !bytes.is_empty() {
            take(Record { offset, next_offset, bytes, arrived_at: None, origin: Some(&self.place) });
        }
        Ok(Some(usize::from(!bytes.is_empty())))
    }

    /// Reads the next line; where it begins, and where the one behind it does, or `None` at the end. Of a line that is longer than any record may
    /// be, the beginning is kept, which is enough to refuse it.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub(super) fn next_line(&mut self) -> Result<Option<(i64, i64)>, SourceError> {
        self.line.clear();
        let offset = self.offset;
        loop {
            let available = self.input.fill_buf().map_err(|cause| self.place.fail(cause))?;
            if available.is_empty() {
                return Ok((self.offset > offset).then_some((offset, self.offset)));
            }
            let end = memchr::memchr(b'\n', available);
            let used = end.map_or(available.len(), |end| end + 1);
            let room = (self.record_bytes_max + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&available[..used.min(room)]);
            self.input.consume(used);
            #[allow(clippy::cast_possible_wrap)] // a buffer's length
            {
                self.offset += used as i64;
            }
            if end.is_some() {
                return Ok(Some((offset, self.offset)));
            }
        }
    }

    /// Where its lines are.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The line that was read last, without the spaces around it, unless it is longer than a record may be: what was left out may end the record.
    pub(super) fn line(&self) -> &[u8] {
        let is_cut = self.line.len() > self.record_bytes_max && !self.line.ends_with(b"\n");
        if is_cut { &self.line } else { self.line.trim_ascii() }
    }
}
