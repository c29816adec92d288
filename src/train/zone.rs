//! Time zones by their IANA names. The only place that knows the database.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use dataflows::{Calendar, Time};

/// Offsets are looked at so often, and in between where they differ. No zone has ever changed its clocks twice in half a day.
const STEP: Time = 12 * 3_600_000;

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl Default for Zone {
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl Zone {
    /// The zone of that name.
    ///
    /// # Errors
    /// A name that is not in the database, with the nearest one that is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = text.trim();
        let likeness = |zone: &Tz| {
            let city = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase();
            let whole = strsim::jaro_winkler(&wanted.to_lowercase(), &zone.name().to_lowercase());
            whole.max(strsim::jaro_winkler(&city(wanted), &city(zone.name())))
        };
        wanted.parse().map(Self).map_err(|_| {
            let nearest = TZ_VARIANTS.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
            let nearest = nearest.map_or("UTC", |zone| zone.name());
            format!(
                "'{wanted}' is not a time zone; did you mean {nearest}? Names are those of the IANA database, such as Europe/Berlin or UTC"
            )
        })
    }

    /// The IANA name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The calendar of this zone, true from one time to another, with these holidays.
    pub fn calendar(&self, from: Time, until: Time, holidays: Vec<i64>) -> Calendar {
        let mut offsets = vec![(from, self.ahead(from))];
        let (mut time, mut ahead) = offsets[0];
        while time < until {
            let next = time + STEP;
            if self.ahead(next) != ahead {
                let since = self.change(time, next, ahead);
                ahead = self.ahead(next);
                offsets.push((since, ahead));
            }
            time = next;
        }
        if offsets.iter().all(|(_, ahead)| *ahead == 0) {
            offsets.clear();
        }
        Calendar { zone: self.name().into(), offsets, holidays }
    }

    /// How far civil time is ahead of UTC, in milliseconds.
    fn ahead(&self, time: Time) -> Time {
        let instant = DateTime::from_timestamp_millis(time).unwrap_or_default();
        1000 * Time::from(self.0.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc())
    }

    /// When the offset ceases to be `ahead`, between a time where it is and one where it is not, to the millisecond.
    fn change(&self, mut is: Time, mut is_not: Time, ahead: Time) -> Time {
        while is_not - is > 1 {
            let middle = i64::midpoint(is, is_not);
            if self.ahead(middle) == ahead {
                is = middle;
            } else {
                is_not = middle;
            }
        }
        is_not
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instant;

    const HOUR: Time = 3_600_000;

    fn offsets(zone: &str) -> Vec<(String, f64)> {
        let time = |text| instant::parse(text).unwrap();
        let calendar = Zone::parse(zone).unwrap().calendar(time("2026-01-05T00:00:00Z"), time("2027-01-05T00:00:00Z"), Vec::new());
        assert_eq!(calendar.defect(), None);
        calendar.offsets.iter().map(|(since, ahead)| (instant::format(*since), *ahead as f64 / HOUR as f64)).collect()
    }

    fn expect(zone: &str, expected: &[(&str, f64)]) {
        let found = offsets(zone);
        let found: Vec<(&str, f64)> = found.iter().map(|(since, hours)| (since.as_str(), *hours)).collect();
        assert_eq!(found, expected, "{zone}");
    }

    /// As the zones' authorities have published it for 2026.
    #[test]
    fn clocks_change_when_they_do_on_the_wall() {
        let start = "2026-01-05T00:00:00Z";
        expect("Europe/Berlin", &[(start, 1.0), ("2026-03-29T01:00:00Z", 2.0), ("2026-10-25T01:00:00Z", 1.0)]);
        expect("America/New_York", &[(start, -5.0), ("2026-03-08T07:00:00Z", -4.0), ("2026-11-01T06:00:00Z", -5.0)]);
        expect("Australia/Sydney", &[(start, 11.0), ("2026-04-04T16:00:00Z", 10.0), ("2026-10-03T16:00:00Z", 11.0)]);
        expect("Australia/Lord_Howe", &[(start, 11.0), ("2026-04-04T15:00:00Z", 10.5), ("2026-10-03T15:30:00Z", 11.0)]);
        expect("Asia/Kolkata", &[(start, 5.5)]);
        expect("UTC", &[]);
    }

    #[test]
    fn a_zone_that_is_not_one_gets_a_suggestion() {
        for (wrong, right) in [("Europe/Berln", "Europe/Berlin"), ("Berlin", "Europe/Berlin"), ("us/new_yorc", "America/New_York")] {
            let error = Zone::parse(wrong).unwrap_err();
            assert!(error.contains(&format!("did you mean {right}?")), "{error}");
        }
    }
}
