//! `file:` one or more files of JSON lines, or standard input; each is a partition whose offsets are byte positions.

use super::{Partition, Poll, Reader, Record, Source, SourceError};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use dataflows::Time;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// Reading ahead by this much keeps system calls off the hot path, and the buffer in the processor's cache.
const BUFFER_BYTES: usize = 128 << 10;

/// Lines of a pipe that are read ahead of the graph, at most, and the bytes that they may have together.
const PIPE_LINES: usize = 16_384;
const PIPE_BYTES: usize = 64 << 20;

/// How many lines a file has, as fast as it can be read.
///
/// # Errors
/// A file that cannot be read.
pub fn count_lines(path: &str) -> std::io::Result<u64> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let mut lines = 0;
    loop {
        let bytes = file.fill_buf()?;
        let read = bytes.len();
        if read == 0 {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        file.consume(read);
    }
}

/// Files of JSON lines. They are read to their end once; what is appended later is not seen.
pub struct Files {
    paths: Vec<String>,
    opened_at: Time,
    record_bytes_max: usize,
}

impl Files {
    /// The files named after `file:`, separated by commas; `-` is standard input. Of a line that is longer than `record_bytes_max`, only so much is
    /// read that it can be refused.
    ///
    /// # Errors
    /// A file that is not there or is no file.
    pub fn open(paths: &str, record_bytes_max: usize) -> Result<Self, SourceError> {
        let mut paths: Vec<String> = paths.split(',').map(str::to_owned).collect();
        for path in paths.iter().filter(|path| *path != "-") {
            let fail = |cause| SourceError::File { path: path.clone(), cause };
            let absent = |cause: std::io::Error| fail(std::io::Error::new(cause.kind(), format!("{cause}; check the path after file:")));
            let kind = std::fs::metadata(path).map_err(absent)?.file_type();
            if kind.is_dir() {
                return Err(fail(std::io::Error::other("is a folder; name a file of JSON lines")));
            }
            if kind.is_fifo() {
                return Err(fail(std::io::Error::other(format!(
                    "is a pipe and cannot be read again; `tidewatch run` takes it by --source file:- < {path}"
                ))));
            }
        }
        // A file has one name, under which progress is kept, from whatever folder it is looked at.
        for path in paths.iter_mut().filter(|path| *path != "-") {
            *path = std::fs::canonicalize(&*path).unwrap_or_else(|_| PathBuf::from(&*path)).display().to_string();
        }
        Ok(Self { paths, opened_at: crate::instant::now(), record_bytes_max })
    }
}

impl Source for Files {
    /// A pipe cannot be read again: every one is a log of its own.
    fn identity(&self) -> String {
        if self.paths.iter().any(|path| path == "-") {
            return format!("file:- read by {} from {}", std::process::id(), crate::instant::format(self.opened_at));
        }
        format!("file:{}", self.paths.join(","))
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        #[allow(clippy::cast_possible_truncation)] // nobody names four billion files
        Ok(self.paths.iter().enumerate().map(|(id, path)| Partition { id: id as u32, name: path.clone() }).collect())
    }

    fn open(&self, partitions: &[(Partition, Option<i64>)]) -> Result<Box<dyn Reader>, SourceError> {
        let mut lines = Lines { open: HashMap::new(), record_bytes_max: self.record_bytes_max };
        for (partition, offset) in partitions {
            lines.add(partition, *offset)?;
        }
        Ok(Box::new(lines))
    }

    fn now(&self) -> Time {
        crate::instant::now()
    }
}

/// The files of one worker.
struct Lines {
    open: HashMap<u32, Input>,
    record_bytes_max: usize,
}

/// A file is there when it is asked for; what comes through a pipe may have to be waited for, which a thread of its own does.
enum Input {
    File(OpenFile),
    Pipe(Receiver<Result<Line, SourceError>>),
}

/// A line of a pipe.
struct Line {
    offset: i64,
    next_offset: i64,
    bytes: Vec<u8>,
}

/// Reads a pipe line by line until it ends or nobody listens any more.
fn listen(mut file: OpenFile, lines: &Sender<Result<Line, SourceError>>) {
    loop {
        let line = match file.next_line() {
            Ok(None) => return,
            Ok(Some(length)) => Ok(Line { offset: file.offset, next_offset: file.offset + length, bytes: file.line.trim_ascii().to_vec() }),
            Err(error) => Err(error),
        };
        file.offset = line.as_ref().map_or(file.offset, |line| line.next_offset);
        let over = line.is_err();
        if lines.send(line).is_err() || over {
            return;
        }
    }
}

/// Hands over what has come through a pipe.
fn poll_pipe(lines: &Receiver<Result<Line, SourceError>>, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
    let mut count = 0;
    while count < most {
        match lines.try_recv() {
            Ok(line) => {
                let Line { offset, next_offset, bytes } = line?;
                if !bytes.is_empty() {
                    take(Record { offset, next_offset, bytes: &bytes, arrived_at: None, origin: None });
                    count += 1;
                }
            }
            Err(_) if count > 0 => break,
            Err(TryRecvError::Empty) => return Ok(Poll::Waiting),
            Err(TryRecvError::Disconnected) => return Ok(Poll::Ended),
        }
    }
    Ok(Poll::Read(count))
}

struct OpenFile {
    path: String,
    input: Box<dyn BufRead + Send>,
    offset: i64,
    line: Vec<u8>,
    record_bytes_max: usize,
}

impl Reader for Lines {
    fn poll(&mut self, partition: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
        let file = match self.open.get_mut(&partition) {
            Some(Input::File(file)) => file,
            Some(Input::Pipe(lines)) => return poll_pipe(lines, most, take),
            None => return Ok(Poll::Ended),
        };
        let mut count = 0;
        while count < most {
            if let Some(more) = file.take_lines(most - count, take)? {
                count += more;
                continue;
            }
            let Some(length) = file.next_line()? else { break };
            let next_offset = file.offset + length;
            let bytes = file.line.trim_ascii();
            if !bytes.is_empty() {
                take(Record { offset: file.offset, next_offset, bytes, arrived_at: None, origin: None });
                count += 1;
            }
            file.offset = next_offset;
        }
        Ok(if count > 0 { Poll::Read(count) } else { Poll::Ended })
    }

    fn add(&mut self, partition: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        let (path, record_bytes_max) = (partition.name.clone(), self.record_bytes_max);
        let offset = offset.unwrap_or(0);
        let fail = |cause| SourceError::File { path: path.clone(), cause };
        let input = if path == "-" {
            let input = Box::new(BufReader::with_capacity(BUFFER_BYTES, std::io::stdin()));
            let (sender, lines) = crossbeam_channel::bounded((PIPE_BYTES / record_bytes_max).clamp(1, PIPE_LINES));
            std::thread::spawn(move || listen(OpenFile { path, input, offset, line: Vec::new(), record_bytes_max }, &sender));
            Input::Pipe(lines)
        } else {
            let mut file = File::open(&path).map_err(fail)?;
            #[allow(clippy::cast_sign_loss)] // offsets are positions
            file.seek(SeekFrom::Start(offset as u64)).map_err(fail)?;
            let input = Box::new(BufReader::with_capacity(BUFFER_BYTES, file));
            Input::File(OpenFile { path, input, offset, line: Vec::new(), record_bytes_max })
        };
        self.open.insert(partition.id, input);
        Ok(())
    }
}

impl OpenFile {
    /// Hands over the lines that stand in the buffer as a whole, without copying them, up to so many records; their number, or `None` where the next line does
    /// not stand there so.
    fn take_lines(&mut self, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Option<usize>, SourceError> {
        let available = self.input.fill_buf().map_err(|cause| SourceError::File { path: self.path.clone(), cause })?;
        let (mut count, mut used) = (0, 0);
        while count < most
            && let Some(end) = memchr::memchr(b'\n', &available[used..])
        {
            let bytes = available[used..used + end.min(self.record_bytes_max + 1)].trim_ascii();
            #[allow(clippy::cast_possible_wrap)] // a buffer's length
            let (offset, next_offset) = (self.offset, self.offset + end as i64 + 1);
            if !bytes.is_empty() {
                take(Record { offset, next_offset, bytes, arrived_at: None, origin: None });
                count += 1;
            }
            used += end + 1;
            self.offset = next_offset;
        }
        self.input.consume(used);
        Ok((used > 0).then_some(count))
    }

    /// Reads the next line into `line`; its length with the line feed, or `None` at the end. Of a line that is longer than any record may be,
    /// the beginning is kept, which is enough to refuse it.
    fn next_line(&mut self) -> Result<Option<i64>, SourceError> {
        self.line.clear();
        let mut length = 0;
        loop {
            let available = self.input.fill_buf().map_err(|cause| SourceError::File { path: self.path.clone(), cause })?;
            if available.is_empty() {
                return Ok((length > 0).then_some(length));
            }
            let end = memchr::memchr(b'\n', available);
            let used = end.map_or(available.len(), |end| end + 1);
            let room = (self.record_bytes_max + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&available[..used.min(room)]);
            self.input.consume(used);
            #[allow(clippy::cast_possible_wrap)] // a buffer's length
            {
                length += used as i64;
            }
            if end.is_some() {
                return Ok(Some(length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    fn read(reader: &mut dyn Reader) -> Vec<(i64, String)> {
        let mut lines = Vec::new();
        while reader.poll(0, 2, &mut |record| lines.push((record.offset, String::from_utf8_lossy(record.bytes).into_owned()))).unwrap()
            != Poll::Ended
        {}
        lines
    }

    #[test]
    fn a_file_read_from_an_offset_goes_on_where_it_stopped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"a\":1}\r\n\n{\"b\":2}\n{\"c\":3}").unwrap();
        let files = Files::open(file.path().to_str().unwrap(), LIMIT).unwrap();
        let partition = files.partitions().unwrap().remove(0);
        let all = read(&mut *files.open(&[(partition.clone(), None)]).unwrap());
        assert_eq!(all.iter().map(|line| line.1.as_str()).collect::<Vec<_>>(), ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        let rest = read(&mut *files.open(&[(partition, Some(all[1].0))]).unwrap());
        assert_eq!(rest, all[1..]);
    }

    #[test]
    fn an_endless_line_takes_no_endless_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [vec![b'x'; 3 * BUFFER_BYTES], b"\n{}\n".to_vec()].concat()).unwrap();
        let files = Files::open(file.path().to_str().unwrap(), LIMIT).unwrap();
        let partition = files.partitions().unwrap().remove(0);
        let lines = read(&mut *files.open(&[(partition, None)]).unwrap());
        assert_eq!((lines[0].1.len(), lines[1].1.as_str()), (LIMIT + 1, "{}"));
    }

    #[test]
    fn a_missing_file_or_a_folder_is_named() {
        assert!(Files::open("nowhere.jsonl", LIMIT).err().unwrap().to_string().contains("nowhere.jsonl"));
        assert!(Files::open(".", LIMIT).err().unwrap().to_string().contains("folder"));
    }
}
