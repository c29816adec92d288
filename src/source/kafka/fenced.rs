//! A broker that is fenced for a while, as one of KRaft is at its start and its end: it answers, names its topics, and no broker, itself included.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A question of Kafka's protocol, and the first version whose lengths are of any size.
const METADATA: (i16, i16) = (3, 9);
/// The length of a frame, and the number that an answer begins with.
const LENGTH_BYTES: usize = 4;

/// Stands before a broker, and changes what it says of the cluster.
pub(super) struct Fence {
    /// Where clients find it.
    pub(super) address: String,
    port: u16,
    is_up: AtomicBool,
}

impl Fence {
    /// Before the broker at this address.
    pub(super) fn before(broker: &str) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let fence = Arc::new(Self { address, port, is_up: AtomicBool::new(false) });
        let (shared, broker) = (Arc::clone(&fence), broker.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let broker = TcpStream::connect(&broker).unwrap();
                let asked = Arc::new(Mutex::new(HashMap::new()));
                let (fence, heard) = (Arc::clone(&shared), Arc::clone(&asked));
                let (mut questions, mut answers) = (client.try_clone().unwrap(), client);
                let (mut onward, mut back) = (broker.try_clone().unwrap(), broker);
                std::thread::spawn(move || {
                    let _ = pass(&mut questions, &mut onward, |frame| {
                        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
                        if number(0) == METADATA.0 {
                            asked.lock().unwrap().insert(frame[4..8].to_vec(), number(2));
                        }
                    });
                });
                std::thread::spawn(move || {
                    let _ = pass(&mut back, &mut answers, |frame| {
                        if let Some(version) = heard.lock().unwrap().remove(&frame[..LENGTH_BYTES]) {
                            assert!(version >= METADATA.1, "another form of the answer: version {version}");
                            fence.change(frame);
                        }
                    });
                });
            }
        });
        fence
    }

    /// Lets no broker be named for so long.
    pub(super) fn stand(&self, time: Duration) {
        self.is_up.store(true, Ordering::SeqCst);
        std::thread::sleep(time);
        self.is_up.store(false, Ordering::SeqCst);
    }

    /// The number of the answer, tags, how long to wait, and the brokers: number, host, port, rack, tags.
    fn change(&self, frame: &mut Vec<u8>) {
        let begin = 2 * LENGTH_BYTES + 1;
        let mut at = begin + 1;
        for _ in 1..frame[begin] {
            at += LENGTH_BYTES;
            at += usize::from(frame[at]).max(1);
            frame[at..at + LENGTH_BYTES].copy_from_slice(&u32::from(self.port).to_be_bytes());
            at += LENGTH_BYTES;
            at += usize::from(frame[at]).max(1) + 1;
        }
        if self.is_up.load(Ordering::SeqCst) {
            frame.splice(begin..at, [1]);
        }
    }
}

/// Passes frames on until one side ends.
fn pass(from: &mut TcpStream, to: &mut TcpStream, mut change: impl FnMut(&mut Vec<u8>)) -> io::Result<()> {
    let mut one = || {
        let mut length = [0; LENGTH_BYTES];
        from.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut frame)?;
        change(&mut frame);
        to.write_all(&(u32::try_from(frame.len()).unwrap()).to_be_bytes())?;
        to.write_all(&frame)
    };
    let ended = loop {
        if let Err(error) = one() {
            break error;
        }
    };
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    Err(ended)
}
