//! E-mail, by SMTP: plain text with the same in HTML beside it; all mails of one incident are one thread.

use super::address::{Encryption, Mailboxes};
use super::{Alert, Change, Failure, Receiver, words};
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

/// A server that says nothing for so long is away.
const TIMEOUT: Duration = Duration::from_secs(10);

/// People, by their mail server.
pub struct Mail {
    transport: SmtpTransport,
    name: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    /// A server that was not connected to yet.
    ///
    /// # Errors
    /// A mailbox that is none.
    pub fn new(mailboxes: &Mailboxes) -> Result<Self, String> {
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|error| format!("'{text}' is no mailbox: {error}"));
        let to = mailboxes.to.iter().map(mailbox).collect::<Result<_, _>>()?;
        let parameters = TlsParameters::new(mailboxes.host.clone()).map_err(|error| format!("TLS cannot be had: {error}"))?;
        let tls = match mailboxes.encryption {
            Encryption::StartTls => Tls::Required(parameters),
            Encryption::Tls => Tls::Wrapper(parameters),
            Encryption::Plain => Tls::None,
        };
        let mut builder = SmtpTransport::builder_dangerous(&mailboxes.host).port(mailboxes.port).tls(tls).timeout(Some(TIMEOUT));
        if let Some((user, password)) = &mailboxes.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self { transport: builder.build(), name: mailboxes.name.clone(), from: mailbox(&mailboxes.from)?, to })
    }

    fn message(&self, alert: &Alert) -> Result<Message, lettre::error::Error> {
        let domain = self.from.email.domain();
        let first = format!("<{}.{}@{domain}>", alert.incident_id, self.name);
        let mut builder = Message::builder().from(self.from.clone()).subject(subject(alert)).header(AutoSubmitted).date_now();
        for mailbox in &self.to {
            builder = builder.to(mailbox.clone());
        }
        // The number of the first mail follows from the incident, so that all later ones know it.
        builder = match alert.change {
            Change::Opened => builder.message_id(Some(first)),
            _ => builder.message_id(Some(format!("<{}@{domain}>", alert.idempotency_key))).in_reply_to(first.clone()).references(first),
        };
        builder.multipart(MultiPart::alternative_plain_html(plain(alert), html(alert)))
    }
}

impl Receiver for Mail {
    fn send(&mut self, alert: &Alert, _before: Option<&Alert>) -> Result<(), Failure> {
        let message = self.message(alert).map_err(|error| Failure::Refused(error.to_string()))?;
        self.transport.send(&message).map(|_| ()).map_err(|error| {
            let status = error.status().map(u16::from);
            let told = sentence(&error);
            // RFC 5321: too large; the transaction failed for what was in it. All else may be mended without us.
            if matches!(status, Some(552 | 554)) { Failure::Refused(told) } else { Failure::away(told) }
        })
    }
}

/// Tells programs that answer mails by themselves not to (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

/// The library's word with what caused it.
fn sentence(error: &lettre::transport::smtp::Error) -> String {
    let (mut told, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            let _ = write!(told, ": {text}");
        }
        cause = error.source();
    }
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn subject(alert: &Alert) -> String {
    format!("[tidewatch] {}", words::headline(alert))
}

fn plain(alert: &Alert) -> String {
    let mut text = format!("{}\n\n", words::headline(alert));
    for (word, told) in words::facts(alert) {
        let _ = writeln!(text, "{:<10}{told}", format!("{word}:"));
    }
    if let Some(url) = &alert.url {
        let _ = write!(text, "\nLook at it: {url}\n");
    }
    if let Some(command) = words::silence(alert) {
        let _ = write!(text, "\nIf this is expected:\n  {command}\n");
    }
    let _ = write!(text, "\n{} {}, revision {}\n", words::numbered(alert), alert.incident_id, alert.revision);
    text
}

fn html(alert: &Alert) -> String {
    let mut text =
        format!("<!DOCTYPE html>\n<html><body style=\"font-family:sans-serif\">\n<h3>{}</h3>\n<table>\n", escaped(&words::headline(alert)));
    for (word, told) in words::facts(alert) {
        let _ = writeln!(text, "<tr><td><b>{word}</b>&nbsp;</td><td>{}</td></tr>", escaped(&told));
    }
    text.push_str("</table>\n");
    if let Some(url) = &alert.url {
        let _ = writeln!(text, "<p><a href=\"{}\">Look at it</a></p>", escaped(url));
    }
    if let Some(command) = words::silence(alert) {
        let _ = writeln!(text, "<p>If this is expected:<br><code>{}</code></p>", escaped(&command));
    }
    let number = format!("{} {}, revision {}", words::numbered(alert), alert.incident_id, alert.revision);
    let _ = write!(text, "<p><small>{number}</small></p>\n</body></html>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::alert::tests::alert;
    use super::*;

    fn mail() -> Mail {
        let mailboxes = Mailboxes {
            name: "ops".into(),
            host: "localhost".into(),
            port: 25,
            encryption: Encryption::Plain,
            credentials: None,
            from: "Tidewatch <tidewatch@here.example>".into(),
            to: vec!["on-call@here.example".into()],
        };
        Mail::new(&mailboxes).unwrap()
    }

    fn written(alert: &Alert) -> String {
        String::from_utf8(mail().message(alert).unwrap().formatted()).unwrap()
    }

    #[test]
    fn later_mails_answer_the_first_one_of_their_incident() {
        let first = written(&alert());
        assert!(first.contains("Message-ID: <162ca1251f26ae7f.ops@here.example>\r\n"), "{first}");
        assert!(first.contains("Auto-Submitted: auto-generated\r\n") && !first.contains("References:"), "{first}");
        let later = written(&Alert { change: Change::Escalated, revision: 4, idempotency_key: "162ca1251f26ae7f-4-ops".into(), ..alert() });
        assert!(later.contains("Message-ID: <162ca1251f26ae7f-4-ops@here.example>\r\n"), "{later}");
        assert!(later.contains("References: <162ca1251f26ae7f.ops@here.example>\r\n"), "{later}");
        assert!(later.contains("In-Reply-To: <162ca1251f26ae7f.ops@here.example>\r\n"), "{later}");
    }

    #[test]
    fn a_name_cannot_write_headers_or_markup() {
        let evil = Alert { entity_id: "a\r\nBcc: x@evil.example\r\n\r\n<script>".into(), ..alert() };
        let mail = written(&evil);
        assert!(!mail.contains("\r\nBcc:"), "{mail}");
        assert!(!html(&evil).contains("<script>"), "{}", html(&evil));
    }

    #[test]
    fn a_mail_reads_well() {
        let expected = "HIGH: server srv-038, cpu_usage_percent 95.3, expected 65.2 (z +4.2)\n\n\
            Where:    server srv-038, rack rack-B, zone zone-2\n\
            Since:    2026-01-19 03:05 UTC, off until 2026-01-19 03:20 UTC so far\n\
            Metrics:  cpu_temperature_celsius, cpu_usage_percent\n\
            Evidence: 3 deviating buckets; the worst began at 2026-01-19 03:05 UTC\n\n\
            Look at it: https://tidewatch.example.com/incidents/162ca1251f26ae7f\n\n\
            If this is expected:\n  tidewatch silence add --entity srv-038 --from 2026-01-19T03:05:00Z --to 2026-01-19T07:15:00Z --reason …\n\n\
            Incident 162ca1251f26ae7f, revision 3\n";
        assert_eq!(plain(&alert()), expected);
    }
}
