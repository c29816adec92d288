//! The web server of a run: on a thread of its own, so that nothing it does keeps a worker waiting.

mod router;

use crate::run::Statistics;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Where a run listens unless it is told otherwise: this machine alone may ask.
pub const ADDRESS: &str = "127.0.0.1:8080";

/// Why a run cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not one, or not to be had.
    #[error("cannot listen at '{address}', which --listen says: {cause}; write HOST:PORT, such as 0.0.0.0:8080, that no other program has")]
    Address {
        /// What was asked for.
        address: String,
        /// The operating system's word.
        #[source]
        cause: std::io::Error,
    },
    /// The operating system gives no thread, or nothing to wait with.
    #[error("cannot start the server")]
    Start(#[source] std::io::Error),
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
/// An address that was asked for and is not to be had.
pub fn start(listen: Option<&str>, statistics: &Arc<Statistics>) -> Result<Option<Server>, ServeError> {
    let listener = match (listen, bind(listen.unwrap_or(ADDRESS))) {
        (_, Ok(listener)) => listener,
        (Some(address), Err(cause)) => return Err(ServeError::Address { address: address.into(), cause }),
        (None, Err(error)) => {
            tracing::warn!(%error, "cannot listen at {ADDRESS}, so nobody can ask this run how it is: choose another address with --listen, or --no-page");
            return Ok(None);
        }
    };
    let address = listener.local_addr().map_err(ServeError::Start)?;
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(ServeError::Start)?;
    let statistics = Arc::clone(statistics);
    let serve = move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(axum::serve(listener, router::router(statistics)).into_future())),
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
