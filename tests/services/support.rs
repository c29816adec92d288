//! Addresses of services, a database per test, and the binary run from outside.

use dataflows::Verdict;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tidewatch::history;

/// The services that the tests of this folder need.
pub struct Services {
    pub kafka: String,
    pub postgres: String,
    pub redis: String,
}

/// The value of a variable. Where it is not set the test is skipped aloud, or fails when `CI=true`.
pub fn variable(name: &str, what: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} is not set: {what} is missing, and CI=true makes that a failure");
        eprintln!("skipped: {name} is not set ({what}); scripts/test sets it");
    }
    value
}

/// All three services, or `None` after saying what is missing.
pub fn services() -> Option<Services> {
    Some(Services {
        kafka: variable("TIDEWATCH_TEST_KAFKA", "the address of a Kafka broker")?,
        postgres: variable("TIDEWATCH_TEST_POSTGRES", "the URL of a PostgreSQL server")?,
        redis: variable("TIDEWATCH_TEST_REDIS", "the URL of a Redis server")?,
    })
}

/// The folder of the real series: `TIDEWATCH_DATA`, or beside the repository.
pub fn data() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if beside.join("nab.csv.gz").is_file() {
        return Some(beside);
    }
    variable("TIDEWATCH_DATA", "the folder of the real series").map(PathBuf::from)
}

/// A database of one test, dropped with it.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    pub fn create(server: &str, name: &str) -> Self {
        let name = format!("tidewatch_{name}_{}", std::process::id());
        let mut client = postgres::Client::connect(server, postgres::NoTls).unwrap();
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Self { server: server.into(), name }
    }

    pub fn url(&self) -> String {
        let mut url = url::Url::parse(&self.server).unwrap();
        url.set_path(&self.name);
        url.to_string()
    }

    /// The one number that a query gives.
    pub fn number(&self, query: &str) -> i64 {
        postgres::Client::connect(&self.url(), postgres::NoTls).unwrap().query_one(query, &[]).map_or(0, |row| row.get(0))
    }

    /// Runs statements that give nothing.
    pub fn run(&self, statements: &str) {
        postgres::Client::connect(&self.url(), postgres::NoTls).unwrap().batch_execute(statements).unwrap();
    }

    /// The one text that a query gives.
    pub fn text(&self, query: &str) -> String {
        postgres::Client::connect(&self.url(), postgres::NoTls)
            .unwrap()
            .query_one(query, &[])
            .map_or_else(|_| String::new(), |row| row.get(0))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let dropped = postgres::Client::connect(&self.server, postgres::NoTls)
            .and_then(|mut client| client.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
        if let Err(error) = dropped {
            eprintln!("{} stays behind: {error}", self.name);
        }
    }
}

/// The number of a Redis database that nobody else of this program uses.
pub fn redis_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An emptied database of the Redis server, of the one who asks alone. `scripts/services` makes enough of them.
pub fn redis_database(server: &str) -> String {
    let url = format!("{}/{}", server.trim_end_matches('/'), redis_number());
    let mut connection = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
    redis::cmd("FLUSHDB").exec(&mut connection).unwrap();
    url
}

/// Runs the binary to its end; what it printed must be a success.
pub fn tidewatch(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_tidewatch")).args(arguments).env("TIDEWATCH_NO_PAGE", "1").output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "tidewatch {arguments:?}\n{stdout}\n{stderr}");
    stdout
}

/// Writes two simulated hours, or another span, after some days of backfill into a topic of its own; the topic's address.
pub fn log_of(services: &Services, name: &str, live: &str, backfill: &str) -> String {
    let address = format!("kafka://{}/{name}-{}", services.kafka, std::process::id());
    let pinned =
        ["--preset", "dev", "--seed", "7", "--start", "2026-01-19T00:00:00Z", "--speed", "max", "--for", live, "--backfill", backfill];
    tidewatch(&[&["generate", "--to", &address], pinned.as_slice()].concat());
    address
}

/// All verdicts of a history, in order.
pub fn relation(url: &str) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    history::open(url).unwrap().verdicts(i64::MIN, i64::MAX, &mut |verdict| verdicts.push(verdict)).unwrap();
    verdicts.sort();
    verdicts
}

/// The binary at work. One that is let go is killed, so that a failing test leaves nothing behind.
pub struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    pub fn start(arguments: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        let child = command.args(arguments).stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, folder }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The exit code of a process that has ended; `None` after a signal, and while it runs.
    pub fn code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().and_then(|status| status.code())
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by its name: `STOP`.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// What stands on standard error so far.
    pub fn said(&self) -> String {
        self.read("stderr")
    }

    /// Waits until standard error holds `text`; `false` where the process ended without it, or takes a minute.
    pub fn says(&mut self, text: &str) -> bool {
        let since = Instant::now();
        while self.is_running() && !self.said().contains(text) && since.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.said().contains(text)
    }

    /// Waits for the end: exit code, standard output, standard error.
    pub fn finish(mut self) -> (Option<i32>, String, String) {
        let since = Instant::now();
        while self.is_running() {
            assert!(since.elapsed() < Duration::from_secs(120), "it hangs: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        (self.code(), self.read("stdout"), self.said())
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join(name)).unwrap()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
