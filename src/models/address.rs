//! A `redis://` URL: which of its parameters are ours, where its password is, and whose certificates it believes.

use crate::secret::{Flag, PASSWORD_FILE};
use url::Url;

/// A server, and how to be sure of it.
pub(super) struct Address {
    /// The URL with its password and without our parameters.
    pub url: String,
    /// The authorities to believe, as PEM, where they are not those of the system.
    pub roots: Option<Vec<u8>>,
}

impl Address {
    /// Reads a URL. What is not one is left for the client library to refuse.
    ///
    /// # Errors
    /// A file that cannot be read, or certificates where nothing is encrypted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Ok(mut url) = Url::parse(text) else { return Ok(Self { url: text.into(), roots: None }) };
        let (mut roots, mut file, mut rest) = (None, None, Vec::new());
        for (name, value) in url.query_pairs().into_owned() {
            match name.as_str() {
                "sslrootcert" => roots = Some(value),
                PASSWORD_FILE => file = Some(value),
                _ => rest.push((name, value)),
            }
        }
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        if url.password().is_none()
            && let Some(password) = Flag::Models.password(file.as_deref())?
        {
            url.set_password(Some(&password)).map_err(|()| "there is no host to send the password to".to_owned())?;
        }
        if roots.is_some() && url.scheme() != "rediss" {
            return Err("sslrootcert says whose certificates to believe, but only rediss:// asks for one".into());
        }
        let read = |path: String| std::fs::read(&path).map_err(|error| format!("sslrootcert {path}: {error}"));
        Ok(Self { url: url.into(), roots: roots.map(read).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_parameters_are_taken_out_and_the_password_put_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "se/cr@et\n").unwrap();
        let file = path.display();
        let url = |text: &str| Address::parse(text).map(|address| (address.url, address.roots));
        assert_eq!(url(&format!("redis://me@host/3?password_file={file}")).unwrap().0, "redis://me:se%2Fcr%40et@host/3");
        assert_eq!(
            url(&format!("redis://me:other@host?protocol=resp3&password_file={file}")).unwrap().0,
            "redis://me:other@host?protocol=resp3"
        );
        assert_eq!(url(&format!("rediss://host/0?sslrootcert={file}")).unwrap(), ("rediss://host/0".into(), Some(b"se/cr@et\n".to_vec())));
        assert!(url(&format!("redis://host?sslrootcert={file}")).unwrap_err().contains("rediss://"));
        assert!(url("rediss://host?sslrootcert=/nowhere.pem").unwrap_err().contains("/nowhere.pem"));
    }
}
