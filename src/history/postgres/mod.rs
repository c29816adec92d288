//! History in PostgreSQL, with or without TimescaleDB.

mod address;
mod copy;
mod ledger;
mod raw;
mod read;
mod training;
mod write;

use super::statement::{self, Columns, Shape};
use super::{
    Anomaly, Batch, FENCED, History, HistoryError, LetterFilter, Position, Series, StoredLetter, TakeRows, TrainingRow, migration, writer,
};
use crate::series::SeriesName;
use address::{Address, Refusal};
use dataflows::{SeriesId, Time, Verdict};
use postgres::error::SqlState;
use postgres::{GenericClient, Statement};
use std::collections::{BTreeMap, HashMap};

/// Held while migrating: two processes that start together must not both create the tables. An arbitrary number.
const MIGRATION_LOCK: i64 = 0x7469_6465_7761_7463;

/// The server ends the session of a claimed source that is silent for so long, and with it the lock: the process may be frozen. Servers before
/// release 14 know no such limit; there a frozen process must be killed before another takes over.
const SILENCE: &str = "5s";

/// What is asked for here is a stretch of each series by its key. Compiling that takes longer than it saves (of the page's six hours of heat map 196 ms of
/// 306), and where a page out of order counts four times one in order, a day of 2000 series is looked for in all that there is (3.2 s instead of 0.3 s).
const PLANNING: &str = "SET jit = off; SET random_page_cost = 1.1";

/// A server. A connection that broke is opened again by the next operation.
pub(super) struct Postgres {
    address: Address,
    session: Option<Session>,
    claimed: Option<Claim>,
}

/// The right to commit for a source: a lock of the session, and the mark that each commit looks for.
struct Claim {
    source: String,
    writer: String,
}

/// A connection and what was prepared on it.
struct Session {
    client: postgres::Client,
    statements: Statements,
    /// Whether the staging tables are there.
    staged: bool,
    /// The source whose lock this session holds.
    locked: Option<String>,
    /// Whether the server was asked to end the session when it is silent.
    watched: bool,
}

/// Statements by their text, prepared once per connection.
#[derive(Default)]
struct Statements(HashMap<String, Statement>);

impl Statements {
    fn get(&mut self, client: &mut impl GenericClient, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.0.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql)?;
        self.0.insert(sql.to_string(), statement.clone());
        Ok(statement)
    }
}

/// What can go wrong in an operation: the library's error, or a row that makes no sense.
enum Fault {
    /// The server's or the network's word.
    Client(postgres::Error),
    /// The network's word in the middle of a COPY.
    Stream(std::io::Error),
    /// A sentence.
    Data(String),
    /// A sentence about what will pass.
    Busy(&'static str),
}

impl Fault {
    /// The server's word, where it is one.
    fn server(&self) -> Option<&postgres::Error> {
        match self {
            Self::Client(error) => Some(error),
            Self::Stream(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
            _ => None,
        }
    }

    /// Whether the server refuses what it was told, and would again.
    fn is_refusal(&self) -> bool {
        self.server().is_some_and(|error| error.code().is_some() && !is_transient(error))
    }
}

impl From<postgres::Error> for Fault {
    fn from(error: postgres::Error) -> Self {
        Self::Client(error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Stream(error)
    }
}

impl From<String> for Fault {
    fn from(sentence: String) -> Self {
        Self::Data(sentence)
    }
}

impl Postgres {
    /// Connects to the server that a URL names.
    pub fn open(url: &str) -> Result<Self, HistoryError> {
        let mut history = Self { address: Address::parse(url)?, session: None, claimed: None };
        let problem = match history.connect() {
            Ok(_) => return Ok(history),
            Err(Refusal::Trust(sentence)) => sentence,
            Err(Refusal::Server(error)) => sentence(&error),
        };
        Err(HistoryError::Connect { place: history.address.place, problem })
    }

    fn connect(&mut self) -> Result<&mut Session, Refusal> {
        // A session whose connection is known to be closed is not worth a failed operation.
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => {
                let mut client = self.address.connect()?;
                client.batch_execute(PLANNING).map_err(Refusal::Server)?;
                Session { client, statements: Statements::default(), staged: false, locked: None, watched: false }
            }
        };
        Ok(self.session.insert(session))
    }

    /// Runs one operation, connecting first where there is no connection, and names it in its error.
    fn run<T>(&mut self, operation: &'static str, work: impl FnOnce(&mut Session) -> Result<T, Fault>) -> Result<T, HistoryError> {
        let place = self.address.place.clone();
        let fail = |problem, transient| HistoryError::Operation { place, operation, problem, transient };
        let session = match self.connect() {
            Ok(session) => session,
            Err(Refusal::Trust(sentence)) => return Err(fail(sentence, false)),
            Err(Refusal::Server(error)) => return Err(fail(sentence(&error), is_transient(&error))),
        };
        let fault = match work(session) {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        let broken = session.client.is_closed();
        let (problem, transient) = match &fault {
            Fault::Client(error) => (sentence(error), broken || is_transient(error)),
            Fault::Stream(error) => {
                let server = fault.server();
                (server.map_or_else(|| error.to_string(), sentence), broken || server.is_none_or(is_transient))
            }
            Fault::Data(sentence) => (sentence.clone(), false),
            Fault::Busy(sentence) => ((*sentence).to_string(), true),
        };
        if transient {
            self.session = None;
        }
        Err(fail(problem, transient))
    }
}

/// The server's word, and what to do.
fn sentence(error: &postgres::Error) -> String {
    let text = migration::with_causes(error);
    let advice = match error.code() {
        Some(code) if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::UNDEFINED_COLUMN => "run `tidewatch migrate` first",
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "create it, or name another database",
        Some(code) if *code == SqlState::INVALID_PASSWORD => "check user and password",
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => "grant it, or connect as the owner",
        Some(code) if *code == SqlState::DISK_FULL => "free some space; nothing of this was stored",
        None if text.contains("server does not support TLS") => "sslmode asks for TLS: turn it on at the server, or choose sslmode=prefer",
        None if text.contains("certificate verify failed") => "check sslrootcert and the host's name, or choose sslmode=require",
        None if text.contains("error connecting") => "check that the server runs and the address is right",
        _ => return text,
    };
    format!("{text}: {advice}")
}

/// Whether trying again later may help: everything that is not the server's considered refusal.
fn is_transient(error: &postgres::Error) -> bool {
    let Some(code) = error.code() else {
        // The network's word; but a certificate does not become right by waiting.
        let text = migration::with_causes(error);
        return error.is_closed() || (is_network(error) || text.contains("timeout")) && !text.contains("TLS");
    };
    // Classes: connection, transaction rollback, insufficient resources, operator intervention; and a lock that was not to be had.
    ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class)) || *code == SqlState::LOCK_NOT_AVAILABLE
}

/// Whether the operating system had a hand in an error.
fn is_network(error: &postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Takes the lock that stands for the right to commit; `false` while another session has it. It ends with the session.
fn lock(session: &mut Session, source: &str) -> Result<bool, Fault> {
    if session.locked.as_deref() != Some(source) {
        // A host that died must not keep the lock for the two hours after which the system asks by default.
        session.client.batch_execute("SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 2")?;
        let sql = "SELECT pg_try_advisory_lock(hashtextextended('tidewatch ' || $1, 0))";
        if !session.client.query_one(sql, &[&source])?.try_get(0)? {
            return Ok(false);
        }
        // One that goes on by another name is not waited for by its old one.
        if let Some(earlier) = session.locked.replace(source.into()) {
            session.client.query_one("SELECT pg_advisory_unlock(hashtextextended('tidewatch ' || $1, 0))", &[&earlier])?;
        }
    }
    Ok(true)
}

/// Makes sure that the right to commit is held, taking it again where the last session was lost.
fn hold(session: &mut Session, claim: &Claim) -> Result<(), Fault> {
    if lock(session, &claim.source)? {
        return Ok(());
    }
    // The server may not have noticed yet that our own last session is gone; or somebody else has come.
    if write::holder(session, &claim.source)? == claim.writer {
        return Err(Fault::Busy("another session may commit for this source"));
    }
    Err(FENCED.to_string().into())
}

/// Asks the server to end this session when it is silent, or not to.
fn watch(session: &mut Session, watched: bool) -> Result<(), Fault> {
    if session.watched != watched {
        session.watched = watched;
        let value = if watched { SILENCE } else { "0" };
        // The process may stand still inside a transaction as well as between two.
        session.client.batch_execute(&format!("SET idle_in_transaction_session_timeout = '{value}'"))?;
        match session.client.batch_execute(&format!("SET idle_session_timeout = '{value}'")) {
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

fn migrate(session: &mut Session, schema: Option<&str>) -> Result<Vec<String>, Fault> {
    let client = &mut session.client;
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])?;
    if let Some(schema) = schema {
        client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"))?;
    }
    let outcome = migration::for_postgres().run(client);
    client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK])?;
    Ok(migration::names(&outcome.map_err(|error| migration::problem(&error))?))
}

impl History for Postgres {
    fn migrate(&mut self) -> Result<Vec<String>, HistoryError> {
        let schema = self.address.schema.clone();
        self.run("migrating", |session| migrate(session, schema.as_deref()))
    }

    fn claim(&mut self, source: &str, bucket_width: Time) -> Result<bool, HistoryError> {
        if !self.run("claiming a source", |session| lock(session, source))? {
            return Ok(false);
        }
        let writer = self.claimed.take().map_or_else(writer, |claim| claim.writer);
        self.run("claiming a source", |session| write::claim(session, source, bucket_width, &writer))?;
        self.claimed = Some(Claim { source: source.into(), writer });
        Ok(true)
    }

    fn stay(&mut self) -> Result<(), HistoryError> {
        let Some(claim) = self.claimed.take() else { return Ok(()) };
        let outcome = self.run("keeping the right to commit", |session| {
            hold(session, &claim)?;
            watch(session, true)?;
            Ok(session.client.batch_execute("")?)
        });
        self.claimed = Some(claim);
        outcome
    }

    fn rest(&mut self) -> Result<(), HistoryError> {
        self.run("keeping the right to commit", |session| watch(session, false))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), HistoryError> {
        let claim = self.claimed.take();
        let outcome = self.run("committing a batch", |session| {
            if let Some(claim) = &claim {
                hold(session, claim)?;
                watch(session, true)?;
            }
            write::commit(session, batch, claim.as_ref().map(|claim| claim.writer.as_str()))
        });
        self.claimed = claim;
        outcome
    }

    fn position(&mut self, source: &str, since: Time) -> Result<Position, HistoryError> {
        self.run("reading the position", |session| read::position(session, source, since))
    }

    fn sources(&mut self) -> Result<Vec<String>, HistoryError> {
        self.run("reading the sources", read::sources)
    }

    fn series(&mut self) -> Result<Vec<Series>, HistoryError> {
        self.run("reading the series", read::series)
    }

    fn last_buckets(&mut self, from: Time, until: Time) -> Result<HashMap<SeriesId, Time>, HistoryError> {
        self.run("reading the last buckets", |session| read::last_buckets(session, from, until))
    }

    fn training_rows(&mut self, series: &[SeriesId], from: Time, until: Time) -> Result<Vec<TrainingRow>, HistoryError> {
        let held = self.run("reading training rows", |session| training::read(session, series.iter().copied(), from, until));
        Ok(held?.take(series))
    }

    fn training_groups(&mut self, groups: &[Vec<SeriesId>], from: Time, until: Time, take: &mut TakeRows<'_>) -> Result<(), HistoryError> {
        let at_once = self.run("reading training rows", |session| training::groups_at_once(session, groups, from, until))?;
        for groups in groups.chunks(at_once) {
            let series = groups.iter().flatten().copied();
            let mut held = self.run("reading training rows", |session| training::read(session, series, from, until))?;
            if groups.iter().try_for_each(|group| take(held.take(group))).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn verdict(&mut self, series: &SeriesName, start: Time) -> Result<Option<Verdict>, HistoryError> {
        Ok(self.verdicts_of(series, start, start.saturating_add(1))?.pop())
    }

    fn verdicts_of(&mut self, series: &SeriesName, from: Time, until: Time) -> Result<Vec<Verdict>, HistoryError> {
        self.run("reading the verdicts of a series", |session| read::verdicts_of(session, series, from, until))
    }

    fn select(&mut self, query: &statement::Statement, shapes: &[Shape]) -> Result<Vec<Columns>, HistoryError> {
        self.run("answering a query", |session| read::select(session, query, shapes))
    }

    fn execute(&mut self, statements: &[statement::Statement]) -> Result<u64, HistoryError> {
        self.run("writing", |session| write::execute_alone(session, statements))
    }

    fn verdicts(&mut self, from: Time, until: Time, take: &mut dyn FnMut(Verdict)) -> Result<(), HistoryError> {
        self.run("reading verdicts", |session| read::verdicts(session, from, until, take))
    }

    fn anomalies(&mut self, from: Time, until: Time) -> Result<Vec<Anomaly>, HistoryError> {
        self.run("reading anomalies", |session| read::anomalies(session, from, until))
    }

    fn outcomes(&mut self) -> Result<BTreeMap<String, u64>, HistoryError> {
        self.run("counting records", ledger::counts)
    }

    fn letters(&mut self, filter: &LetterFilter) -> Result<Vec<StoredLetter>, HistoryError> {
        self.run("reading dead letters", |session| ledger::letters(session, filter))
    }
}
