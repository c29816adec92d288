//! Where alerts go: the URL of a receiver, taken apart, with its secrets beside it.
//!
//! What a URL says may be secret as a whole, as that of Slack is. Nothing here is ever shown but the name, the scheme, the host and the mailboxes.

use super::NotifyError;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// Prometheus says the same once a minute, and Alertmanager forgets what is not said again after five.
const REPEAT: Duration = Duration::from_secs(60);

/// The longest name of a receiver.
const NAME_BYTES_MAX: usize = 32;

/// Where alerts go.
pub enum Address {
    /// An incoming webhook of Slack.
    Slack(Endpoint),
    /// Anything that takes JSON.
    Webhook(Endpoint),
    /// An Alertmanager, and how often it hears of what is open.
    Alertmanager(Endpoint, Duration),
    /// People's mailboxes.
    Mail(Mailboxes),
}

/// Something that speaks HTTP.
pub struct Endpoint {
    /// The name that the configuration gives it.
    pub name: String,
    /// A secret.
    pub url: Url,
    /// The scheme and the host, to be shown.
    pub place: String,
    /// What bodies are signed with.
    pub key: Option<String>,
}

/// A mail server, and to whom it is to bring what.
pub struct Mailboxes {
    /// The name that the configuration gives it.
    pub name: String,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Who sends, for the server, and the password.
    pub credentials: Option<(String, String)>,
    /// Who sends, for the reader.
    pub from: String,
    /// Who reads.
    pub to: Vec<String>,
}

/// How a connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// By STARTTLS, without which nothing is sent.
    StartTls,
    /// From its beginning.
    Tls,
    /// Not at all: for a server on this machine.
    Plain,
}

/// Finds the password that stands beside a URL, given the file that the URL names, if it names one.
type FindPassword<'a> = &'a dyn Fn(Option<&str>) -> Result<Option<String>, String>;

const SCHEMES: &str = "write slack:https://…, smtp://USER@HOST:PORT?to=…, webhook:https://… or alertmanager:http://HOST:9093";

/// Checks the name of a receiver: it becomes part of variables and of message numbers.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), NotifyError> {
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if letters && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("a name is up to {NAME_BYTES_MAX} small letters, digits and hyphens, such as ops or on-call");
    Err(NotifyError { name: name.into(), problem })
}

impl Address {
    /// The receiver that a URL names. `password` finds the password beside the URL, given the file that its parameter `password_file` names.
    ///
    /// # Errors
    /// A URL that names none, or a secret that cannot be read.
    pub fn parse(name: &str, url: &str, password: FindPassword<'_>) -> Result<Self, NotifyError> {
        let fail = |problem: String| NotifyError { name: name.into(), problem };
        check_name(name)?;
        let (scheme, rest) = url.split_once(':').ok_or_else(|| fail(format!("no scheme: {SCHEMES}")))?;
        let address = match scheme {
            "slack" => endpoint(name, scheme, rest, password).map(Self::Slack),
            "webhook" => endpoint(name, scheme, rest, password).map(Self::Webhook),
            "alertmanager" => alertmanager(name, rest, password),
            "smtp" | "smtps" => mailboxes(name, url, password).map(Self::Mail),
            // What stands before a colon may be anything, a password included.
            _ => Err(format!("its URL is of no kind that is known: {SCHEMES}")),
        };
        address.map_err(fail)
    }

    /// The name that the configuration gives it.
    pub fn name(&self) -> &str {
        match self {
            Self::Slack(endpoint) | Self::Webhook(endpoint) | Self::Alertmanager(endpoint, _) => &endpoint.name,
            Self::Mail(mailboxes) => &mailboxes.name,
        }
    }

    /// Where it is, as it may be shown: `slack at hooks.slack.com`.
    pub fn place(&self) -> String {
        match self {
            Self::Slack(endpoint) | Self::Webhook(endpoint) | Self::Alertmanager(endpoint, _) => endpoint.place.clone(),
            Self::Mail(mailboxes) => format!("mail to {} by {}:{}", mailboxes.to.join(", "), mailboxes.host, mailboxes.port),
        }
    }

    /// Whether it is a program that sorts alerts out itself, and is to miss none.
    pub fn takes_all(&self) -> bool {
        matches!(self, Self::Alertmanager(..))
    }
}

/// A URL of HTTP, or `@FILE` with one in it.
fn endpoint(name: &str, scheme: &str, rest: &str, password: FindPassword<'_>) -> Result<Endpoint, String> {
    let text = match rest.strip_prefix('@') {
        Some(file) => {
            let text =
                std::fs::read_to_string(Path::new(file)).map_err(|error| format!("the file {file}, which holds its URL: {error}"))?;
            text.trim().to_owned()
        }
        None => rest.to_owned(),
    };
    let mut url = Url::parse(&text).map_err(|error| format!("what follows {scheme}: is no URL: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("what follows {scheme}: must begin with https:// or http://"));
    }
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let place = format!("{scheme} at {}{port}", url.host_str().unwrap_or_default());
    let mut key = password(None)?;
    if !url.username().is_empty() && url.password().is_none() {
        let _ = url.set_password(key.take().as_deref());
    }
    Ok(Endpoint { name: name.into(), url, place, key })
}

/// The base of an Alertmanager, with `repeat=DURATION` where it is not to be a minute.
fn alertmanager(name: &str, rest: &str, password: FindPassword<'_>) -> Result<Address, String> {
    let mut endpoint = endpoint(name, "alertmanager", rest, password)?;
    let mut repeat = REPEAT;
    for (key, value) in endpoint.url.query_pairs() {
        match &*key {
            "repeat" => {
                let duration = humantime::parse_duration(&value).ok().filter(|duration| !duration.is_zero());
                repeat = duration.ok_or_else(|| format!("repeat={value}: write a duration like 1m"))?;
            }
            _ => return Err(format!("unknown parameter {key}: there is repeat")),
        }
    }
    endpoint.url.set_query(None);
    let path = format!("{}/api/v2/alerts", endpoint.url.path().trim_end_matches('/'));
    endpoint.url.set_path(&path);
    Ok(Address::Alertmanager(endpoint, repeat))
}

fn mailboxes(name: &str, url: &str, password: FindPassword<'_>) -> Result<Mailboxes, String> {
    const HINT: &str = "write smtp://USER@HOST:587?from=tidewatch@example.com&to=on-call@example.com";
    let url = Url::parse(url).map_err(|error| format!("no URL of a mail server: {error}: {HINT}"))?;
    let host = url.host_str().ok_or_else(|| format!("no host: {HINT}"))?.to_owned();
    let (mut from, mut to, mut file) = (None, Vec::new(), None);
    let mut encryption = if url.scheme() == "smtps" { Encryption::Tls } else { Encryption::StartTls };
    for (key, value) in url.query_pairs() {
        match (&*key, &*value) {
            ("from", _) => from = Some(value.into_owned()),
            ("to", _) => to.extend(value.split(',').map(|mailbox| mailbox.trim().to_owned())),
            ("password_file", _) => file = Some(value.into_owned()),
            ("tls", "none") if url.scheme() == "smtp" => encryption = Encryption::Plain,
            ("tls", "starttls") if url.scheme() == "smtp" => encryption = Encryption::StartTls,
            ("tls", _) => return Err("tls is starttls or none, of smtp:// alone; smtps:// has it from the beginning".into()),
            _ => return Err(format!("unknown parameter {key}: there are from, to, tls and password_file")),
        }
    }
    if to.is_empty() {
        return Err(format!("nobody to write to: {HINT}"));
    }
    let decoded = |text: &str| percent_decoded(text);
    let beside = password(file.as_deref())?;
    let credentials = match (url.username(), url.password().map(decoded).or(beside)) {
        ("", _) => None,
        (user, Some(password)) => Some((decoded(user), password)),
        (_, None) => return Err("a user without a password: name a password_file".into()),
    };
    let port = url.port().unwrap_or(if encryption == Encryption::Tls { 465 } else { 587 });
    let from = from.unwrap_or_else(|| format!("tidewatch@{host}"));
    Ok(Mailboxes { name: name.into(), host, port, encryption, credentials, from, to })
}

/// A part of a URL without its percent signs. A form's `+` is a space, a URL's is not.
fn percent_decoded(text: &str) -> String {
    let form = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(form.as_bytes()).next().map_or_else(String::new, |pair| pair.1.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, password: Option<&str>) -> Result<Address, String> {
        let password = password.map(str::to_owned);
        Address::parse("ops", url, &|_| Ok(password.clone())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_chooses_the_kind_of_receiver_and_shows_no_secret() {
        for (url, place) in [
            ("slack:https://hooks.slack.com/services/T0/B0/secret", "slack at hooks.slack.com"),
            ("webhook:http://me:secret@host:8080/secret?key=secret", "webhook at host:8080"),
            ("alertmanager:http://host:9093/am?repeat=10s", "alertmanager at host:9093"),
            ("smtp://me:secret@host:25?to=a@b,c@d&from=t@b&tls=none", "mail to a@b, c@d by host:25"),
            ("smtps://host?to=a@b", "mail to a@b by host:465"),
        ] {
            assert_eq!(parse(url, None).map(|address| address.place()), Ok(place.to_owned()));
        }
        let Ok(Address::Alertmanager(endpoint, repeat)) = parse("alertmanager:http://host:9093/am/?repeat=10s", None) else { panic!() };
        assert_eq!((endpoint.url.as_str(), repeat), ("http://host:9093/am/api/v2/alerts", Duration::from_secs(10)));
    }

    #[test]
    fn a_password_beside_the_url_is_the_users_where_there_is_one_and_signs_otherwise() {
        let Ok(Address::Webhook(endpoint)) = parse("webhook:http://me@host/", Some("secret")) else { panic!() };
        assert_eq!((endpoint.url.password(), endpoint.key), (Some("secret"), None));
        let Ok(Address::Webhook(endpoint)) = parse("webhook:http://me:other@host/", Some("secret")) else { panic!() };
        assert_eq!((endpoint.url.password(), endpoint.key.as_deref()), (Some("other"), Some("secret")));
        let Ok(Address::Mail(mailboxes)) = parse("smtp://me%40here:p%2Bss+w%26rd@host?to=a@b", None) else { panic!() };
        assert_eq!(mailboxes.credentials, Some(("me@here".into(), "p+ss+w&rd".into())));
    }

    #[test]
    fn what_names_no_receiver_says_what_would() {
        for (url, part) in [
            ("hunter2", "no scheme: write slack:"),
            ("hunter2:x", "of no kind that is known: write slack:"),
            ("slack:hunter2", "no URL"),
            ("slack:ftp://host/hunter2", "must begin with https://"),
            ("slack:@nowhere", "the file nowhere, which holds its URL"),
            ("alertmanager:http://host?resend=1m", "unknown parameter resend: there is repeat"),
            ("smtp://host", "nobody to write to"),
            ("smtp://me@host?to=a@b", "a user without a password"),
            ("smtp://host?to=a@b&tls=maybe", "tls is starttls or none"),
            ("smtp://host?to=a@b&cc=hunter2", "unknown parameter cc"),
        ] {
            let error = parse(url, None).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(error.starts_with("alert 'ops': ") && error.contains(part) && !error.contains("hunter2"), "{url}: {error}");
        }
        for name in ["", "Ops", "a b", "1st", &"x".repeat(33)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
