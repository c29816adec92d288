//! URLs as they may be shown.

/// The URL with `***` in place of the password and of what looks like one; only the scheme of what is not a URL but holds an `@`.
pub(super) fn redacted(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.has_host() => {
            if parsed.password().is_some() {
                // Cannot fail: the URL has a host.
                let _ = parsed.set_password(Some("***"));
            }
            let secret = parsed.query().is_some_and(|query| query.to_lowercase().contains("pass"));
            if secret {
                parsed.set_query(Some("***"));
            }
            parsed.to_string()
        }
        _ if url.contains('@') => format!("{}:***", url.split(':').next().unwrap_or_default()),
        _ => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redacted("redis://me:secret@host:6379/3"), "redis://me:***@host:6379/3");
        assert_eq!(redacted("redis://:secret@host"), "redis://:***@host");
        assert_eq!(redacted("redis://host/0"), "redis://host/0");
        assert_eq!(redacted("postgres://host/db?user=me&password=secret"), "postgres://host/db?***");
        assert_eq!(redacted("redis:secret@host"), "redis:***");
        assert_eq!(redacted("redis://me:se cret@ho st"), "redis:***");
        assert_eq!(redacted("embedded:tidewatch.db"), "embedded:tidewatch.db");
    }
}
