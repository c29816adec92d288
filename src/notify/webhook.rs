//! A webhook of anybody's: the alert as one JSON object.
//!
//! The body may be signed: `Tidewatch-Signature` is then `sha256=` and the HMAC-SHA256 (RFC 2104) of its bytes, in hexadecimal digits.

use super::address::Endpoint;
use super::http::Client;
use super::{Alert, Failure, Receiver, words};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use std::fmt::Write as _;

/// A URL that takes JSON.
pub struct Webhook {
    client: Client,
    key: Option<String>,
}

impl Webhook {
    /// A webhook that was not called yet.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { client: Client::new(endpoint), key: endpoint.key.clone() }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    alert: &'a Alert,
    /// The same in words, for whoever passes it on to people.
    text: String,
}

impl Receiver for Webhook {
    fn send(&mut self, alert: &Alert, _before: Option<&Alert>) -> Result<(), Failure> {
        let body = Body { alert, text: words::headline(alert) };
        let body = serde_json::to_string(&body).map_err(|error| Failure::Refused(error.to_string()))?;
        let signature = self.key.as_ref().map(|key| signature(key.as_bytes(), body.as_bytes()));
        let mut headers = vec![("Idempotency-Key", alert.idempotency_key.as_str())];
        headers.extend(signature.as_deref().map(|signature| ("Tidewatch-Signature", signature)));
        self.client.post(&body, &headers)
    }
}

fn signature(key: &[u8], body: &[u8]) -> String {
    let mut text = "sha256=".to_owned();
    if let Ok(mut hash) = Hmac::<Sha256>::new_from_slice(key) {
        hash.update(body);
        for byte in hash.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(b"Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn the_body_is_what_the_documentation_shows() {
        let alert = super::super::alert::tests::alert();
        let body = serde_json::to_value(Body { alert: &alert, text: words::headline(&alert) }).unwrap();
        let shown = include_str!("../../docs/alerts.md").split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(body, serde_json::from_str::<serde_json::Value>(shown).unwrap());
    }
}
