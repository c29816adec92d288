//! Civil time: which hour and which kind of day it is where the people are that a series follows.
//!
//! A graph has no database of time zones, so a calendar carries as data what it needs of one: the offsets from UTC over the span in which its model may
//! score, and the holidays.

use crate::Time;
use serde::{Deserialize, Serialize};

const DAY: Time = 86_400_000;

/// Around the midnights before and after days of rest, their profile is faded in and out over so long to either side. People's habits do not change at
/// a stroke; and two profiles that were each found from a few days differ at midnight by noise, which a series would be accused of every Monday.
const FADE: Time = 3 * 3_600_000;

/// A civil calendar; UTC without holidays by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// The IANA name of the zone, such as `Europe/Berlin`, for people to read.
    pub zone: String,
    /// Since when civil time is ahead of UTC by how much, both in milliseconds, in order. The first holds before it as well, the last one for ever; none
    /// is UTC.
    pub offsets: Vec<(Time, Time)>,
    /// The holidays, in civil days since 1970-01-01, in order.
    pub holidays: Vec<i64>,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: "UTC".into(), offsets: Vec::new(), holidays: Vec::new() }
    }
}

impl Calendar {
    /// What a clock on the wall shows at a time, as if its readings were UTC: it leaves an hour out where clocks go forward, and repeats one where they go
    /// back.
    pub fn civil(&self, time: Time) -> Time {
        let begun = self.offsets.partition_point(|(since, _)| *since <= time);
        time + self.offsets.get(begun.saturating_sub(1)).map_or(0, |(_, ahead)| *ahead)
    }

    /// Buckets of this width since the clock on the wall would have shown 1970; the phase is what is left of it after whole periods.
    pub fn slot(&self, start: Time, width: Time) -> i64 {
        self.civil(start).div_euclid(width)
    }

    /// Whether a civil day, counted from 1970-01-01, is a Saturday, a Sunday or a holiday.
    pub fn is_rest_day(&self, day: i64) -> bool {
        // 1970-01-01 was a Thursday, day 3 of a week that starts on Monday.
        (day + 3).rem_euclid(7) >= 5 || self.holidays.binary_search(&day).is_ok()
    }

    /// Whether a time falls on such a day.
    pub fn is_rest(&self, time: Time) -> bool {
        self.is_rest_day(self.civil(time).div_euclid(DAY))
    }

    /// How much of the profile of days of rest holds at a time, 0 to 1.
    pub fn rest_share(&self, time: Time) -> f64 {
        let civil = self.civil(time);
        let (day, since) = (civil.div_euclid(DAY), civil.rem_euclid(DAY));
        let rests = self.is_rest_day(day);
        let differs = |other: i64| self.is_rest_day(other) != rests;
        // How far the nearest midnight is at which the kind of day changes, as far as it matters.
        let before = if since < FADE && differs(day - 1) { since } else { FADE };
        let after = if DAY - since < FADE && differs(day + 1) { DAY - since } else { FADE };
        let edge = before.min(after);
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let share = 0.5 + (if rests { edge } else { -edge }) as f64 / (2 * FADE) as f64;
        share.clamp(0.0, 1.0)
    }

    /// What makes this calendar unusable, if anything.
    pub fn defect(&self) -> Option<&'static str> {
        if !self.offsets.is_sorted_by(|one, other| one.0 < other.0) || self.offsets.iter().any(|(_, ahead)| ahead.abs() > DAY) {
            Some("the offsets of its calendar are out of order, or longer than a day")
        } else if !self.holidays.is_sorted_by(|one, other| one < other) {
            Some("the holidays of its calendar are out of order")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Time = 3_600_000;
    /// 2026-01-19T00:00:00Z.
    const MONDAY: Time = 1_768_780_800_000;

    #[test]
    fn the_profile_of_the_weekend_fades_in_and_out() {
        let shares = |hours: [Time; 5]| hours.map(|hour| Calendar::default().rest_share(MONDAY + hour * HOUR));
        assert_eq!(shares([-24, -3, 0, 3, 60]), [1.0, 1.0, 0.5, 0.0, 0.0]);
        assert_eq!(shares([117, 120, 123, 144, 165]), [0.0, 0.5, 1.0, 1.0, 1.0]);
        // Failed once: at a stroke at midnight, a series whose profiles differ by noise jumped every Monday.
        for minute in (-48 * 60..6 * 24 * 60).step_by(5) {
            let at = |minute: Time| Calendar::default().rest_share(MONDAY + minute * 60_000);
            assert!((at(minute) - at(minute + 5)).abs() < 0.02, "{minute}");
        }
    }

    #[test]
    fn a_holiday_is_like_a_weekend_and_fades_like_one() {
        let wednesday = MONDAY.div_euclid(DAY) + 2;
        let calendar = Calendar { holidays: vec![wednesday], ..Calendar::default() };
        let shares = |hours: [Time; 7]| hours.map(|hour| calendar.rest_share(MONDAY + hour * HOUR));
        assert_eq!(shares([44, 45, 48, 51, 60, 72, 75]), [0.0, 0.0, 0.5, 1.0, 1.0, 0.5, 0.0]);
        // A holiday before the weekend joins it: nothing fades between them.
        let long = Calendar { holidays: vec![wednesday + 2], ..Calendar::default() };
        assert_eq!([96, 117, 120, 123].map(|hour| long.rest_share(MONDAY + hour * HOUR)), [0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn the_clock_on_the_wall_leaves_an_hour_out_and_repeats_one() {
        let (forward, back) = (MONDAY + HOUR, MONDAY + 48 * HOUR);
        let calendar = Calendar { offsets: vec![(MONDAY, HOUR), (forward, 2 * HOUR), (back, HOUR)], ..Calendar::default() };
        let hour = |time: Time| (calendar.civil(time) - MONDAY) / HOUR;
        assert_eq!([-1, 0, 1, 2].map(|hour_of_day| hour(MONDAY + hour_of_day * HOUR)), [0, 1, 3, 4]);
        assert_eq!([47, 48, 49].map(|hour_of_day| hour(MONDAY + hour_of_day * HOUR)), [49, 49, 50]);
        assert_eq!(calendar.defect(), None);
        assert!(Calendar { offsets: vec![(1, 0), (1, HOUR)], ..calendar }.defect().is_some());
    }
}
