//! Where records come from: a log of partitions, each read in its own order.
//!
//! A source is chosen by the scheme of its URL: `simulate:PRESET`, `file:PATH` (`file:-` is standard input),
//! `kafka://HOST:PORT,…/TOPIC,…`. Every implementation is a log: the same partition read again from the same offset gives the same records.

pub mod decode;
pub mod decoder;
mod fields;
pub mod file;
mod filled;
pub mod kafka;
mod line_reader;
mod plain;
mod row;
mod rows;
pub mod simulate;
pub mod table;
mod template;
mod together;

use crate::secret::redacted;
use dataflows::Time;

/// One part of a log, read in order by one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number within the source, the same in every process.
    pub id: u32,
    /// Its name, under which progress is stored: `metrics/3`.
    pub name: String,
}

/// Bytes with a place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The place of this record; grows within a partition, not necessarily by one.
    pub offset: i64,
    /// Where to read on after this record: `offset + 1` for Kafka, the next byte for a file.
    pub next_offset: i64,
    /// One JSON event.
    pub bytes: &'a [u8],
    /// When the log took the record, in milliseconds since the epoch, where the log itself says so.
    pub arrived_at: Option<Time>,
    /// What it comes from, where that has more to say than its offset.
    pub origin: Option<&'a dyn Origin>,
}

/// What a record comes from, for whoever has to mend it; asked where it is refused.
pub trait Origin: std::fmt::Debug {
    /// What stands there, if not the record itself.
    fn text(&self) -> Option<Vec<u8>> {
        None
    }

    /// Where the record stands that begins at `offset` and, in the words of its origin, what is wrong with it that was refused for this `reason`; `detail`
    /// says it in the words of the record.
    fn problem(&self, offset: i64, reason: &str, detail: &str) -> String;
}

/// What a poll of a partition came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// This many records were handed over, at least one; there may be more.
    Read(usize),
    /// The end of what there is now was reached.
    Idle,
    /// Nothing came, but there may be something: the log is being fetched, or is away.
    Waiting,
    /// Nothing now or ever.
    Ended,
}

/// What a log has in common with another that a history knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// Nothing that could be known by their names.
    Stranger,
    /// All of the other is part of it.
    Successor,
    /// Some of it, and the other has what it has not.
    Overlapping,
}

/// A log that was found and can be read.
pub trait Source: Send + Sync {
    /// What progress is stored under; two URLs that mean one log give one identity.
    fn identity(&self) -> String;

    /// What it has in common with the log of another identity.
    fn kinship(&self, _identity: &str) -> Kinship {
        Kinship::Stranger
    }

    /// All partitions there are now, in the order of their ids.
    fn partitions(&self) -> Result<Vec<Partition>, SourceError>;

    /// Opens some partitions, each from an offset; `None` means its beginning.
    fn open(&self, partitions: &[(Partition, Option<i64>)]) -> Result<Box<dyn Reader>, SourceError>;

    /// Makes sure that `offset`, up to which the partition was read and committed, is a place of this log.
    ///
    /// # Errors
    /// A log that ends before it: another one by the same name.
    fn check(&self, _partition: &Partition, _offset: i64) -> Result<(), SourceError> {
        Ok(())
    }

    /// How a partition begins that could be replaced by another of the same name: how many bytes, at most so many, and their hash, parted by a colon.
    /// `None` where that is known otherwise, or cannot be looked at.
    fn beginning(&self, _partition: &Partition, _bytes: i64) -> Option<String> {
        None
    }

    /// Looks, now and then, whether its readers can still reach it, and helps those that cannot. It may take seconds.
    fn look_after_readers(&self) {}

    /// The clock that event times are compared with to find those in the future: the wall clock, or a simulated one.
    fn now(&self) -> Time;
}

/// One worker's share of a log. It stays on the thread that polls it.
pub trait Reader {
    /// Hands over up to `most` next records of a partition, without waiting.
    ///
    /// # Errors
    /// The place and the cause where the log cannot be read; polling again is allowed.
    fn poll(&mut self, partition: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError>;

    /// Why the log, or a part of it, cannot be reached just now; `None` while it can, and for a log that is not reached through a network. Polling
    /// goes on all the same: the log is back when it is back.
    fn absence(&self) -> Option<String> {
        None
    }

    /// Adds a partition that appeared after [`Source::open`].
    fn add(&mut self, partition: &Partition, offset: Option<i64>) -> Result<(), SourceError>;
}

/// Why a source cannot be found or read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL does not name a source.
    #[error("source '{url}': {problem}")]
    Url {
        /// The URL without its password and parameters.
        url: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// A file cannot be opened or read.
    #[error("source file '{path}': {cause}")]
    File {
        /// The path.
        path: String,
        /// The operating system's word.
        cause: std::io::Error,
    },
    /// A log that ends before what was read of it.
    #[error(
        "partition '{partition}' ends at {until}, but was read up to {from} before: it was cut or replaced; put it back, or watch it into another history"
    )]
    Shortened {
        /// Its name.
        partition: String,
        /// The place that was committed.
        from: i64,
        /// Where it ends now.
        until: i64,
    },
    /// A log that begins otherwise than what was read of it.
    #[error(
        "partition '{partition}' does not begin as it did when it was read before: it was replaced; put the old one back, or watch the new one under \
         another name or into another history"
    )]
    Replaced {
        /// Its name.
        partition: String,
    },
    /// Kafka cannot be reached or does not know the topic.
    #[error("kafka {place}: {problem}")]
    Kafka {
        /// Brokers, or topic and partition.
        place: String,
        /// The client library's word, and what to do.
        problem: String,
        /// Whether reading again later may help.
        transient: bool,
    },
}

impl SourceError {
    /// [`SourceError::Url`], without what may be a password in the URL.
    pub fn url(url: &str, problem: impl Into<String>) -> Self {
        Self::Url { url: redacted(url), problem: problem.into() }
    }

    /// Whether reading again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Kafka { transient: true, .. })
    }
}
