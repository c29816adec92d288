//! Models in an SQLite file, the history's or one of their own: the same keys and documents as in Redis, in one table.

use super::store::{self, CHUNK_MODELS, GENERATION, NEWEST, PREVIOUS, Stored};
use super::{Models, ModelsError, Trained};
use crate::series::SeriesName;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use std::path::Path;
use std::time::Duration;

/// How long a write waits for another writer of the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a new file is set up where another process does the same, and the pause between two tries: it takes some ten milliseconds.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// The table is created by whoever comes first; it belongs to no migration because the file may hold nothing else.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS model_documents (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID";

/// A store of models in one file.
pub(super) struct Embedded {
    place: String,
    connection: Connection,
}

impl Embedded {
    /// Opens the file; it and the folders above it are created if they are not there.
    pub(super) fn open(path: &str) -> Result<Self, ModelsError> {
        let failed = |problem: String| ModelsError::Connect { place: path.into(), problem };
        if Path::new(path).is_dir() {
            return Err(failed("it is a folder; name an SQLite file in it".into()));
        }
        if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let problem = |error| failed(format!("cannot create the folder {}: {error}; choose another path", folder.display()));
            std::fs::create_dir_all(folder).map_err(problem)?;
        }
        let connection =
            Connection::open(path).map_err(|error| failed(format!("{error}; is its folder there, and may it be written to?")))?;
        let prepare = || {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute(SCHEMA, [])
        };
        let mut attempts = 1;
        while let Err(error) = prepare() {
            // Turning a new file's log on asks for a lock that SQLite does not wait for, whatever its timeout.
            if attempts == ATTEMPTS || error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
                return Err(failed(format!("{error}; is it an SQLite file?")));
            }
            attempts += 1;
            std::thread::sleep(PAUSE);
        }
        Ok(Self { place: path.into(), connection })
    }

    fn failed(&self, operation: &'static str) -> impl Fn(rusqlite::Error) -> ModelsError + use<> {
        let place = self.place.clone();
        move |error| {
            let busy = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
            let transient = error.sqlite_error_code().is_some_and(|code| busy.contains(&code));
            ModelsError::Operation { place: place.clone(), operation, problem: error.to_string(), transient }
        }
    }
}

impl Models for Embedded {
    fn generation(&mut self) -> Result<u64, ModelsError> {
        let text = get(&self.connection, GENERATION).map_err(self.failed("reading models:generation"))?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    fn load(&mut self) -> Result<(Vec<Trained>, Vec<String>), ModelsError> {
        let mut loaded = store::Loaded::default();
        documents(&self.connection, &mut |key, text| loaded.add(key, text)).map_err(self.failed("reading model_documents"))?;
        Ok(loaded.finish())
    }

    fn put(&mut self, models: &[Trained]) -> Result<(), ModelsError> {
        let failed = self.failed("writing model_documents");
        // All that is put at once in one transaction, and not all of a push: a run that commits to the same file waits for it.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        for chunk in models.chunks(CHUNK_MODELS) {
            for trained in chunk {
                let document = store::document(&self.place, trained)?;
                push(&transaction, trained, document).map_err(&failed)?;
            }
        }
        transaction.commit().map_err(&failed)
    }

    fn complete(&mut self) -> Result<u64, ModelsError> {
        let failed = self.failed("writing models:generation");
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let generation = next_generation(&transaction).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(generation)
    }

    fn get(&mut self, series: &SeriesName) -> Result<Option<Trained>, ModelsError> {
        let (key, _) = store::keys(series);
        let text = get(&self.connection, &key).map_err(self.failed("reading a model"))?;
        let read = |text: String| {
            store::read(&key, &text).map_err(|problem| ModelsError::Document { place: self.place.clone(), key: key.clone(), problem })
        };
        text.map(read).transpose()
    }
}

fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT document FROM model_documents WHERE key = ?1")?;
    statement.query_row([key], |row| row.get(0)).optional()
}

fn set(connection: &Connection, key: &str, document: Option<&str>) -> rusqlite::Result<usize> {
    match document {
        Some(document) => connection
            .prepare_cached("INSERT INTO model_documents VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET document = excluded.document")?
            .execute(params![key, document]),
        None => connection.prepare_cached("DELETE FROM model_documents WHERE key = ?1")?.execute([key]),
    }
}

/// Stores one model and, where it is newer, keeps the one that was there as the previous one.
fn push(connection: &Connection, trained: &Trained, document: String) -> rusqlite::Result<()> {
    let (newest, previous) = store::keys(&trained.series);
    let stored = Stored { newest: get(connection, &newest)?, previous: get(connection, &previous)? };
    let stored = stored.push(document, &trained.model);
    set(connection, &newest, stored.newest.as_deref())?;
    set(connection, &previous, stored.previous.as_deref())?;
    Ok(())
}

fn next_generation(connection: &Connection) -> rusqlite::Result<u64> {
    let generation = get(connection, GENERATION)?.and_then(|text| text.parse().ok()).unwrap_or(0_u64) + 1;
    set(connection, GENERATION, Some(&generation.to_string()))?;
    Ok(generation)
}

fn documents(connection: &Connection, take: &mut dyn FnMut(&str, &str)) -> rusqlite::Result<()> {
    // ':' is followed by ';' in ASCII: these are the keys that begin with the prefix.
    let sql = "SELECT key, document FROM model_documents WHERE key >= ?1 AND key < replace(?1, ':', ';')";
    let mut statement = connection.prepare_cached(sql)?;
    for prefix in [NEWEST, PREVIOUS] {
        let mut rows = statement.query([prefix])?;
        while let Some(row) = rows.next()? {
            take(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        }
    }
    Ok(())
}
