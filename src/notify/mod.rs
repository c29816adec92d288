//! Alerts: what is sent to people about incidents, one file per kind of receiver.
//!
//! A receiver is chosen by the scheme of its URL: `slack:https://…`, `smtp://…`, `webhook:https://…`, `alertmanager:http://…`.

mod address;
mod alert;
mod alertmanager;
mod email;
mod http;
mod slack;
mod webhook;
mod words;

pub use address::{Address, check_name};
pub use alert::{Added, Alert, Change, Furthest, HIT_MAX, Peak};

use std::time::Duration;

/// Somebody who is told. One thread uses it, and waits for at most some ten seconds.
pub trait Receiver: Send + Sync {
    /// Sends one alert. `before` is what this receiver had last heard of the incident, if anything.
    ///
    /// # Errors
    /// [`Failure`]: it may or may not have arrived.
    fn send(&mut self, alert: &Alert, before: Option<&Alert>) -> Result<(), Failure>;

    /// How often the receiver wants to hear that what is open is still open; `None`: never.
    fn repeats(&self) -> Option<Duration> {
        None
    }

    /// Says which incidents are still open.
    ///
    /// # Errors
    /// As for [`Receiver::send`].
    fn repeat(&mut self, _open: &[Alert]) -> Result<(), Failure> {
        Ok(())
    }
}

/// Why an alert did not arrive, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The receiver is away, or refuses everything for now.
    #[error("{problem}")]
    Away {
        /// What it or the network said, without secrets.
        problem: String,
        /// When the receiver wants to be asked again, from now on.
        again_after: Option<Duration>,
    },
    /// The receiver has read this alert and does not want it: it will not next time, either.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    fn away(problem: impl Into<String>) -> Self {
        Self::Away { problem: problem.into(), again_after: None }
    }
}

/// Why a receiver cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("alert '{name}': {problem}")]
pub struct NotifyError {
    /// The name of the receiver.
    pub name: String,
    /// What is wrong and what would be right, without secrets.
    pub problem: String,
}

/// A receiver of this address, ready to be used. Nothing is connected to yet.
///
/// # Errors
/// What the client library does not understand.
pub fn open(address: &Address) -> Result<Box<dyn Receiver>, NotifyError> {
    let receiver: Result<Box<dyn Receiver>, String> = match address {
        Address::Slack(endpoint) => Ok(Box::new(slack::Slack::new(endpoint))),
        Address::Webhook(endpoint) => Ok(Box::new(webhook::Webhook::new(endpoint))),
        Address::Alertmanager(endpoint, repeat) => Ok(Box::new(alertmanager::Alertmanager::new(endpoint, *repeat))),
        Address::Mail(mailbox) => email::Mail::new(mailbox).map(|mail| Box::new(mail) as Box<dyn Receiver>),
    };
    receiver.map_err(|problem| NotifyError { name: address.name().into(), problem })
}
