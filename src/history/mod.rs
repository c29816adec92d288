//! What was seen and said, kept: buckets with their verdicts, anomalies, raw events, dead letters, and how far each partition was read.
//!
//! A history is chosen by the scheme of its URL: `embedded:PATH` (SQLite) or `postgres://…` (TimescaleDB where the extension
//! is there). Both run the same story of numbered migrations.

mod anomaly;
pub mod calibration;
pub mod course;
mod embedded;
pub mod incident;
pub mod label;
mod ledger;
mod migration;
pub mod minute;
pub mod outbox;
mod postgres;
mod raw;
pub mod rename;
mod row;
pub mod rubbish;
pub mod silence;
pub mod span;
pub mod stall;
pub mod statement;
pub mod track;
pub mod unsettled;
pub mod view;
mod wide;

use crate::series::SeriesName;
use dataflows::{Episode, EpisodeId, IncidentId, Policy, Provisional, SeriesId, Severity, Time, Track, Verdict, Watch};
use incident::{EntityPlacement, NamedIncident};
pub use ledger::{EVENT, Ledger, LetterFilter, Outcome, Stay, StoredLetter};
pub use raw::{RawEntity, RawEvent, RawEvents};
pub use row::place_of;
use serde::{Deserialize, Serialize};
use statement::{Columns, Shape, Statement};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
pub use wide::has_raw_table;

/// A series as history knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: SeriesName,
    /// Rack, zone and whatever else the kind calls a label.
    pub labels: BTreeMap<String, String>,
    /// The partition it was last seen in.
    pub partition: String,
}

/// A change of one bucket's verdict: what was stored, what is to be. At least one is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What an earlier commit may have stored; `None` where nothing was. Hardly ever there is one, and without it a change is half as large.
    pub old: Option<Box<Verdict>>,
    /// What holds now; `None` where the bucket no longer exists.
    pub new: Option<Verdict>,
}

impl Change {
    /// What holds now, or else what was stored.
    pub fn latest(&self) -> Option<&Verdict> {
        self.new.as_ref().or(self.old.as_deref())
    }

    /// When the bucket starts.
    pub fn start(&self) -> Option<Time> {
        self.latest().map(|verdict| verdict.bucket.start)
    }
}

/// A record that was refused, kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The partition's name.
    pub partition: String,
    /// The record's offset; with `partition` the natural key.
    pub offset: i64,
    /// One word: `invalid_json`, `too_late`, `future`, …
    pub reason: String,
    /// A sentence for a person.
    pub detail: String,
    /// The first 1 KiB of the record.
    pub bytes: Vec<u8>,
}

/// How far a partition was read, and where reading must start again to rebuild the buckets that may still change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The partition's name.
    pub partition: String,
    /// The first offset that was not part of the commit.
    pub next_offset: i64,
    /// The first offset whose record may belong to a bucket that can still change; at most `next_offset`.
    pub replay_offset: i64,
    /// The largest event time (ms) that had moved the partition's watermark before `replay_offset`; `i64::MIN` at the beginning.
    pub replay_time: Time,
    /// How it began, where it could be replaced by another of the same name ([`crate::source::Source::beginning`]).
    pub beginning: Option<String>,
}

impl Progress {
    /// How many bytes [`Progress::beginning`] is of; 0 where there is none.
    pub fn beginning_bytes(&self) -> i64 {
        self.beginning.as_deref().map_or(0, Self::bytes_of)
    }

    /// How many bytes a beginning is of.
    pub fn bytes_of(beginning: &str) -> i64 {
        beginning.split_once(':').and_then(|(bytes, _)| bytes.parse().ok()).unwrap_or(0)
    }
}

/// Everything that one commit makes true, all or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The identity of the source ([`crate::source::Source::identity`]).
    pub source: String,
    /// The width of the buckets, in milliseconds.
    pub bucket_width: Time,
    /// Severities follow from it.
    pub policy: Policy,
    /// Series seen for the first time since the process started, or with new labels. Every verdict's series was in this or an earlier batch.
    pub series: Vec<Series>,
    /// Where entities stand, as far as that is news.
    pub placements: Vec<EntityPlacement>,
    /// At most one per series and bucket; by their [`place_of`], which is quicker.
    pub changes: Vec<Change>,
    /// Open buckets that look anomalous.
    pub provisionals: Vec<Provisional>,
    /// Open buckets that looked anomalous and no longer do, or no longer speak for their entity, and which of the two.
    pub provisionals_withdrawn: Vec<(Provisional, String)>,
    /// Episodes that are new or changed, each with the incident it belongs to.
    pub episodes: Vec<(Episode, IncidentId)>,
    /// Episodes that no longer hold.
    pub episodes_withdrawn: Vec<EpisodeId>,
    /// Incidents that are new or changed.
    pub incidents: Vec<NamedIncident>,
    /// Incidents that no longer hold, and why.
    pub incidents_withdrawn: Vec<incident::Withdrawn>,
    /// Who is to be told of incidents.
    pub subscriptions: Vec<outbox::Subscription>,
    /// The states of series that a restart goes on from.
    pub tracks: BTreeMap<SeriesId, Track>,
    /// How the promises of models were kept on a day, by its beginning, as far as buckets of it can change no more.
    pub calibration: BTreeMap<(Time, SeriesId), Watch>,
    /// Raw events, empty with `--no-raw`.
    pub raw: Vec<RawEvents>,
    /// Refused records.
    pub dead_letters: Vec<DeadLetter>,
    /// At most one per partition.
    pub progress: Vec<Progress>,
    /// Buckets that end at or before `horizon - lateness` change no more; `None`: unchanged since the last commit.
    pub horizon: Option<Time>,
    /// Buckets that start before this change no more, whatever a later run allows; `None`: unchanged since the last commit.
    pub settled: Option<Time>,
    /// Who is known, and what became of the records.
    pub ledger: Ledger,
}

/// Where a source stood at the last commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// By partition name.
    pub progress: Vec<Progress>,
    /// The last committed [`Batch::horizon`].
    pub horizon: Option<Time>,
    /// Offsets at or after a partition's `replay_offset` whose records were refused for lying in the future, by partition name.
    pub refused: BTreeMap<String, BTreeSet<i64>>,
    /// The last bucket in which a series had samples, for the series that had some at or after the `since` asked for.
    pub last_seen: Vec<(Series, Time)>,
    /// The series that each partition knows, and those that left it at or after its `replay_offset`.
    pub stays: Vec<Stay>,
    /// What became of the records so far.
    pub outcomes: Vec<Outcome>,
}

impl Position {
    /// How far a partition was read; `None` for one that was not read yet.
    pub fn of(&self, partition: &str) -> Option<&Progress> {
        self.progress.iter().find(|progress| progress.partition == partition)
    }
}

/// One bucket as the trainer reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingRow {
    /// The series.
    pub series: SeriesId,
    /// The start of the bucket.
    pub start: Time,
    /// Mean of its samples.
    pub mean: f64,
    /// Whether the verdict was anomalous, silenced or not: such a bucket is masked in training.
    pub anomalous: bool,
}

/// An anomaly as it is stored: one per anomalous bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// The series.
    pub name: SeriesName,
    /// The start of the bucket.
    pub start: Time,
    /// How loud.
    pub severity: Severity,
    /// 0..1, monotonic in |z|.
    pub anomaly_score: f64,
    /// The bucket's mean.
    pub actual_value: f64,
    /// Trend + seasonal.
    pub expected_value: f64,
    /// Residual / sigma.
    pub z_score: f64,
    /// `provisional` while its bucket is open, then `open`, or `withdrawn` once a revision took the anomaly back.
    pub status: String,
    /// Why it was withdrawn, for a person.
    pub withdrawn_reason: Option<String>,
}

/// Takes the training rows of a group of series, ordered by series and start, and says whether to go on.
pub type TakeRows<'a> = dyn FnMut(Vec<TrainingRow>) -> ControlFlow<()> + 'a;

/// A store of verdicts. One connection, used by one thread.
pub trait History: Send {
    /// Brings the schema up to date and names the migrations that were applied.
    fn migrate(&mut self) -> Result<Vec<String>, HistoryError>;

    /// Takes the sole right to commit for `source`, for as long as this connection's process lives; `false` while another has it. A process that
    /// has lost the right, since another one took over, finds every further commit refused.
    fn claim(&mut self, source: &str, bucket_width: Time) -> Result<bool, HistoryError>;

    /// Says that the process which has claimed a source is still there. Where the store can tell, a process that has said so or committed once, and then
    /// is not heard of for five seconds, has lost the right to commit to the next one that asks: it may be frozen, or cut off.
    ///
    /// # Errors
    /// Another process has the right now, or the store is away.
    fn stay(&mut self) -> Result<(), HistoryError> {
        Ok(())
    }

    /// Says that nothing is to be heard for a while, and that this means nothing.
    ///
    /// # Errors
    /// The store is away.
    fn rest(&mut self) -> Result<(), HistoryError> {
        Ok(())
    }

    /// Applies one batch in one transaction. Applying the same batch again changes nothing.
    fn commit(&mut self, batch: &Batch) -> Result<(), HistoryError>;

    /// Where `source` stood at the last commit; `last_seen` covers the series that this source was the last to bring and that have
    /// samples at or after `since`.
    fn position(&mut self, source: &str, since: Time) -> Result<Position, HistoryError>;

    /// The identities of the sources that progress is known of, in order.
    fn sources(&mut self) -> Result<Vec<String>, HistoryError>;

    /// All series, ordered by name.
    fn series(&mut self) -> Result<Vec<Series>, HistoryError>;

    /// The start of the last bucket with samples of every series that has one in `[from, until)`.
    fn last_buckets(&mut self, from: Time, until: Time) -> Result<HashMap<SeriesId, Time>, HistoryError>;

    /// The buckets with samples of some series that start in `[from, until)`, ordered by series and start.
    fn training_rows(&mut self, series: &[SeriesId], from: Time, until: Time) -> Result<Vec<TrainingRow>, HistoryError>;

    /// Hands over the training rows of groups of series, group by group in their order, until it is told to break off. A store may read several groups at
    /// once, but no more than fit into some hundred megabytes.
    fn training_groups(&mut self, groups: &[Vec<SeriesId>], from: Time, until: Time, take: &mut TakeRows<'_>) -> Result<(), HistoryError> {
        for group in groups {
            if take(self.training_rows(group, from, until)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The verdict on one bucket; `None` where there is no such bucket.
    fn verdict(&mut self, series: &SeriesName, start: Time) -> Result<Option<Verdict>, HistoryError>;

    /// Hands over every verdict on buckets that start in `[from, until)`, in any order.
    fn verdicts(&mut self, from: Time, until: Time, take: &mut dyn FnMut(Verdict)) -> Result<(), HistoryError>;

    /// The anomalies in `[from, until)`, withdrawn ones included, ordered by start, then series.
    fn anomalies(&mut self, from: Time, until: Time) -> Result<Vec<Anomaly>, HistoryError>;

    /// The verdicts on the buckets of a series that start in `[from, until)`, in order.
    fn verdicts_of(&mut self, series: &SeriesName, from: Time, until: Time) -> Result<Vec<Verdict>, HistoryError>;

    /// The rows that a query answers with, their columns as `shapes` says.
    fn select(&mut self, query: &Statement, shapes: &[Shape]) -> Result<Vec<Columns>, HistoryError>;

    /// Runs statements in one transaction; the number of rows that the last one touched.
    fn execute(&mut self, statements: &[Statement]) -> Result<u64, HistoryError>;

    /// The number of records by what became of them: [`EVENT`], or the reason of a refusal.
    fn outcomes(&mut self) -> Result<BTreeMap<String, u64>, HistoryError>;

    /// The number of refused records by reason, of which not all need be kept.
    fn dead_letters(&mut self) -> Result<BTreeMap<String, u64>, HistoryError> {
        let mut outcomes = self.outcomes()?;
        outcomes.remove(EVENT);
        Ok(outcomes)
    }

    /// Dead letters, the newest first.
    fn letters(&mut self, filter: &LetterFilter) -> Result<Vec<StoredLetter>, HistoryError>;
}

/// Opens a history by its URL. An embedded one is created where there is none; its tables appear with [`History::migrate`].
///
/// A `postgres://` URL takes the parameters of libpq that its client knows, and `sslmode=disable|prefer|require|verify-ca|verify-full`
/// (`prefer` where none is given), `sslrootcert=FILE` (the system's certificates where none is given) and `schema=NAME`.
///
/// # Errors
/// [`HistoryError::Url`] for a URL that names no history, [`HistoryError::Connect`] for one that cannot be reached or opened.
pub fn open(url: &str) -> Result<Box<dyn History>, HistoryError> {
    match url.split_once(':') {
        Some(("embedded", path)) => Ok(Box::new(embedded::Embedded::open(path)?)),
        Some(("postgres" | "postgresql", _)) => Ok(Box::new(postgres::Postgres::open(url)?)),
        Some((scheme, _)) => Err(HistoryError::Url {
            url: format!("{scheme}:…"), // what follows may hold a password in a form that only its own scheme knows
            problem: format!("'{scheme}' is not a history: {SCHEMES}"),
        }),
        None => Err(HistoryError::Url { url: url.to_string(), problem: format!("no scheme: {SCHEMES}") }),
    }
}

const SCHEMES: &str = "write embedded:PATH (a SQLite file) or postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// What a process that lost its claim is told.
const FENCED: &str = "another process has taken over this source; this one stops, and nothing it still held is stored";

/// A mark of this process that no other has: host processes are told apart by number and moment.
fn writer() -> String {
    format!("{}-{}", std::process::id(), crate::instant::now())
}

/// Why a history cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The URL does not name a history.
    #[error("history '{url}': {problem}")]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The store cannot be reached or opened.
    #[error("history {place}: cannot connect: {problem}")]
    Connect {
        /// The address or path, without a password.
        place: String,
        /// The client library's word, and what to do.
        problem: String,
    },
    /// An operation failed; nothing of it was stored.
    #[error("history {place}: {operation} failed: {problem}")]
    Operation {
        /// The address or path, without a password.
        place: String,
        /// What was being done, and to which table.
        operation: &'static str,
        /// The client library's word.
        problem: String,
        /// Whether trying again later may help: the connection broke, the store is busy.
        transient: bool,
    },
}
