//! One request to a receiver that speaks HTTP, and what its answer means.

use super::Failure;
use super::address::Endpoint;
use std::time::Duration;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

/// A receiver that does not answer within this is away.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest pause that a receiver may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What a person needs of an answer.
const ANSWER_CHARS: usize = 200;

/// A client for one endpoint.
pub struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(endpoint: &Endpoint) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // Whoever redirects might be handed what was meant for another.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Alerts are rare: a connection that was kept is one that the other side has closed.
            .max_idle_connections(0)
            .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().new_agent(), url: endpoint.url.to_string() }
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// No answer, or one that is not a success.
    pub fn post(&self, body: &str, headers: &[(&str, &str)]) -> Result<(), Failure> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.send(body).map_err(|error| Failure::away(self.hidden(&sentence(&error))))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
        let again_after = header.map(|seconds| Duration::from_secs(seconds).min(PAUSE_MAX));
        let text = answer.body_mut().with_config().limit(4096).read_to_string().unwrap_or_default();
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(ANSWER_CHARS).collect();
        let problem = self.hidden(format!("it answers {status}: {text}").trim_end_matches([':', ' ']));
        // These are about the body; everything else about the address, the key, or the moment.
        if [400, 413, 415, 422].contains(&status.as_u16()) {
            Err(Failure::Refused(problem))
        } else {
            Err(Failure::Away { problem, again_after })
        }
    }

    /// A sentence without the address, whoever quotes it.
    fn hidden(&self, sentence: &str) -> String {
        let path = url::Url::parse(&self.url).map_or_else(|_| String::new(), |url| url.path().to_owned());
        let without = sentence.replace(&self.url, "***");
        if path.len() > 1 { without.replace(&path, "***") } else { without }
    }
}

/// The library's word without what only its developers understand.
fn sentence(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        ureq::Error::BadUri(_) => "its URL is none".into(),
        other => other.to_string(),
    }
}
