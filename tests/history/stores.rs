//! Stores to test on: a SQLite file, and a database of its own on a PostgreSQL server.

use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidewatch::history::{History, open};

/// The URL of a server where databases may be created.
const SERVER: &str = "TIDEWATCH_TEST_POSTGRES";

const TABLES: [&str; 12] = [
    "series",
    "buckets",
    "anomalies",
    "server_metrics",
    "application_metrics",
    "sources",
    "progress",
    "calibration",
    "dead_letters",
    "census",
    "outcomes",
    "refusals",
];

/// A migrated history, and a way around it.
pub struct Store {
    pub kind: &'static str,
    pub history: Box<dyn History>,
    place: Place,
}

enum Place {
    Embedded(tempfile::TempDir),
    Postgres { server: String, database: String },
}

/// Runs a test on a fresh store of each kind.
pub fn on_each_store(test: impl Fn(&mut Store)) {
    test(&mut embedded_store());
    if let Some(mut store) = postgres_store() {
        test(&mut store);
    }
}

pub fn embedded_store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let mut history = open(&format!("embedded:{}", folder.path().join("history.db").display())).unwrap();
    history.migrate().unwrap();
    Store { kind: "embedded", history, place: Place::Embedded(folder) }
}

/// `None`, said aloud, where there is no server; a failure under `CI=true`.
pub fn postgres_store() -> Option<Store> {
    static SKIPPED: Once = Once::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var(SERVER) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{SERVER} must name a PostgreSQL server under CI=true");
        // Not `eprintln!`, which a passing test keeps to itself.
        let aloud = || writeln!(std::io::stderr(), "skipped: PostgreSQL, because {SERVER} names no server where databases may be created");
        SKIPPED.call_once(|| drop(aloud()));
        return None;
    };
    let database = format!("tidewatch_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    connect(&server).batch_execute(&format!("CREATE DATABASE {database}")).unwrap();
    let mut history = open(&url_of(&server, &database)).unwrap();
    history.migrate().unwrap();
    Some(Store { kind: "postgres", history, place: Place::Postgres { server, database } })
}

fn url_of(server: &str, database: &str) -> String {
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(database);
    url.to_string()
}

fn connect(url: &str) -> postgres::Client {
    postgres::Client::connect(url, postgres::NoTls).unwrap()
}

impl Store {
    /// Every row of every table as text, known times included.
    pub fn dump(&self) -> Vec<String> {
        TABLES.iter().flat_map(|table| self.rows(table)).collect()
    }

    fn rows(&self, table: &str) -> Vec<String> {
        match &self.place {
            Place::Embedded(folder) => {
                let connection = rusqlite::Connection::open(folder.path().join("history.db")).unwrap();
                let mut select = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2, 3")).unwrap();
                let columns = select.column_count();
                let row = |row: &rusqlite::Row<'_>| {
                    let values: Result<Vec<rusqlite::types::Value>, _> = (0..columns).map(|column| row.get(column)).collect();
                    Ok(format!("{table} {:?}", values?))
                };
                select.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
            }
            Place::Postgres { .. } => {
                let rows = self.client().query(&format!("SELECT t::text FROM {table} t ORDER BY 1"), &[]).unwrap();
                rows.iter().map(|row| format!("{table} {}", row.get::<_, String>(0))).collect()
            }
        }
    }

    /// Runs SQL from outside.
    pub fn execute(&self, sql: &str) {
        match &self.place {
            Place::Embedded(folder) => {
                rusqlite::Connection::open(folder.path().join("history.db")).unwrap().execute_batch(sql).unwrap();
            }
            Place::Postgres { .. } => self.client().batch_execute(sql).unwrap(),
        }
    }

    /// The same history, opened once more.
    pub fn again(&self) -> Box<dyn History> {
        match &self.place {
            Place::Embedded(folder) => open(&format!("embedded:{}", folder.path().join("history.db").display())).unwrap(),
            Place::Postgres { .. } => open(&self.url_with("")).unwrap(),
        }
    }

    /// Another connection to the PostgreSQL database.
    pub fn client(&self) -> postgres::Client {
        connect(&self.url_with(""))
    }

    /// The URL of the PostgreSQL database with more parameters.
    pub fn url_with(&self, parameters: &str) -> String {
        let Place::Postgres { server, database } = &self.place else { panic!("not a server") };
        let mut url = url::Url::parse(&url_of(server, database)).unwrap();
        if !parameters.is_empty() {
            let query = url.query().map(|query| format!("{query}&")).unwrap_or_default();
            url.set_query(Some(&format!("{query}{parameters}")));
        }
        url.to_string()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Place::Postgres { server, database } = &self.place {
            let dropped = connect(server).batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)"));
            if let Err(error) = dropped {
                eprintln!("database {database} is left behind: {error}");
            }
        }
    }
}

/// Ends the session that waits for a lock, as a crash of it would.
pub fn kill_waiting(mut client: postgres::Client) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'tidewatch'";
    for _ in 0..500 {
        if !client.query(sql, &[]).unwrap().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no commit ever waited for the lock");
}
