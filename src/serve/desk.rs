//! Who looks things up for the server: one thread with connections of its own, so that neither a worker nor another answer waits for a store.

use crate::history::{self, History, HistoryError};
use crate::models::{self, Models};
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use crossbeam_channel::{Receiver, Sender};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// An answer holds for so long: many may look at the same page.
const FRESH: Duration = Duration::from_secs(1);

/// Questions that may wait; what comes beyond is told to come again.
const QUESTIONS_MAX: usize = 64;

/// Answers kept.
const ANSWERS_MAX: usize = 256;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Problem {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The question makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// Nobody may ask for this.
    #[error("{0}")]
    Forbidden(String),
    /// Somebody may, but must say who it is.
    #[error("{0}")]
    Unauthorized(String),
    /// History cannot be read now.
    #[error("{0}")]
    Away(String),
    /// Too many ask at once.
    #[error("too many questions at once: ask again in a moment")]
    Busy,
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        Self::Away(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Wrong(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Away(_) | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, [(CACHE_CONTROL, "no-store")], Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// The stores, opened when they are first asked for and again after a failure.
pub struct Stores {
    history_url: String,
    models_url: String,
    history: Option<Box<dyn History>>,
    models: Option<Box<dyn Models>>,
}

impl Stores {
    /// The history.
    ///
    /// # Errors
    /// One that is not there yet, or cannot be reached.
    pub fn history(&mut self) -> Result<&mut dyn History, Problem> {
        if self.history.is_none() {
            // Looking makes no empty one where there is none.
            let missing = self.history_url.strip_prefix("embedded:").is_some_and(|path| !Path::new(path).exists());
            if missing {
                return Err(Problem::Away("there is no history yet".into()));
            }
            self.history = Some(history::open(&self.history_url)?);
        }
        self.history.as_deref_mut().map(|history| history as &mut dyn History).ok_or(Problem::Busy)
    }

    /// The newest model of a series; `None` also where the models are away, since no answer depends on it.
    pub fn model(&mut self, series: &crate::series::SeriesName) -> Option<models::Trained> {
        if self.models.is_none() {
            self.models = models::open(&self.models_url).ok();
        }
        match self.models.as_mut()?.get(series) {
            Ok(model) => model,
            Err(error) => {
                tracing::debug!(%error, "a model is not shown");
                self.models = None;
                None
            }
        }
    }
}

type Answer = Result<Value, Problem>;
type Work = Box<dyn FnOnce(&mut Stores) -> Answer + Send>;

/// A question: what it may be remembered by, what to do, and who waits.
struct Question {
    key: Option<String>,
    work: Work,
    reply: oneshot::Sender<Answer>,
}

/// The way to the thread. It ends when the last way to it is gone.
#[derive(Clone)]
pub struct Desk(Sender<Question>);

impl Desk {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives none.
    pub fn open(history_url: &str, models_url: &str) -> std::io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(QUESTIONS_MAX);
        let stores = Stores { history_url: history_url.into(), models_url: models_url.into(), history: None, models: None };
        std::thread::Builder::new().name("desk".into()).spawn(move || answer(&receiver, stores))?;
        Ok(Self(sender))
    }

    /// Looks something up; an answer of the last second that has the same `key` will do.
    ///
    /// # Errors
    /// What the work says, or too many questions.
    pub async fn look(&self, key: String, work: impl FnOnce(&mut Stores) -> Answer + Send + 'static) -> Answer {
        self.ask(Some(key), Box::new(work)).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// See [`Self::look`].
    pub async fn change(&self, work: impl FnOnce(&mut Stores) -> Answer + Send + 'static) -> Answer {
        self.ask(None, Box::new(work)).await
    }

    async fn ask(&self, key: Option<String>, work: Work) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Question { key, work, reply }).map_err(|_| Problem::Busy)?;
        answer.await.unwrap_or(Err(Problem::Busy))
    }
}

fn answer(questions: &Receiver<Question>, mut stores: Stores) {
    let mut answers: HashMap<String, (Instant, Value)> = HashMap::new();
    for Question { key, work, reply } in questions {
        let known = key.as_ref().and_then(|key| answers.get(key)).filter(|(at, _)| at.elapsed() < FRESH);
        if let Some((_, value)) = known {
            let _ = reply.send(Ok(value.clone()));
            continue;
        }
        let outcome = work(&mut stores);
        match (&outcome, key) {
            (Ok(value), Some(key)) => {
                // They may be large: what is too old to be given again is not kept.
                answers.retain(|_, (at, _)| at.elapsed() < FRESH);
                if answers.len() >= ANSWERS_MAX {
                    answers.clear();
                }
                answers.insert(key, (Instant::now(), value.clone()));
            }
            // What was changed is seen at once.
            (Ok(_), None) => answers.clear(),
            (Err(Problem::Away(_)), _) => stores.history = None,
            _ => {}
        }
        let _ = reply.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn an_answer_is_remembered_until_something_changes_and_a_failure_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (desk, asked) = (Desk::open("embedded:nowhere.db", "embedded:nowhere.db").unwrap(), Arc::new(AtomicU64::new(0)));
        let count = || {
            let asked = Arc::clone(&asked);
            move |_: &mut Stores| Ok(json!(asked.fetch_add(1, Ordering::Relaxed)))
        };
        runtime.block_on(async {
            assert_eq!(desk.look("a".into(), count()).await.unwrap(), json!(0));
            assert_eq!(desk.look("a".into(), count()).await.unwrap(), json!(0));
            assert_eq!(desk.look("b".into(), count()).await.unwrap(), json!(1));
            desk.change(|_| Ok(Value::Null)).await.unwrap();
            assert_eq!(desk.look("a".into(), count()).await.unwrap(), json!(2));
            let absent = desk.look("c".into(), |stores| stores.history().map(|_| Value::Null)).await;
            assert!(absent.unwrap_err().to_string().contains("no history yet"));
            assert_eq!(desk.look("c".into(), count()).await.unwrap(), json!(3));
        });
        assert!(!Path::new("nowhere.db").exists(), "looking makes no file");
    }
}
