//! Slack, by an incoming webhook: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.
//!
//! Slack knows no idempotency key: a message whose answer was lost comes twice. Both end with the same number and revision.

use super::address::Endpoint;
use super::http::Client;
use super::{Alert, Failure, Receiver, words};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A channel, by its webhook.
pub struct Slack(Client);

impl Slack {
    /// A channel that nothing was said in yet.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self(Client::new(endpoint))
    }
}

impl Receiver for Slack {
    fn send(&mut self, alert: &Alert, _before: Option<&Alert>) -> Result<(), Failure> {
        self.0.post(&message(alert).to_string(), &[])
    }
}

/// The headline alone for the notification on a phone, and the blocks for the channel.
fn message(alert: &Alert) -> Value {
    let headline = escaped(&words::headline(alert));
    let mut text = format!("*{}*", headline.replace('*', " "));
    for (word, told) in words::facts(alert) {
        let _ = write!(text, "\n{word}: {}", escaped(&told));
    }
    let mut blocks = vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})];
    if let Some(url) = &alert.url {
        let text = json!({"type": "plain_text", "text": "Look at it"});
        blocks.push(json!({"type": "actions", "elements": [{"type": "button", "text": text, "url": url}]}));
    }
    let mut small = format!("{} {} · revision {}", words::numbered(alert).to_lowercase(), alert.incident_id, alert.revision);
    if let Some(command) = words::silence(alert) {
        let _ = write!(small, " · expected? `{}`", escaped(&command).replace('`', "'"));
    }
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": small}]}));
    json!({"text": headline, "blocks": blocks})
}

/// What Slack would take for a link, a person or a channel.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::alert::tests::alert;
    use super::*;

    #[test]
    fn a_message_reads_well_and_nobody_is_called_by_the_name_of_a_host() {
        let message = message(&Alert { entity_id: "<!channel> & `co`".into(), ..alert() });
        let text = message["blocks"][0]["text"]["text"].as_str().unwrap();
        let expected = "*HIGH: server &lt;!channel&gt; &amp; `co`, cpu_usage_percent 95.3, expected 65.2 (z +4.2)*\n\
            Where: server &lt;!channel&gt; &amp; `co`, rack rack-B, zone zone-2\n\
            Since: 2026-01-19 03:05 UTC, off until 2026-01-19 03:20 UTC so far\n\
            Metrics: cpu_temperature_celsius, cpu_usage_percent\n\
            Evidence: 3 deviating buckets; the worst began at 2026-01-19 03:05 UTC";
        assert_eq!(text, expected);
        assert_eq!(message["blocks"][1]["elements"][0]["url"], "https://tidewatch.example.com/incidents/162ca1251f26ae7f");
        let small = message["blocks"][2]["elements"][0]["text"].as_str().unwrap();
        assert!(
            small.starts_with("incident 162ca1251f26ae7f · revision 3 · expected? `tidewatch silence add --entity '&lt;!channel"),
            "{small}"
        );
        assert!(!message.to_string().contains("<!channel>"));
    }
}
