//! Event times as text: RFC 3339 in, RFC 3339 out.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use dataflows::Time;
use std::time::Duration;

/// Reads an RFC 3339 time (`2026-01-24T12:34:56Z`, any offset, any fraction) as milliseconds since the epoch, rounded down.
pub fn parse(text: &str) -> Option<Time> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// What is to be said of a time that lacks its time zone (`2026-01-24 12:34:56`); `None` of any other text.
pub fn lacks_zone(text: &str) -> Option<String> {
    let in_utc = format!("{}Z", text.trim().replacen(' ', "T", 1));
    parse(&in_utc).map(|_| format!("has no time zone: write {in_utc}, or an offset in place of the Z"))
}

/// Writes a span of so many milliseconds as a flag takes it (`1h`).
pub fn format_span(span: Time) -> String {
    humantime::format_duration(Duration::from_millis(span.unsigned_abs())).to_string().replace(' ', "")
}

/// Writes a time as RFC 3339 in UTC, with milliseconds only where there are some.
pub fn format(time: Time) -> String {
    match DateTime::<Utc>::from_timestamp_millis(time) {
        Some(instant) if time.rem_euclid(1000) == 0 => instant.to_rfc3339_opts(SecondsFormat::Secs, true),
        Some(instant) => instant.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{time} ms"),
    }
}

/// Reads a date (`2026-12-25`) as days since 1970-01-01.
pub fn parse_day(text: &str) -> Option<i64> {
    let date: NaiveDate = text.parse().ok()?;
    Some(date.signed_duration_since(NaiveDate::default()).num_days())
}

/// Writes days since 1970-01-01 as a date.
pub fn format_day(day: i64) -> String {
    let date = chrono::TimeDelta::try_days(day).and_then(|days| NaiveDate::default().checked_add_signed(days));
    date.map_or_else(|| format!("day {day}"), |date| date.to_string())
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
        let said = "has no time zone: write 2026-01-24T12:34:56.5Z, or an offset in place of the Z";
        assert_eq!((lacks_zone("2026-01-24 12:34:56.5").as_deref(), lacks_zone("2026-01-24")), (Some(said), None));
        assert_eq!(format_span(5_400_000), "1h30m");
        assert_eq!((parse_day("1970-01-02"), parse_day("2026-12-25").map(format_day)), (Some(1), Some("2026-12-25".into())));
    }
}
