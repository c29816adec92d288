//! Event times as text: RFC 3339 in, RFC 3339 out.

use chrono::{DateTime, SecondsFormat, Utc};
use dataflows::Time;

/// Reads an RFC 3339 time (`2026-01-24T12:34:56Z`, any offset, any fraction) as milliseconds since the epoch, rounded down.
pub fn parse(text: &str) -> Option<Time> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// Writes a time as RFC 3339 in UTC, with milliseconds only where there are some.
pub fn format(time: Time) -> String {
    match DateTime::<Utc>::from_timestamp_millis(time) {
        Some(instant) if time.rem_euclid(1000) == 0 => instant.to_rfc3339_opts(SecondsFormat::Secs, true),
        Some(instant) => instant.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{time} ms"),
    }
}

/// The wall clock, in milliseconds since the epoch.
pub fn now() -> Time {
    Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_its_text() {
        for text in ["2026-01-24T12:34:56Z", "1969-12-31T23:59:59.999Z", "2099-01-01T00:00:00Z"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("2026-01-24T13:34:56+01:00"), parse("2026-01-24T12:34:56Z"));
        assert_eq!(parse("yesterday"), None);
    }
}
