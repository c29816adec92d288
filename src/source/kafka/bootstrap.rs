//! The addresses that a client began with, for one that knows no broker any more.
//!
//! librdkafka goes by what a broker says of its cluster, also where that is topics and no broker at all, as a broker of KRaft says while it is fenced, at
//! its start and at its end: the client lets go of every broker, those of `bootstrap.servers` too. It then begins anew, but not if the same thread goes
//! on to stop what was to begin (issues 5301 and 5606 of `confluentinc/librdkafka`, 2.10 and later), and is deaf for good without a word about it.
//!
//! # Why this is sound
//!
//! * The client is there for as long as it is borrowed, and so is the text, which ends in a NUL. The library copies what it keeps of it.
//! * `rd_kafka_brokers_add` may be called from any thread.
#![allow(unsafe_code)]

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::metadata::Metadata;
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The first brokers of a client, and how often in a row none was found.
pub(super) struct Bootstrap {
    brokers: CString,
    failures: AtomicU32,
}

impl Bootstrap {
    /// `HOST:PORT,…`, of which a text with a NUL names none.
    pub(super) fn of(brokers: &str) -> Self {
        Self { brokers: CString::new(brokers).unwrap_or_default(), failures: AtomicU32::new(0) }
    }

    /// What the cluster says of a topic. A client that finds no broker is told of its first ones again, the more seldom the longer that lasts, since it
    /// keeps each word: to one whose brokers are merely away it is no news.
    ///
    /// # Errors
    /// No answer in time.
    pub(super) fn ask<C: ClientContext>(
        &self,
        client: &Client<C>,
        topic: &str,
        timeout: Duration,
    ) -> rdkafka::error::KafkaResult<Metadata> {
        let answer = client.fetch_metadata(Some(topic), timeout);
        if answer.is_ok() {
            self.failures.store(0, Ordering::Relaxed);
        } else if (self.failures.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
            // SAFETY: see above.
            unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), self.brokers.as_ptr()) };
        }
        answer
    }
}
