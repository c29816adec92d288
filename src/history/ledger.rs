//! What a restart must know to decide on records as before, and what became of every record: one transaction with the progress they belong to.

use dataflows::{EntityId, MetricId, Time};
use serde::{Deserialize, Serialize};

/// The outcome of a record that counted.
pub const EVENT: &str = "event";

/// The time for which a partition knew a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// The partition's name.
    pub partition: String,
    /// The thing measured.
    pub entity: EntityId,
    /// What is measured of it.
    pub metric: MetricId,
    /// The offset of the record that brought it; with the fields above the natural key.
    pub since: i64,
    /// The first offset from which it was no longer known; `None`: it is known still.
    pub until: Option<i64>,
    /// The partition's event time when it was heard last, rounded down.
    pub last: Time,
}

/// How many records of a partition came to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The partition's name.
    pub partition: String,
    /// [`EVENT`], or the reason of a refusal; with `partition` the natural key.
    pub outcome: String,
    /// All records so far: a sum, so that storing it twice changes nothing.
    pub records: u64,
}

/// What a commit adds to the books.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Stays that began, went on or ended, in their order; of two with the same key the last one holds.
    pub stays: Vec<Stay>,
    /// Sums that grew; of two with the same key the last one holds.
    pub outcomes: Vec<Outcome>,
    /// Partitions and offsets of records that were refused by the clock, which a restart must not ask again.
    pub refusals: Vec<(String, i64)>,
}

/// A dead letter as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLetter {
    /// The identity of the source.
    pub source: String,
    /// The letter.
    pub letter: super::DeadLetter,
    /// When it was stored, by the wall clock.
    pub known_at: Time,
}

/// Which dead letters are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct LetterFilter {
    /// Only this reason; `None`: all.
    pub reason: Option<String>,
    /// Stored at or after this time.
    pub from: Time,
    /// Stored before this time.
    pub until: Time,
    /// At most so many, the newest.
    pub limit: u32,
}
