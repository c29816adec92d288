//! History in one SQLite file, for the run that needs no service.

mod ledger;
mod read;
mod rows;
mod write;

use super::statement::{Columns, Shape, Statement};
use super::{Anomaly, Batch, History, HistoryError, LetterFilter, Position, Series, StoredLetter, TrainingRow, migration, writer};
use crate::series::SeriesName;
use dataflows::{SeriesId, Time, Verdict};
use rusqlite::{Connection, ErrorCode};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process (the trainer, a notebook) that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a new file is set up where another process does the same, and the pause between two tries: it takes some ten milliseconds.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Statements kept prepared; there are fewer.
const STATEMENTS_MAX: usize = 64;

/// Page cache in KiB: the buckets of the last hours of some thousand series, which a late sample may change.
const CACHE_KIB: i64 = 65_536;

/// Pages in the log before they are moved into the file: 64 MiB. At the default of 4 MiB the pages of a backfill are moved and
/// synced many times: two million rows took 7.0 s of wall time instead of 3.5 s.
const CHECKPOINT_PAGES: i64 = 16_000;

/// A SQLite file.
pub(super) struct Embedded {
    connection: Connection,
    place: String,
    claimed: Option<Claim>,
}

/// The right to commit: a locked file beside the database, and the mark that each commit looks for.
struct Claim {
    writer: String,
    _lock: Option<File>,
}

/// What can go wrong in an operation: the library's error, or a row that makes no sense.
pub(super) enum Fault {
    /// SQLite's word.
    Client(rusqlite::Error),
    /// A sentence.
    Data(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Client(error)
    }
}

impl From<String> for Fault {
    fn from(sentence: String) -> Self {
        Self::Data(sentence)
    }
}

impl Embedded {
    /// Opens the file at `path`, creating it and the folders above it; `:memory:` is a history that ends with the process.
    pub fn open(path: &str) -> Result<Self, HistoryError> {
        let place = format!("embedded:{path}");
        let connect = |problem: String| HistoryError::Connect { place: place.clone(), problem };
        if path.is_empty() {
            let problem = "no path: write embedded:PATH, such as embedded:tidewatch.db".to_string();
            return Err(HistoryError::Url { url: place, problem });
        }
        let connection = if path == ":memory:" {
            Connection::open_in_memory()
        } else {
            prepare_place(Path::new(path)).map_err(connect)?;
            Connection::open(path)
        };
        let connection = connection.map_err(|error| connect(sentence(&error)))?;
        let mut attempts = 1;
        while let Err(error) = configure(&connection) {
            // Turning a new file's log on asks for a lock that SQLite does not wait for, whatever its timeout.
            if attempts == ATTEMPTS || error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
                return Err(connect(sentence(&error)));
            }
            attempts += 1;
            std::thread::sleep(PAUSE);
        }
        Ok(Self { connection, place, claimed: None })
    }

    /// Runs one operation and names it in its error.
    fn run<T>(&mut self, operation: &'static str, work: impl FnOnce(&mut Connection) -> Result<T, Fault>) -> Result<T, HistoryError> {
        work(&mut self.connection).map_err(|fault| {
            let (problem, transient) = match &fault {
                Fault::Client(error) => (sentence(error), is_transient(error)),
                Fault::Data(sentence) => (sentence.clone(), false),
            };
            HistoryError::Operation { place: self.place.clone(), operation, problem, transient }
        })
    }
}

/// Locks the file that stands for the right to commit; `None` while another process has it. The lock ends with the process, however it ends.
fn lock(place: &str) -> Result<Option<Option<File>>, Fault> {
    let path = place.trim_start_matches("embedded:");
    if path == ":memory:" {
        return Ok(Some(None));
    }
    let path = crate::embedded::lock(path);
    let fail = |error: std::io::Error| Fault::Data(format!("the lock file {} cannot be used: {error}", path.display()));
    let file = File::options().create(true).append(true).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Some(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// Creates the folders above a file.
fn prepare_place(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err(format!("it is a folder: name a file in it, such as {}", path.join("tidewatch.db").display()));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot create the folder {}: {error}: choose another path", folder.display())),
        _ => Ok(()),
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "wal")?;
    // NORMAL syncs at checkpoints only. After a power failure the last commits may be gone, but each is gone as a whole, with its
    // progress: the log is read again from the commit that remained. A killed process loses nothing. FULL would wait for the disk each time.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // Reads the first page: a file that is no database is found here rather than in the first commit.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// SQLite's word, and what to do.
fn sentence(error: &rusqlite::Error) -> String {
    let text = error.to_string();
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "choose another path; this file is left as it is",
        Some(ErrorCode::DatabaseCorrupt) => "restore it from a copy, or choose another path and read the log again",
        Some(ErrorCode::DiskFull) => {
            "free some space on its disk and start again: nothing of this commit was stored, and the log is read on from the last one"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "see whether its disk is full or failing and start again: the log is read on from the last commit"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "check that the file and its folder may be written, or choose another path"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds the file",
        _ if text.contains("no such table") || text.contains("no such column") => "run `tidewatch migrate` first",
        _ => return text,
    };
    format!("{text}: {advice}")
}

fn is_transient(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    // Not a full disk: it is no service that comes back, and whoever must make room is better told at once than kept waiting.
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

impl History for Embedded {
    fn migrate(&mut self) -> Result<Vec<String>, HistoryError> {
        let mut attempts = 1;
        loop {
            match migration::for_embedded().run(&mut self.connection) {
                Ok(report) => return Ok(migration::names(&report)),
                // Of two processes that start together on a new file, one finds the other's tables half-way. SQLite has no lock that lasts
                // longer than a transaction, and each migration is one: the next look finds what the other one has done.
                Err(_) if attempts < ATTEMPTS => std::thread::sleep(PAUSE),
                Err(error) => {
                    let (place, problem) = (self.place.clone(), migration::problem(&error));
                    return Err(HistoryError::Operation { place, operation: "migrating", problem, transient: false });
                }
            }
            attempts += 1;
        }
    }

    fn claim(&mut self, source: &str, bucket_width: Time) -> Result<bool, HistoryError> {
        if self.claimed.is_none() {
            let place = self.place.clone();
            let Some(lock) = self.run("claiming a source", |_| lock(&place))? else { return Ok(false) };
            self.claimed = Some(Claim { writer: writer(), _lock: lock });
        }
        let writer = self.claimed.as_ref().map(|claim| claim.writer.clone()).unwrap_or_default();
        self.run("claiming a source", |connection| write::claim(connection, source, bucket_width, &writer))?;
        Ok(true)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), HistoryError> {
        let writer = self.claimed.as_ref().map(|claim| claim.writer.clone());
        self.run("committing a batch", |connection| write::commit(connection, batch, writer.as_deref()))
    }

    fn position(&mut self, source: &str, since: Time) -> Result<Position, HistoryError> {
        self.run("reading the position", |connection| read::position(connection, source, since))
    }

    fn sources(&mut self) -> Result<Vec<String>, HistoryError> {
        self.run("reading the sources", |connection| read::sources(connection))
    }

    fn series(&mut self) -> Result<Vec<Series>, HistoryError> {
        self.run("reading the series", |connection| read::series(connection))
    }

    fn last_buckets(&mut self, from: Time, until: Time) -> Result<HashMap<SeriesId, Time>, HistoryError> {
        self.run("reading the last buckets", |connection| {
            let series = read::series(connection)?;
            read::last_buckets(connection, series.iter().map(|series| series.name.id()), from, until)
        })
    }

    fn training_rows(&mut self, series: &[SeriesId], from: Time, until: Time) -> Result<Vec<TrainingRow>, HistoryError> {
        self.run("reading training rows", |connection| read::training_rows(connection, series, from, until))
    }

    fn verdict(&mut self, series: &SeriesName, start: Time) -> Result<Option<Verdict>, HistoryError> {
        Ok(self.verdicts_of(series, start, start.saturating_add(1))?.pop())
    }

    fn verdicts_of(&mut self, series: &SeriesName, from: Time, until: Time) -> Result<Vec<Verdict>, HistoryError> {
        self.run("reading the verdicts of a series", |connection| read::verdicts_of(connection, series, from, until))
    }

    fn select(&mut self, query: &Statement, shapes: &[Shape]) -> Result<Vec<Columns>, HistoryError> {
        self.run("answering a query", |connection| read::select(connection, query, shapes))
    }

    fn execute(&mut self, statements: &[Statement]) -> Result<u64, HistoryError> {
        self.run("writing", |connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let touched = write::execute(&transaction, statements)?;
            transaction.commit()?;
            Ok(touched)
        })
    }

    fn verdicts(&mut self, from: Time, until: Time, take: &mut dyn FnMut(Verdict)) -> Result<(), HistoryError> {
        self.run("reading verdicts", |connection| read::verdicts(connection, from, until, take))
    }

    fn anomalies(&mut self, from: Time, until: Time) -> Result<Vec<Anomaly>, HistoryError> {
        self.run("reading anomalies", |connection| read::anomalies(connection, from, until))
    }

    fn outcomes(&mut self) -> Result<BTreeMap<String, u64>, HistoryError> {
        self.run("counting records", |connection| ledger::counts(connection))
    }

    fn letters(&mut self, filter: &LetterFilter) -> Result<Vec<StoredLetter>, HistoryError> {
        self.run("reading dead letters", |connection| ledger::letters(connection, filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_a_stranger_and_an_empty_path_are_refused_with_a_fix() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| Embedded::open(path.to_str().unwrap()).err().unwrap().to_string();
        assert!(refusal(folder.path()).contains("it is a folder: name a file in it"));
        let stranger = folder.path().join("letter.txt");
        std::fs::write(&stranger, "Dear sir or madam, this is certainly no database. ".repeat(100)).unwrap();
        let text = refusal(&stranger);
        assert!(text.contains("letter.txt") && text.contains("file is not a database") && text.contains("choose another path"), "{text}");
        assert!(refusal(&stranger.join("below.db")).contains("cannot create the folder"));
        assert!(refusal(Path::new("")).contains("write embedded:PATH"));
    }

    #[test]
    fn folders_above_the_file_are_created_and_tables_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/history.db");
        let mut history = Embedded::open(path.to_str().unwrap()).unwrap();
        assert!(history.series().unwrap_err().to_string().contains("run `tidewatch migrate` first"));
        assert_eq!(history.migrate().unwrap().first().map(String::as_str), Some("V1__tables"));
        assert_eq!(history.migrate().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_so_and_stores_nothing() {
        let mut history = Embedded::open(":memory:").unwrap();
        history.migrate().unwrap();
        history.connection.pragma_update(None, "max_page_count", 60).unwrap();
        let letters = (0..1000).map(|offset| super::super::DeadLetter {
            partition: "p".into(),
            offset,
            reason: "invalid_json".into(),
            detail: "x".into(),
            bytes: vec![0; 1024],
        });
        let batch = Batch { source: "s".into(), dead_letters: letters.collect(), ..Batch::default() };
        let error = history.commit(&batch).unwrap_err();
        assert!(matches!(error, HistoryError::Operation { transient: false, .. }));
        assert!(error.to_string().contains("free some space"), "{error}");
        let all = LetterFilter { reason: None, from: Time::MIN, until: Time::MAX, limit: 1 };
        assert_eq!(history.letters(&all).unwrap(), []);
    }
}
