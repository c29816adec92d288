//! What the client library says of its brokers: it speaks of them in a callback, and goes on trying whatever it says.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last word on the brokers. Its clones are one.
#[derive(Clone, Default)]
pub(super) struct Word(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    /// The last error of one broker, in a sentence.
    reason: Option<String>,
    /// Whether it is one that waiting does not mend.
    refused: bool,
}

impl Word {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an error. That all brokers are down follows on the error of the last one, which says why.
    pub(super) fn hear(&self, error: &KafkaError, reason: &str) {
        // That a partition has no more for now is told in the same way.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        let mut heard = self.heard();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) if heard.reason.is_some() => {}
            code => {
                heard.reason = Some(reason.into());
                heard.refused = matches!(code, Some(RDKafkaErrorCode::SSL | RDKafkaErrorCode::Authentication));
            }
        }
    }

    /// The last error, in a sentence that names the broker.
    pub(super) fn reason(&self) -> Option<String> {
        self.heard().reason.clone()
    }

    /// The last error, where it is about certificates, user or password.
    pub(super) fn refusal(&self) -> Option<String> {
        let heard = self.heard();
        heard.reason.clone().filter(|_| heard.refused)
    }
}

impl ClientContext for Word {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.hear(&error, reason);
    }
}

impl ConsumerContext for Word {}
