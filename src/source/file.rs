//! `file:` one or more files of JSON lines, or standard input; each is a partition whose offsets are byte positions.

use super::line_reader::{BUFFER_BYTES, LineReader};
use super::{Origin, Partition, Poll, Reader, Record, Source, SourceError};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use dataflows::Time;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;

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

/// The one name that a file has, under which progress is kept, from whatever folder it is looked at.
///
/// # Errors
/// A path to nothing, to a folder or to a pipe, for which there is some `advice`.
pub(super) fn found(path: &str, advice: &str) -> Result<String, SourceError> {
    let fail = |cause| SourceError::File { path: path.to_owned(), cause };
    let absent = |cause: std::io::Error| fail(std::io::Error::new(cause.kind(), format!("{cause}; check the path after file:")));
    let kind = std::fs::metadata(path).map_err(absent)?.file_type();
    if kind.is_dir() {
        return Err(fail(std::io::Error::other("is a folder; name a file of JSON lines, or a table whose name ends in .csv")));
    }
    if kind.is_fifo() {
        return Err(fail(std::io::Error::other(format!("is a pipe and cannot be read again; {advice}"))));
    }
    Ok(std::fs::canonicalize(path).map_or_else(|_| path.to_owned(), |absolute| absolute.display().to_string()))
}

/// See [`Source::beginning`].
pub(super) fn beginning(path: &str, bytes: i64) -> Option<String> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(u64::try_from(bytes).ok()?).read_to_end(&mut text).ok()?;
    let hash = Sha256::digest(&text);
    Some(hash[..8].iter().fold(format!("{}:", text.len()), |told, byte| told + &format!("{byte:02x}")))
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
        for path in paths.iter_mut().filter(|path| *path != "-") {
            *path = found(path, &format!("`tidewatch run` takes it by --source file:- < {path}"))?;
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

    fn beginning(&self, partition: &Partition, bytes: i64) -> Option<String> {
        (partition.name != "-").then(|| beginning(&partition.name, bytes))?
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
    File(LineReader),
    Pipe(Receiver<Result<Line, SourceError>>),
}

/// A line of a pipe.
#[derive(Debug)]
struct Line {
    offset: i64,
    next_offset: i64,
    bytes: Vec<u8>,
    /// From 1.
    number: u64,
}

impl Origin for Line {
    fn problem(&self, _: i64, _: &str, detail: &str) -> String {
        format!("line {}: {detail}", self.number)
    }
}

/// Reads a pipe line by line until it ends or nobody listens any more.
fn listen(mut file: LineReader, lines: &Sender<Result<Line, SourceError>>) {
    for number in 1.. {
        let line = match file.next_line() {
            Ok(None) => return,
            Ok(Some((offset, next_offset))) => Ok(Line { offset, next_offset, bytes: file.line().to_vec(), number }),
            Err(error) => Err(error),
        };
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
                let line = line?;
                if !line.bytes.is_empty() {
                    let Line { offset, next_offset, ref bytes, .. } = line;
                    take(Record { offset, next_offset, bytes, arrived_at: None, origin: Some(&line) });
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

impl Reader for Lines {
    fn poll(&mut self, partition: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
        let file = match self.open.get_mut(&partition) {
            Some(Input::File(file)) => file,
            Some(Input::Pipe(lines)) => return poll_pipe(lines, most, take),
            None => return Ok(Poll::Ended),
        };
        let mut count = 0;
        while count < most {
            match file.take_lines(most - count, take)? {
                Some(more) => count += more,
                None => break,
            }
        }
        Ok(if count > 0 { Poll::Read(count) } else { Poll::Ended })
    }

    fn add(&mut self, partition: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        let (path, record_bytes_max) = (partition.name.as_str(), self.record_bytes_max);
        let input = if path == "-" {
            let file = LineReader::of(std::io::stdin(), path, record_bytes_max);
            let (sender, lines) = crossbeam_channel::bounded((PIPE_BYTES / record_bytes_max).clamp(1, PIPE_LINES));
            std::thread::spawn(move || listen(file, &sender));
            Input::Pipe(lines)
        } else {
            Input::File(LineReader::open(path, offset.unwrap_or(0), record_bytes_max)?)
        };
        self.open.insert(partition.id, input);
        Ok(())
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

    /// A file of this text, and its only partition.
    fn opened(text: impl AsRef<[u8]>) -> (tempfile::NamedTempFile, Files, Partition) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let files = Files::open(file.path().to_str().unwrap(), LIMIT).unwrap();
        let partition = files.partitions().unwrap().remove(0);
        (file, files, partition)
    }

    #[test]
    fn a_file_read_from_an_offset_goes_on_where_it_stopped() {
        let (_file, files, partition) = opened("{\"a\":1}\r\n\n{\"b\":2}\n{\"c\":3}");
        let all = read(&mut *files.open(&[(partition.clone(), None)]).unwrap());
        assert_eq!(all.iter().map(|line| line.1.as_str()).collect::<Vec<_>>(), ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        let rest = read(&mut *files.open(&[(partition, Some(all[1].0))]).unwrap());
        assert_eq!(rest, all[1..]);
    }

    /// Failed once: it was told by its offset, which no editor shows.
    #[test]
    fn a_refused_line_is_told_by_its_number() {
        let (_file, files, partition) = opened("{\"a\":1}\r\n\n{\"b\":2}\n{\"c\":3}");
        let mut told = Vec::new();
        let mut tell = |record: Record<'_>| told.push(record.origin.unwrap().problem(record.offset, "empty", "it is wrong"));
        files.open(&[(partition.clone(), None)]).unwrap().poll(0, 9, &mut tell).unwrap();
        files.open(&[(partition, Some(10))]).unwrap().poll(0, 9, &mut tell).unwrap();
        assert_eq!(told, [1, 3, 4, 3, 4].map(|line| format!("line {line}: it is wrong")));
        let (sender, lines) = crossbeam_channel::unbounded();
        listen(LineReader::of(&b"{}\n\n{}"[..], "-", LIMIT), &sender);
        drop(sender);
        let mut told = Vec::new();
        poll_pipe(&lines, 9, &mut |record| told.push(record.origin.unwrap().problem(record.offset, "empty", "it is wrong"))).unwrap();
        assert_eq!(told, ["line 1: it is wrong", "line 3: it is wrong"]);
    }

    #[test]
    fn an_endless_line_takes_no_endless_memory() {
        let (_file, files, partition) = opened([vec![b'x'; 3 * BUFFER_BYTES], b"\n{}\n".to_vec()].concat());
        let lines = read(&mut *files.open(&[(partition, None)]).unwrap());
        assert_eq!((lines[0].1.len(), lines[1].1.as_str()), (LIMIT + 1, "{}"));
    }

    #[test]
    fn a_missing_file_or_a_folder_is_named() {
        assert!(Files::open("nowhere.jsonl", LIMIT).err().unwrap().to_string().contains("nowhere.jsonl"));
        assert!(Files::open(".", LIMIT).err().unwrap().to_string().contains("folder"));
    }
}
