//! Models in Redis. The only file that knows the redis crate.

use super::address::Address;
use super::store::{self, CHUNK_MODELS, GENERATION, NEWEST, PREVIOUS, Stored};
use super::{Models, ModelsError, Trained};
use crate::secret::redacted;
use crate::series::SeriesName;
use ::redis::{Client, Connection, FromRedisValue, Pipeline, RedisError, TlsCertificates, cmd, pipe};
use crossbeam_channel::{Receiver, bounded};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long to wait for a connection: two of these and a detector's poll is late, not lost.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for the greetings after that, TLS included.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for an answer. A chunk of 300 models takes milliseconds; this is for a server that hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Keys that the server looks at per step of a SCAN.
const SCAN_COUNT: usize = 1000;

/// A store of models on a Redis server. After a broken connection the next call makes a new one.
pub(super) struct Redis {
    place: String,
    client: Client,
    connection: Option<Connection>,
    /// A connection that is still being made.
    attempt: Option<Receiver<Result<Connection, RedisError>>>,
}

impl Redis {
    /// Connects to `redis://…` or, with TLS, `rediss://…`.
    pub(super) fn open(url: &str) -> Result<Self, ModelsError> {
        let place = redacted(url);
        let wrong = |problem: String| ModelsError::Url { url: place.clone(), problem };
        let address = Address::parse(url).map_err(wrong)?;
        let client = match address.roots {
            Some(roots) => Client::build_with_tls(address.url, TlsCertificates { client_tls: None, root_cert: Some(roots) }),
            None => Client::open(address.url),
        };
        let client = client.map_err(|error| wrong(format!("{error}; write redis://HOST:PORT/DB")))?;
        let mut redis = Self { place, client, connection: None, attempt: None };
        redis.connect()?;
        Ok(redis)
    }

    fn connect(&mut self) -> Result<Connection, ModelsError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let refuse = |problem: String| ModelsError::Connect { place: self.place.clone(), problem };
        // The client's own timeout ends where the greetings begin: with a server that takes a connection and says nothing, it waits for ever.
        // So it waits on a thread, and there is one such thread at most.
        let attempt = self.attempt.take().unwrap_or_else(|| attempt(self.client.clone()));
        match attempt.recv_timeout(GREETING_TIMEOUT) {
            Ok(outcome) => outcome.map_err(|error| refuse(format!("{error}; {}", advice(&error)))),
            Err(_) => {
                let problem =
                    "it takes the connection and does not answer; is it Redis, and does it speak TLS exactly where the URL says rediss://?";
                let error = refuse(problem.into());
                self.attempt = Some(attempt);
                Err(error)
            }
        }
    }

    /// Runs one operation; its connection is kept unless it broke.
    fn run<T>(&mut self, operation: &'static str, body: impl FnOnce(&mut Connection) -> Result<T, RedisError>) -> Result<T, ModelsError> {
        let mut connection = self.connect()?;
        let result = body(&mut connection);
        if result.as_ref().err().is_none_or(|error| !error.is_unrecoverable_error() && !error.is_timeout()) {
            self.connection = Some(connection);
        }
        result.map_err(|error| ModelsError::Operation {
            place: self.place.clone(),
            operation,
            problem: error.to_string(),
            transient: transient(&error),
        })
    }
}

/// Begins to make a connection.
fn attempt(client: Client) -> Receiver<Result<Connection, RedisError>> {
    let (sender, receiver) = bounded(1);
    std::thread::spawn(move || {
        let connect = || {
            let connection = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
            connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(connection)
        };
        let _ = sender.send(connect());
    });
    receiver
}

/// What to do where there is no connection.
fn advice(error: &RedisError) -> &'static str {
    let text = error.to_string();
    if text.contains("certificate") || text.contains("SSL") {
        "check sslrootcert and the host's name, and that the port speaks TLS"
    } else {
        "is Redis running there, and are user and password right?"
    }
}

/// Whether the server may answer another time: it is away, loading, or changing its master.
fn transient(error: &RedisError) -> bool {
    let codes = ["LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "OOM"];
    error.is_io_error() || error.is_timeout() || error.is_connection_dropped() || error.code().is_some_and(|code| codes.contains(&code))
}

impl Models for Redis {
    fn generation(&mut self) -> Result<u64, ModelsError> {
        let generation: Option<u64> = self.run("GET models:generation", |redis| cmd("GET").arg(GENERATION).query(redis))?;
        Ok(generation.unwrap_or(0))
    }

    fn load(&mut self) -> Result<(Vec<Trained>, Vec<String>), ModelsError> {
        self.run("SCAN and MGET of models", |redis| {
            let mut loaded = store::Loaded::default();
            for prefix in [NEWEST, PREVIOUS] {
                let keys: Vec<String> = scan(redis, prefix)?.into_iter().collect();
                for chunk in keys.chunks(CHUNK_MODELS) {
                    let texts: Vec<Option<String>> = get_all(redis, chunk)?;
                    for (key, text) in chunk.iter().zip(texts) {
                        text.iter().for_each(|text| loaded.add(key, text));
                    }
                }
            }
            Ok(loaded.finish())
        })
    }

    fn put(&mut self, models: &[Trained]) -> Result<(), ModelsError> {
        let place = self.place.clone();
        for chunk in models.chunks(CHUNK_MODELS) {
            let documents: Vec<String> = chunk.iter().map(|trained| store::document(&place, trained)).collect::<Result<_, _>>()?;
            self.run("SET of models", |redis| push(redis, chunk, documents))?;
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<u64, ModelsError> {
        // Only a push that got this far counts: a detector never mistakes half a push for news.
        self.run("INCR models:generation", |redis| cmd("INCR").arg(GENERATION).query(redis))
    }

    fn get(&mut self, series: &SeriesName) -> Result<Option<Trained>, ModelsError> {
        let (key, _) = store::keys(series);
        let text: Option<String> = self.run("GET of a model", |redis| cmd("GET").arg(&key).query(redis))?;
        let place = self.place.clone();
        let read = |text: String| store::read(&key, &text).map_err(|problem| ModelsError::Document { place, key: key.clone(), problem });
        text.map(read).transpose()
    }
}

/// The keys that begin with `prefix`. SCAN may name a key twice, hence the set.
fn scan(redis: &mut Connection, prefix: &str) -> Result<BTreeSet<String>, RedisError> {
    let mut keys = BTreeSet::new();
    let mut cursor = 0_u64;
    loop {
        let mut step = cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(SCAN_COUNT);
        let (next, found): (u64, Vec<String>) = step.query(redis)?;
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            return Ok(keys);
        }
    }
}

fn get_all<T: FromRedisValue>(redis: &mut Connection, keys: &[String]) -> Result<Vec<Option<T>>, RedisError> {
    cmd("MGET").arg(keys).query(redis)
}

/// Writes one chunk in one MULTI/EXEC: of a chunk a reader sees all or nothing, and no series is without a model in between.
fn push(redis: &mut Connection, models: &[Trained], documents: Vec<String>) -> Result<(), RedisError> {
    let (newest, previous): (Vec<String>, Vec<String>) = models.iter().map(|trained| store::keys(&trained.series)).unzip();
    let stored: Vec<Option<String>> = get_all(redis, &newest)?;
    let before: Vec<Option<String>> = get_all(redis, &previous)?;
    let mut transaction = pipe();
    transaction.atomic();
    for (i, ((document, newest_text), previous_text)) in documents.into_iter().zip(stored).zip(before).enumerate() {
        let was = Stored { newest: newest_text, previous: previous_text };
        let unchanged = was.previous.clone();
        let is = was.push(document, &models[i].model);
        set(&mut transaction, &newest[i], is.newest.as_deref());
        if is.previous != unchanged {
            set(&mut transaction, &previous[i], is.previous.as_deref());
        }
    }
    transaction.query(redis)
}

/// Without a time to live: a model that is old is a warning, never a hole.
fn set(transaction: &mut Pipeline, key: &str, document: Option<&str>) {
    match document {
        Some(document) => transaction.cmd("SET").arg(key).arg(document).ignore(),
        None => transaction.cmd("DEL").arg(key).ignore(),
    };
}
