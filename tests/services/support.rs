//! Addresses of services, a database per test, and the binary run from outside.

use std::path::PathBuf;
use std::process::{Command, Output};

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

/// A numbered, emptied database of the Redis server.
pub fn redis_database(server: &str, number: u8) -> String {
    let url = format!("{}/{number}", server.trim_end_matches('/'));
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
