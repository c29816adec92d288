//! An entity that says nothing for a while: its records are left out of the log, and it goes on as if nothing had been.

use crate::instant;
use dataflows::Time;
use std::fmt;
use std::str::FromStr;

/// Who is silent, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The name of an entity, or `*` for all of them: as if the log itself were away and nobody kept what it missed.
    pub entity: String,
    /// The first moment without records.
    pub start: Time,
    /// The moment after the last.
    pub end: Time,
}

impl Outage {
    /// Whether it concerns an entity.
    pub(super) fn is_of(&self, entity: &str) -> bool {
        self.entity == "*" || self.entity == entity
    }

    /// Whether it takes a record of the log.
    pub(super) fn takes(&self, entity: &str, time: Time) -> bool {
        (self.start..self.end).contains(&time) && self.is_of(entity)
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}s", self.entity, instant::format(self.start), (self.end - self.start) / 1000)
    }
}

impl FromStr for Outage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not an outage: write it like srv-003@2026-01-19T10:00:00Z/20m, or *@… for all");
        let (entity, span) = text.split_once('@').filter(|parts| !parts.0.is_empty()).ok_or_else(wrong)?;
        let (start, length) = span.split_once('/').ok_or_else(wrong)?;
        let start = instant::parse(start).ok_or_else(wrong)?;
        let length = humantime::parse_duration(length).ok().and_then(|length| Time::try_from(length.as_millis()).ok()).ok_or_else(wrong)?;
        Ok(Self { entity: entity.to_owned(), start, end: start.saturating_add(length) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_written_as_it_is_read() {
        let outage: Outage = "srv-003@2026-01-19T10:00:00Z/20m".parse().unwrap();
        assert_eq!(outage.to_string(), "srv-003@2026-01-19T10:00:00Z/1200s");
        assert_eq!(outage.to_string().parse(), Ok(outage.clone()));
        assert!(outage.takes("srv-003", outage.start) && !outage.takes("srv-003", outage.end) && !outage.takes("srv-004", outage.start));
        for text in [
            "srv-003",
            "srv-003@2026-01-19T10:00:00Z",
            "@2026-01-19T10:00:00Z/20m",
            "srv-003@noon/20m",
            "srv-003@2026-01-19T10:00:00Z/long",
        ] {
            assert!(text.parse::<Outage>().unwrap_err().contains("write it like"), "{text}");
        }
    }
}
