//! What the trainer hands to the detector: one readable JSON document per series, and a generation that counts pushes.
//!
//! Models are chosen by the scheme of their URL: `embedded:PATH` (the history's SQLite file, or one of its own) or `redis://…`, `rediss://…`.

mod address;
mod document;
mod embedded;
pub mod memory;
mod profile;
mod redis;
#[cfg(test)]
mod samples;
mod store;

use crate::secret::redacted;
use crate::series::SeriesName;
use dataflows::Model;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A model and how it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The series it is of.
    pub series: SeriesName,
    /// What scores. The graph holds on to it for as long as it does.
    pub model: Arc<Model>,
    /// How it came about.
    pub provenance: Provenance,
}

impl Trained {
    /// The JSON document, as stores keep it and people read it.
    ///
    /// # Errors
    /// The defect of a model that could not be read again.
    pub fn document(&self) -> Result<String, String> {
        document::write(self)
    }
}

/// How a model was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The method, such as `stl_zscore`.
    pub method: String,
    /// Its parameters, by name.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Buckets with samples in the training interval.
    pub buckets: u32,
    /// Buckets that were left out of the fit as anomalous.
    pub masked: u32,
    /// `buckets` as a share of all buckets of the training interval, 0..1.
    pub fill: f64,
    /// A hash of the training input, 16 hexadecimal digits.
    pub input_hash: String,
    /// When it was trained, wall clock, milliseconds since the epoch.
    pub trained_at: i64,
}

impl Provenance {
    /// What the profile of a young series was borrowed from, such as `0.6 of 41 peers`.
    pub fn borrowed(&self) -> Option<&str> {
        self.parameters.get("borrowed").and_then(serde_json::Value::as_str)
    }
}

/// A store of models. One connection, used by one thread.
pub trait Models: Send {
    /// The generation: 0 before the first push, one more after each complete push.
    fn generation(&mut self) -> Result<u64, ModelsError>;

    /// All usable models: for each series the newest and, where there is one, the one before it (a restarted
    /// detector scores the buckets before the newest model's training ended with it). Those that cannot be read are
    /// named in the second list, with the reason.
    fn load(&mut self) -> Result<(Vec<Trained>, Vec<String>), ModelsError>;

    /// Stores a part of a push, of which no more than this need be in memory at once. A detector that runs takes no notice of it before
    /// [`Models::complete`]. A series that is not among them keeps its model, and so does one that has a model and is said to be warming.
    fn put(&mut self, models: &[Trained]) -> Result<(), ModelsError>;

    /// Counts the generation up: what was put is a complete push. Returns the new generation.
    fn complete(&mut self) -> Result<u64, ModelsError>;

    /// Stores models and only then counts the generation up; returns the new generation.
    fn push(&mut self, models: &[Trained]) -> Result<u64, ModelsError> {
        self.put(models)?;
        self.complete()
    }

    /// The newest model of one series.
    fn get(&mut self, series: &SeriesName) -> Result<Option<Trained>, ModelsError>;
}

/// Why models cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The URL does not name a model store.
    #[error("models '{url}': {problem}")]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The store cannot be reached or opened.
    #[error("models {place}: cannot connect: {problem}")]
    Connect {
        /// The address or path, without a password.
        place: String,
        /// The client library's word, and what to do.
        problem: String,
    },
    /// An operation failed.
    #[error("models {place}: {operation} failed: {problem}")]
    Operation {
        /// The address or path, without a password.
        place: String,
        /// What was being done, and to which key.
        operation: &'static str,
        /// The client library's word.
        problem: String,
        /// Whether trying again later may help.
        transient: bool,
    },
    /// A document is not a model.
    #[error("models {place}: '{key}' is not a model: {problem}")]
    Document {
        /// The address or path.
        place: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The schemes of [`open`], for messages.
const SCHEMES: &str = "write embedded:PATH, redis://HOST:PORT/DB or rediss://HOST:PORT/DB";

/// Opens the store that `url` names. A password is shown in no error.
pub fn open(url: &str) -> Result<Box<dyn Models>, ModelsError> {
    let wrong = |problem: String| ModelsError::Url { url: redacted(url), problem };
    match url.split_once(':') {
        Some(("embedded", "")) => Err(wrong("the path is missing: write embedded:PATH".into())),
        Some(("embedded", path)) => Ok(Box::new(embedded::Embedded::open(path)?)),
        Some(("redis" | "rediss", _)) => Ok(Box::new(redis::Redis::open(url)?)),
        Some((scheme, _)) => Err(wrong(format!("no models are stored in '{scheme}': {SCHEMES}"))),
        None => Err(wrong(format!("the scheme is missing: {SCHEMES}"))),
    }
}
