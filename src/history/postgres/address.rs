//! A `postgres://` URL: where the server is, how its certificate is checked, and nothing that shows the password.
//!
//! The client library knows no `verify-ca` and no `verify-full`, so these parameters are taken out of the URL here and have the
//! meaning that libpq's documentation gives them (PostgreSQL, chapter "SSL Support").

use crate::history::HistoryError;
use crate::secret::{Flag, PASSWORD_FILE};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres::config::SslMode;
use postgres_openssl::MakeTlsConnector;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// How long a server may take to answer at all, unless the URL says `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be silent below us before it counts as broken, unless the URL says `tcp_user_timeout`: a server that
/// lost its power answers with nothing, and a commit would wait for the kernel's quarter of an hour.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How much the server must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Nothing, in plain text.
    Disable,
    /// Nothing; encrypted where the server can.
    Prefer,
    /// Nothing, but encrypted. With `sslrootcert` the same as `VerifyCa`, as in libpq.
    Require,
    /// That a trusted authority signed its certificate.
    VerifyCa,
    /// That, and that the certificate is for the host in the URL.
    VerifyFull,
}

/// A server, a database and a schema in it.
pub(super) struct Address {
    config: postgres::Config,
    proof: Proof,
    root: Option<PathBuf>,
    /// The schema that holds the tables; `None`: the first of the server's search path.
    pub schema: Option<String>,
    /// The address without its password.
    pub place: String,
}

impl Address {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        let place = place(text);
        let refuse = |problem: String| HistoryError::Url { url: place.clone(), problem };
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut proof, mut root, mut schema, mut password_file) = (Proof::Prefer, None, None, None);
        let mut rest = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let decoded = url::form_urlencoded::parse(parameter.as_bytes()).next();
            let (name, value) = decoded.map(|(name, value)| (name.into_owned(), value.into_owned())).unwrap_or_default();
            match name.as_str() {
                "sslmode" => proof = proof_of(&value).map_err(refuse)?,
                "sslrootcert" => root = (value != "system").then(|| PathBuf::from(value)),
                PASSWORD_FILE => password_file = Some(value),
                "schema" => schema = Some(schema_of(value).map_err(refuse)?),
                _ => rest.push(parameter),
            }
        }
        let stripped = if rest.is_empty() { base.to_string() } else { format!("{base}?{}", rest.join("&")) };
        // The library's own error may quote the parameter it stumbled over, never the password; its cause is left out all the same.
        let mut config: postgres::Config = stripped.parse().map_err(|error: postgres::Error| {
            refuse(format!("{error}: write postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full"))
        })?;
        if config.get_hosts().is_empty() {
            return Err(refuse("no host: write postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_string()));
        }
        if config.get_password().is_none()
            && let Some(password) = Flag::History.password(password_file.as_deref()).map_err(refuse)?
        {
            config.password(password);
        }
        if proof == Proof::Require && root.is_some() {
            proof = Proof::VerifyCa;
        }
        config.ssl_mode(match proof {
            Proof::Disable => SslMode::Disable,
            Proof::Prefer => SslMode::Prefer,
            Proof::Require | Proof::VerifyCa | Proof::VerifyFull => SslMode::Require,
        });
        if config.get_application_name().is_none() {
            config.application_name("tidewatch");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX);
        }
        if let Some(schema) = &schema {
            let options = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
            config.options(&format!("{options}-csearch_path={schema}"));
        }
        Ok(Self { config, proof, root, schema, place })
    }

    /// Connects; the sentence of an error says what to do about TLS.
    pub fn connect(&self) -> Result<postgres::Client, Refusal> {
        let connector = self.connector().map_err(Refusal::Trust)?;
        self.config.connect(connector).map_err(Refusal::Server)
    }

    fn connector(&self) -> Result<MakeTlsConnector, String> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| error.to_string())?;
        let verifies = matches!(self.proof, Proof::VerifyCa | Proof::VerifyFull);
        if !verifies {
            builder.set_verify(SslVerifyMode::NONE);
        } else if let Some(root) = &self.root {
            builder.set_ca_file(root).map_err(|error| format!("sslrootcert {}: {error}", root.display()))?;
        } else {
            // OpenSSL is compiled in and looks in its own folder; the system's certificates are elsewhere on every distribution.
            let system = openssl_probe::probe();
            if let Some(file) = system.cert_file {
                builder.set_ca_file(&file).map_err(|error| format!("system certificates {}: {error}", file.display()))?;
            }
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        let checks_name = self.proof == Proof::VerifyFull;
        connector.set_callback(move |connection, _| {
            connection.set_verify_hostname(checks_name);
            Ok(())
        });
        Ok(connector)
    }
}

/// Why there is no connection.
pub(super) enum Refusal {
    /// The certificates to trust cannot be read.
    Trust(String),
    /// The server's or the network's word.
    Server(postgres::Error),
}

fn proof_of(value: &str) -> Result<Proof, String> {
    match value {
        "disable" => Ok(Proof::Disable),
        "allow" | "prefer" => Ok(Proof::Prefer),
        "require" => Ok(Proof::Require),
        "verify-ca" => Ok(Proof::VerifyCa),
        "verify-full" => Ok(Proof::VerifyFull),
        _ => Err(format!("sslmode '{value}' is none of disable, prefer, require, verify-ca, verify-full")),
    }
}

/// A name that needs no quoting: it is written into the session's options and into `CREATE SCHEMA`.
fn schema_of(name: String) -> Result<String, String> {
    let plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with(|character: char| character.is_ascii_digit()) {
        Ok(name)
    } else {
        Err(format!("schema '{name}': write small letters, digits and underscores"))
    }
}

/// The URL without password and parameters.
fn place(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return "postgres://…".to_string();
    };
    url.set_query(None);
    url.set_fragment(None);
    if url.password().is_some() && url.set_password(None).is_err() {
        return "postgres://…".to_string();
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Address::parse(text).err().unwrap().to_string()
    }

    #[test]
    fn the_password_is_never_shown() {
        let urls = [
            "postgres://me:hunter2@db:5432/metrics?sslmode=sometimes",
            "postgres://me:hunter2@db:port/metrics",
            "postgres://me:hunter2@db/metrics?colour=blue",
            "postgres://me:hunter2@/metrics",
            "postgres://me:hunter2@db/metrics?schema=a;drop",
            "postgres://me:hunter2%@db/metrics?sslmode=sometimes",
        ];
        for url in urls {
            let text = Address::parse(url).map(|address| address.place).unwrap_or_else(|error| format!("{error} {error:?}"));
            assert!(!text.contains("hunter2"), "{text}");
        }
        let address = Address::parse("postgres://me:hunter2@db:5432/metrics?password=hunter2").unwrap();
        assert_eq!(address.place, "postgres://me@db:5432/metrics");
    }

    #[test]
    fn parameters_mean_what_libpq_says() {
        let proof = |parameters: &str| Address::parse(&format!("postgres://db/metrics?{parameters}")).unwrap().proof;
        assert_eq!(proof(""), Proof::Prefer);
        assert_eq!(proof("sslmode=require"), Proof::Require);
        assert_eq!(proof("sslmode=require&sslrootcert=%2Fca.pem"), Proof::VerifyCa);
        assert_eq!(proof("sslmode=verify-full&connect_timeout=3"), Proof::VerifyFull);
        assert!(refusal("postgres://db/metrics?sslmode=on").contains("verify-full"));
        assert!(refusal("postgres:///metrics").contains("no host"));
        let address = Address::parse("postgres://db/metrics?schema=night&options=-cwork_mem%3D4MB").unwrap();
        assert_eq!(address.config.get_options(), Some("-cwork_mem=4MB -csearch_path=night"));
    }
}
