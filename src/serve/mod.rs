//! The web server of a run: on a thread of its own, so that nothing it does keeps a worker waiting.

mod curve;
mod desk;
mod guard;
mod incidents;
mod metrics;
mod overview;
mod page;
mod pulse;
mod router;
mod silences;

use crate::history::{History, TrainingRow};
use crate::instant;
use crate::models::Trained;
use crate::run::Statistics;
use crate::series::SeriesName;
use dataflows::{Limits, Policy, Time};
use desk::Desk;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};

/// Where a run listens unless it is told otherwise: this machine alone may ask.
pub const ADDRESS: &str = "127.0.0.1:8080";

/// The variable that holds the token of those who may change something, where no file does.
const TOKEN: &str = "TIDEWATCH_TOKEN";

/// Why a run cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not one, or not to be had.
    #[error("cannot listen at '{address}', which --listen says; write HOST:PORT, such as 127.0.0.1:8081, that no other program has")]
    Address {
        /// What was asked for.
        address: String,
        /// The operating system's word.
        #[source]
        cause: std::io::Error,
    },
    /// The token cannot be had.
    #[error("the token file {place}, which --token-file names, {problem}")]
    Token {
        /// The file.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system gives no thread, or nothing to wait with.
    #[error("cannot start the server")]
    Start(#[source] std::io::Error),
}

impl ServeError {
    /// Whether the address is somebody else's just now.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Address { cause, .. } if cause.kind() == std::io::ErrorKind::AddrInUse)
    }
}

/// The arithmetic behind a verdict in words: of a series, the start and the width of a bucket, what makes an anomaly, and the newest model.
pub type Explain = fn(&mut dyn History, &SeriesName, Time, Time, &Limits, Option<&Trained>) -> anyhow::Result<Option<String>>;

/// Trend and seasonal part, by the start of the bucket, of a series' rows before a time, and of buckets of a width.
pub type TakeApart = fn(&[TrainingRow], Time, Time) -> BTreeMap<Time, [f64; 2]>;

/// What the server shows.
pub struct Shown<'a> {
    /// How the run goes.
    pub statistics: &'a Arc<Statistics>,
    /// The history that the run writes, opened a second time to be read.
    pub history: &'a str,
    /// The models that it scores with.
    pub models: &'a str,
    /// What makes an anomaly.
    pub policy: Policy,
    /// The width of a bucket, in milliseconds.
    pub bucket_width: Time,
    /// A file with the token of those who may change something.
    pub token_file: Option<&'a Path>,
    /// How a verdict is explained.
    pub explain: Explain,
    /// How a series is taken apart.
    pub take_apart: TakeApart,
}

/// What every answer is made from.
struct Site {
    statistics: Arc<Statistics>,
    rates: pulse::Rates,
    desk: Desk,
    policy: Policy,
    width: Time,
    explain: Explain,
    take_apart: TakeApart,
    is_loopback: bool,
    token: Option<String>,
    listeners: Arc<Semaphore>,
}

impl Site {
    fn new(shown: Shown, is_loopback: bool) -> Result<Self, ServeError> {
        Ok(Self {
            statistics: Arc::clone(shown.statistics),
            rates: pulse::Rates::default(),
            desk: Desk::open(shown.history, shown.models).map_err(ServeError::Start)?,
            policy: shown.policy,
            width: shown.bucket_width.max(1),
            explain: shown.explain,
            take_apart: shown.take_apart,
            is_loopback,
            token: token(shown.token_file)?,
            listeners: pulse::listeners(),
        })
    }

    /// How far the run has come in event time; the wall clock before it has come anywhere.
    fn now(&self) -> Time {
        self.statistics.horizon().unwrap_or_else(instant::now)
    }
}

/// The token in a file or, without one, in the environment.
fn token(file: Option<&Path>) -> Result<Option<String>, ServeError> {
    let Some(path) = file else { return Ok(std::env::var(TOKEN).ok().filter(|token| !token.is_empty())) };
    let fail = |problem: String| ServeError::Token { place: path.display().to_string(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(fail("is empty".into())),
        token => Ok(Some(token.into())),
    }
}

/// A server under way. It ends when it is let go, whoever is being answered.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the server at `listen` or, where nobody asked for an address, at [`ADDRESS`]; `None` if that one is taken: many runs may share a
/// machine, and none of them needs to be asked.
///
/// # Errors
/// An address that was asked for and is not to be had; a token file that cannot be read.
pub fn start(listen: Option<&str>, shown: Shown) -> Result<Option<Server>, ServeError> {
    let listener = match (listen, bind(listen.unwrap_or(ADDRESS))) {
        (_, Ok(listener)) => listener,
        (Some(address), Err(cause)) => return Err(ServeError::Address { address: address.into(), cause }),
        (None, Err(error)) => {
            tracing::warn!(%error, "cannot listen at {ADDRESS}, so nobody can ask this run how it is: choose another address with --listen, or --no-page");
            return Ok(None);
        }
    };
    let address = listener.local_addr().map_err(ServeError::Start)?;
    let site = Arc::new(Site::new(shown, address.ip().is_loopback())?);
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(ServeError::Start)?;
    let serve = move || {
        runtime.block_on(async {
            drop(tokio::spawn(pulse::count(Arc::clone(&site))));
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(axum::serve(listener, router::router(site)).into_future())),
                Err(error) => tracing::warn!(%error, "the server has ended"),
            }
            let _ = stopped.await;
        });
    };
    let thread = std::thread::Builder::new().name("serve".into()).spawn(serve).map_err(ServeError::Start)?;
    tracing::info!("listening at http://{address}");
    Ok(Some(Server { stop: Some(stop), thread: Some(thread) }))
}

/// A listener that tokio can take.
fn bind(address: &str) -> std::io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A site that nobody can read anything from but how the run goes.
    pub fn site(is_loopback: bool, token: Option<&str>) -> Site {
        let shown = Shown {
            statistics: &Arc::default(),
            history: "embedded:nowhere.db",
            models: "embedded:nowhere.db",
            policy: Policy::default(),
            bucket_width: 300_000,
            token_file: None,
            explain: |_, _, _, _, _, _| Ok(None),
            take_apart: |_, _, _| BTreeMap::new(),
        };
        Site { token: token.map(Into::into), ..Site::new(shown, is_loopback).unwrap() }
    }

    #[test]
    fn a_token_file_that_is_empty_or_absent_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(token(Some(&path)).unwrap_err().to_string().contains("which --token-file names, cannot be read"));
        std::fs::write(&path, "\n").unwrap();
        assert!(token(Some(&path)).unwrap_err().to_string().contains("is empty"));
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(token(Some(&path)).unwrap().as_deref(), Some("secret"));
    }
}
