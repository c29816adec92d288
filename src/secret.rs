//! Passwords: where they are kept beside a URL, and URLs as they may be shown.
//!
//! A password is looked for in the URL itself, then in the file that its parameter `password_file` names, then in the file that
//! `TIDEWATCH_…_PASSWORD_FILE` names, then in `TIDEWATCH_…_PASSWORD`; the dots stand for the flag that the URL belongs to. Files are what
//! Docker and Kubernetes mount secrets as, and the variables are called as those of the usual images are.

use std::path::{Path, PathBuf};

/// The parameter of a URL that names the file.
pub const PASSWORD_FILE: &str = "password_file";

/// The flags whose URL may need a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `--source`.
    Source,
    /// `--history`.
    History,
    /// `--models`.
    Models,
    /// `--to` of `generate`.
    To,
}

impl Flag {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Source, Self::History, Self::Models, Self::To];

    /// The variable that holds the password.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Source => "TIDEWATCH_SOURCE_PASSWORD",
            Self::History => "TIDEWATCH_HISTORY_PASSWORD",
            Self::Models => "TIDEWATCH_MODELS_PASSWORD",
            Self::To => "TIDEWATCH_TO_PASSWORD",
        }
    }

    /// The variable that names a file with the password.
    pub fn file_variable(self) -> String {
        format!("{}_FILE", self.variable())
    }

    /// The password of a URL that has none in it, but perhaps a `password_file`; `None` where nobody says one.
    ///
    /// # Errors
    /// A file that cannot be read or is empty, with who names it.
    pub fn password(self, file: Option<&str>) -> Result<Option<String>, String> {
        find(self.variable(), file)
    }
}

/// The password of the receiver of alerts of this name: `TIDEWATCH_ALERT_OPS_PASSWORD` for `ops`, unless a file is named.
///
/// # Errors
/// As for [`Flag::password`].
pub fn of_receiver(name: &str, file: Option<&str>) -> Result<Option<String>, String> {
    find(&format!("TIDEWATCH_ALERT_{}_PASSWORD", name.to_uppercase().replace('-', "_")), file)
}

/// The password in the file, in the one that `variable` with `_FILE` behind it names, or in `variable`.
fn find(variable: &str, file: Option<&str>) -> Result<Option<String>, String> {
    if let Some(file) = file {
        return read(PASSWORD_FILE, Path::new(file)).map(Some);
    }
    let file_variable = format!("{variable}_FILE");
    if let Some(file) = std::env::var_os(&file_variable).filter(|file| !file.is_empty()) {
        return read(&file_variable, Path::new(&file)).map(Some);
    }
    Ok(std::env::var(variable).ok().filter(|password| !password.is_empty()))
}

/// The password in a file, without the end of its line. `who` names the file.
fn read(who: &str, path: &Path) -> Result<String, String> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("the password file {place}, which {who} names: {error}"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() { Err(format!("the password file {place}, which {who} names, is empty")) } else { Ok(password.into()) }
}

/// The files that stores of these URLs read passwords and certificates from: those that variables name, and parameters.
pub fn files<'a>(urls: impl Iterator<Item = &'a str>) -> Vec<PathBuf> {
    let by_variable = Flag::ALL.into_iter().filter_map(|flag| std::env::var_os(flag.file_variable())).map(PathBuf::from);
    let parameters = urls.filter_map(|url| Some(url.split_once('?')?.1)).flat_map(|query| url::form_urlencoded::parse(query.as_bytes()));
    let by_parameter = parameters.map(|(_, value)| PathBuf::from(value.into_owned()));
    by_variable.chain(by_parameter).filter(|path| path.is_file()).collect()
}

/// A URL as it may be shown: `kafka://me:***@host/topic?***`. The parameters of a client hold passwords as often as not.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':') else { return if url.contains('@') { "***".into() } else { url.into() } };
    if ["embedded", "file", "simulate"].contains(&scheme) {
        return url.into();
    }
    let Some(rest) = rest.strip_prefix("//") else {
        return if rest.contains('@') {
            format!("{scheme}:***")
        } else {
            url.split_once('?').map_or(url.into(), |(url, _)| format!("{url}?***"))
        };
    };
    // In what is not a proper URL a password may hold any of these.
    let (address, parameters) = match (rest.find(['?', '#']), rest.rfind('@')) {
        (Some(end), Some(at)) if end < at => return format!("{scheme}://***"),
        (Some(end), _) => (&rest[..end], "?***"),
        (None, _) => (rest, ""),
    };
    match address.rsplit_once('@') {
        Some((user, host)) => {
            let (name, password) = user.split_once(':').map_or((user, ""), |(name, _)| (name, ":***"));
            format!("{scheme}://{name}{password}@{host}{parameters}")
        }
        None => format!("{scheme}://{address}{parameters}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://me:secret@host:6379/3", "redis://me:***@host:6379/3"),
            ("redis://:secret@host", "redis://:***@host"),
            ("redis://host/0", "redis://host/0"),
            ("postgres://host/db?user=me&password=secret", "postgres://host/db?***"),
            ("postgres://me:secret@host/db?password=secret", "postgres://me:***@host/db?***"),
            ("redis:secret@host", "redis:***"),
            ("redis://me:se cret@ho st", "redis://me:***@ho st"),
            ("redis://me:se?cret@host", "redis://***"),
            ("redis://me:se#cret@host", "redis://***"),
            ("redis://me:se/cr@et@host", "redis://me:***@host"),
            ("me:secret@host", "me:***"),
            ("secret@host", "***"),
            ("kafka://host:9092/x?sasl.password=secret", "kafka://host:9092/x?***"),
            ("kafka://me@host/x", "kafka://me@host/x"),
            ("file:a@b,c.jsonl", "file:a@b,c.jsonl"),
            ("embedded:tidewatch.db", "embedded:tidewatch.db"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    fn a_password_file_holds_one_line_and_an_empty_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let password = || Flag::History.password(path.to_str());
        assert!(password().unwrap_err().contains("which password_file names"));
        for (text, expected) in [("secret\n", "secret"), (" se cret \r\n", " se cret "), ("secret", "secret")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(password().unwrap().as_deref(), Some(expected));
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(password().unwrap_err().contains("is empty"));
    }
}
