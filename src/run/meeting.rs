//! How the processes of one run find one another: their connections are made here, and handed to timely.
//!
//! Timely can connect by itself, but then it prints on standard output, waits without an end, and takes whoever connects for a process of
//! the run. Here each connection begins with a word about what the process was given, and nobody goes on before process 0 calls: by then it
//! holds the right to commit, so that what the others read of history from there on is the last word of whoever had that right before.
//!
//! ```text
//! process 1 ── magic, purpose, 1 ──► process 0      a process connects to those with smaller numbers
//!           ◄── welcome | stranger ──
//!           ◄────── call ───────────                once everybody is there; timely's messages follow
//! ```

use socket2::{SockRef, TcpKeepalive};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use timely::CommunicationConfig;
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::{CommsGuard, initialize_networking_from_sockets};
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

/// What a process of Tidewatch says first; anybody else may connect to an open port.
const MAGIC: u64 = u64::from_be_bytes(*b"tidewtch");
const WELCOME: u8 = b'w';
const STRANGER: u8 = b's';
const CALL: u8 = b'c';

/// How often the processes look for one another.
const LOOK: Duration = Duration::from_millis(50);
/// The longest that one look at another process may take.
const ANSWER: Duration = Duration::from_secs(2);
/// After so long a wait it is said who is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// An address that somebody else holds may be that of this process' predecessor, which is about to end.
const PREDECESSOR: Duration = Duration::from_secs(10);
/// A host that is gone without a word is given up after so long; by default the operating system tries for a quarter of an hour.
const SILENCE: Duration = Duration::from_secs(15);

/// Why the processes did not come together.
#[derive(Debug, thiserror::Error)]
pub enum MeetingError {
    /// The address of this process cannot be used.
    #[error("cannot listen at '{address}', the address of process {process}: {cause}; correct the host file, or end what holds it")]
    Listen {
        /// What the host file says.
        address: String,
        /// The number of this process.
        process: usize,
        /// The operating system's word.
        cause: std::io::Error,
    },
    /// The other process was given something else.
    #[error(
        "process {process} at '{address}' is of another run, of another release, or was given other flags: give all of them the same, and start all of them again"
    )]
    Stranger {
        /// The number of the other one.
        process: usize,
        /// Where it is.
        address: String,
    },
    /// The connections could not be handed to timely.
    #[error("cannot use the connections to the other processes: {0}")]
    Sockets(#[from] std::io::Error),
}

/// The workers of this process, and the threads that join them to the others.
pub type Joined = (Vec<AllocatorBuilder>, Option<CommsGuard>);

/// Brings the processes of a run together, and gives what timely's workers are made of; `None` if the run was to stop before all were there.
///
/// `purpose` is what all of them must have been given alike.
///
/// # Errors
/// See [`MeetingError`].
pub fn join(config: &CommunicationConfig, purpose: u64, stop: &AtomicBool) -> Result<Option<Joined>, MeetingError> {
    let CommunicationConfig::Cluster { threads, process, addresses, .. } = config else {
        let (builders, _) = config.clone().try_build().map_err(std::io::Error::other)?;
        return Ok(Some((builders, None)));
    };
    let mut meeting = Meeting::open(*process, addresses, purpose, stop)?;
    if !meeting.meet(stop)? {
        return Ok(None);
    }
    let hooks = Hooks::default();
    let workers = ProcessBuilder::new_typed_vector(*threads, hooks.refill.clone(), hooks.spill.clone());
    let (builders, guard) = initialize_networking_from_sockets(workers, meeting.peers, *process, *threads, hooks)?;
    Ok(Some((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Some(guard))))
}

/// The processes as far as they have come together.
struct Meeting<'a> {
    process: usize,
    addresses: &'a [String],
    purpose: u64,
    listener: TcpListener,
    peers: Vec<Option<TcpStream>>,
    /// Whether process 0 has called.
    called: bool,
}

impl<'a> Meeting<'a> {
    fn open(process: usize, addresses: &'a [String], purpose: u64, stop: &AtomicBool) -> Result<Self, MeetingError> {
        let since = Instant::now();
        let listener = loop {
            match TcpListener::bind(&addresses[process]) {
                Ok(listener) => break listener,
                Err(cause) if cause.kind() == ErrorKind::AddrInUse && since.elapsed() < PREDECESSOR && !stop.load(Ordering::Relaxed) => {
                    std::thread::sleep(LOOK);
                }
                Err(cause) => return Err(MeetingError::Listen { address: addresses[process].clone(), process, cause }),
            }
        };
        listener.set_nonblocking(true)?;
        Ok(Self { process, addresses, purpose, listener, peers: addresses.iter().map(|_| None).collect(), called: process == 0 })
    }

    /// Waits until everybody is there and process 0 has called; `false` if the run is to stop before that.
    fn meet(&mut self, stop: &AtomicBool) -> Result<bool, MeetingError> {
        let (since, mut told) = (Instant::now(), false);
        loop {
            if stop.load(Ordering::Relaxed) {
                tracing::info!("stopped while waiting for the other processes");
                return Ok(false);
            }
            self.accept();
            for lower in 0..self.process {
                if self.peers[lower].is_none() {
                    self.peers[lower] = self.connect(lower)?;
                }
            }
            self.let_go_of_the_lost();
            if self.missing().is_none() && self.called {
                if self.call() {
                    return Ok(true);
                }
                continue;
            }
            if since.elapsed() > PATIENCE && !std::mem::replace(&mut told, true) {
                let (process, what) = self.missing().map_or((0, "its call"), |process| (process, "it"));
                tracing::info!(process, address = %self.addresses[process], "waiting for {what}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The first process that is not there yet.
    fn missing(&self) -> Option<usize> {
        (0..self.peers.len()).find(|place| *place != self.process && self.peers[*place].is_none())
    }

    /// Connects to a process with a smaller number; `None` where nobody answers yet.
    fn connect(&self, process: usize) -> Result<Option<TcpStream>, MeetingError> {
        let address = &self.addresses[process];
        let Some(found) = address.to_socket_addrs().ok().and_then(|mut found| found.next()) else { return Ok(None) };
        let greet = || -> std::io::Result<(TcpStream, u8)> {
            let mut stream = TcpStream::connect_timeout(&found, ANSWER)?;
            settle(&stream)?;
            stream.write_all(&hello(self.purpose, self.process))?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            Ok((stream, answer[0]))
        };
        match greet() {
            Ok((stream, WELCOME)) => Ok(Some(stream)),
            Ok((_, STRANGER)) => Err(MeetingError::Stranger { process, address: address.clone() }),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Takes in those with larger numbers. A process that comes again has been started again; whoever else comes is let go.
    fn accept(&mut self) {
        while let Ok((mut stream, from)) = self.listener.accept() {
            let mut word = [0; 24];
            let heard = stream.set_nonblocking(false).and_then(|()| settle(&stream)).and_then(|()| stream.read_exact(&mut word));
            let number = |place: usize| u64::from_be_bytes(word[8 * place..8 * (place + 1)].try_into().expect("eight bytes"));
            if heard.is_err() || number(0) != MAGIC {
                tracing::debug!(%from, "somebody connected who is no process of a run");
                continue;
            }
            let place = usize::try_from(number(2)).unwrap_or(usize::MAX);
            if number(1) != self.purpose || place <= self.process || place >= self.peers.len() {
                tracing::warn!(%from, process = place, "a process of another run, or with other flags, was sent away");
                let _ = stream.write_all(&[STRANGER]);
            } else if stream.write_all(&[WELCOME]).is_ok() {
                self.peers[place] = Some(stream);
            }
        }
    }

    /// Forgets connections whose other end is gone, and hears whether process 0 calls.
    fn let_go_of_the_lost(&mut self) {
        for place in 0..self.peers.len() {
            let Some(stream) = &mut self.peers[place] else { continue };
            let mut byte = [0];
            let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
            let heard = stream.set_nonblocking(false).and(looked);
            let lost = match &heard {
                Ok(0) => true,
                Ok(_) => false,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if lost {
                self.peers[place] = None;
                self.called &= place != 0;
            } else if place == 0 && heard.is_ok() && !self.called {
                self.called = stream.read_exact(&mut byte).is_ok() && byte[0] == CALL;
            }
        }
    }

    /// Process 0 calls the others, and timely gets connections that wait as long as it takes; `false` where one was lost.
    fn call(&mut self) -> bool {
        let first = self.process == 0;
        let ready = |stream: &mut TcpStream| {
            let call = if first { stream.write_all(&[CALL]) } else { Ok(()) };
            call.and_then(|()| stream.set_read_timeout(None)).and_then(|()| stream.set_write_timeout(None))
        };
        self.peers.iter_mut().flatten().all(|stream| ready(stream).is_ok())
    }
}

fn hello(purpose: u64, process: usize) -> Vec<u8> {
    [MAGIC, purpose, process as u64].iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Small messages at once, short waits while the processes meet, and an end to waiting for a host that is gone.
fn settle(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE / 3).with_interval(SILENCE / 3).with_retries(2))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn addresses(count: usize) -> Vec<String> {
        let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
    }

    /// The connections of a process, which a running one keeps; none if it was stopped before all were there.
    type Met = Result<Option<Vec<Option<TcpStream>>>, MeetingError>;

    fn meet(process: usize, addresses: &[String], purpose: u64, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Met> {
        let (addresses, stop) = (addresses.to_vec(), Arc::clone(stop));
        std::thread::spawn(move || {
            let mut meeting = Meeting::open(process, &addresses, purpose, &stop)?;
            Ok(meeting.meet(&stop)?.then_some(meeting.peers))
        })
    }

    #[test]
    fn three_processes_meet_in_any_order_though_somebody_else_calls() {
        let (addresses, stop) = (addresses(3), Arc::default());
        let last = meet(2, &addresses, 7, &stop);
        let first = meet(0, &addresses, 7, &stop);
        let mut somebody = loop {
            if let Ok(stream) = TcpStream::connect(&addresses[0]) {
                break stream;
            }
        };
        somebody.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let middle = meet(1, &addresses, 7, &stop);
        let met = [first, middle, last].map(|process| process.join().unwrap().unwrap().unwrap());
        assert!(met.iter().all(|peers| peers.iter().flatten().count() == 2));
    }

    #[test]
    fn a_process_that_was_given_something_else_is_told_so() {
        let (addresses, stop) = (addresses(2), Arc::default());
        let first = meet(0, &addresses, 7, &stop);
        let error = meet(1, &addresses, 8, &stop).join().unwrap().unwrap_err();
        assert!(matches!(error, MeetingError::Stranger { process: 0, .. }), "{error}");
        // The right one is still welcome.
        let second = meet(1, &addresses, 7, &stop);
        assert!(first.join().unwrap().unwrap().is_some() && second.join().unwrap().unwrap().is_some());
    }

    #[test]
    fn one_that_came_and_went_is_waited_for_again_and_a_stop_ends_the_waiting() {
        let (addresses, stop) = (addresses(3), Arc::default());
        let (first, gone) = (meet(0, &addresses, 7, &stop), Arc::new(AtomicBool::new(false)));
        let second = meet(1, &addresses, 7, &gone);
        std::thread::sleep(4 * LOOK);
        gone.store(true, Ordering::Relaxed);
        assert!(second.join().unwrap().unwrap().is_none());
        let third = meet(2, &addresses, 7, &stop);
        std::thread::sleep(4 * LOOK);
        assert!(!first.is_finished() && !third.is_finished(), "the second is not there");
        stop.store(true, Ordering::Relaxed);
        assert!(first.join().unwrap().unwrap().is_none() && third.join().unwrap().unwrap().is_none());
    }
}
