//! Civil time: series that follow the clocks of people, over the nights in which those change, and over holidays.
//!
//! What the clocks show comes from chrono-tz here, and not from the calendar of a model.

use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use chrono_tz::Tz;
use clap::Parser;
use dataflows::{Model, Time, Track};
use tidewatch::history::TrainingRow;
use tidewatch::instant;
use tidewatch::series::SeriesName;
use tidewatch::train::{Calendars, MethodName, Request, fit};

const BUCKET: Time = 300_000;
const DAY: Time = 86_400_000;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    calendars: Calendars,
}

/// The flags of a zone.
fn calendars(zone: &str) -> Calendars {
    Line::parse_from(["tidewatch", "--timezone", zone]).calendars
}

/// From 0 to 1, as if at random.
fn chance(time: Time) -> f64 {
    let mut z = (time / BUCKET).cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A shop: between half past five and half past six by the clock on the wall everybody comes, and fourteen hours later they go, on so many days of the
/// week from Monday on, and never on days off.
fn shop(time: Time, clock: Tz, days: u32, off: &[NaiveDate]) -> f64 {
    let wall = DateTime::from_timestamp_millis(time).unwrap().with_timezone(&clock);
    let opens = wall.weekday().num_days_from_monday() < days && !off.contains(&wall.date_naive());
    let hour = f64::from(wall.hour()) + f64::from(wall.minute()) / 60.0;
    let there = (hour - 5.5).min(20.5 - hour).clamp(0.0, 1.0);
    20.0 + if opens { 60.0 * there } else { 0.0 } + 4.0 * chance(time)
}

/// How each method's shop is open: the baseline smooths what weekends have of their own over two hours, and takes edges that are steeper for anomalies.
const METHODS: [(MethodName, u32); 2] = [(MethodName::SeasonalLevel, 5), (MethodName::StlZscore, 7)];

/// As many of eight days of noise may be flagged: two buckets are no habit.
const NOISE: usize = 2;

/// What the model makes of the eight days after `until`, as civil times of the buckets that are flagged.
fn flagged(model: &Model, until: Time, clock: Tz, usual: &dyn Fn(Time) -> f64) -> Vec<String> {
    let mut track: Option<Box<Track>> = None;
    let mut is_flagged = |start: &Time| {
        let (score, after) = model.score(track.as_deref(), *start, usual(*start), 1);
        track = after;
        score.unwrap().z_score.0.abs() > 3.0
    };
    let flagged = (until..until + 8 * DAY).step_by(BUCKET as usize).filter(&mut is_flagged);
    flagged.map(|start| DateTime::from_timestamp_millis(start).unwrap().with_timezone(&clock).to_rfc3339()).collect()
}

/// Trained on so many days before `until` by `method` under these flags, the same series scored on the eight days after it.
fn alarms(until: &str, days: Time, method: MethodName, calendars: Calendars, clock: Tz, usual: &dyn Fn(Time) -> f64) -> Vec<String> {
    let until = instant::parse(until).unwrap();
    let name = SeriesName::new("server", "srv-001", "cpu_usage_percent");
    let row = |start| TrainingRow { series: name.id(), start, mean: usual(start), anomalous: false };
    let history: Vec<TrainingRow> = (until - days * DAY..until).step_by(BUCKET as usize).map(row).collect();
    let request = Request { calendars, methods: method.into(), window: days * DAY, ..Request::new(until, 0) };
    flagged(&fit(&name, &history, &request).unwrap().model, until, clock, usual)
}

/// The nights before which training ended, each in a zone: clocks go forward and back, on both halves of the globe, by an hour and by half of one.
const NIGHTS: [(&str, &str); 6] = [
    ("Europe/Berlin", "2026-03-28T12:00:00Z"),
    ("Europe/Berlin", "2026-10-24T12:00:00Z"),
    ("Australia/Sydney", "2026-04-04T00:00:00Z"),
    ("Australia/Sydney", "2026-10-03T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
];

#[test]
fn the_nights_in_which_clocks_change_bring_no_false_alarm_in_civil_time_and_many_in_utc() {
    for (method, days) in METHODS {
        let mut in_utc = 0;
        for (zone, until) in NIGHTS {
            let clock: Tz = zone.parse().unwrap();
            let usual = |time: Time| shop(time, clock, days, &[]);
            let civil = alarms(until, 21, method, calendars(zone), clock, &usual);
            assert!(civil.len() <= NOISE, "{zone} from {until} by {method:?}: {civil:?}");
            in_utc += alarms(until, 21, method, calendars("UTC"), clock, &usual).len();
        }
        assert!(in_utc >= 2 * NIGHTS.len() * NOISE, "by {method:?}: only {in_utc} in UTC");
    }
}

#[test]
fn clocks_that_changed_within_the_training_window_leave_the_profile_sharp() {
    for (zone, until) in NIGHTS {
        let clock: Tz = zone.parse().unwrap();
        let week_later = instant::format(instant::parse(until).unwrap() + 8 * DAY);
        for (method, days) in METHODS {
            let usual = |time: Time| shop(time, clock, days, &[]);
            let civil = alarms(&week_later, 21, method, calendars(zone), clock, &usual);
            assert!(civil.len() <= NOISE, "{zone} from {week_later} by {method:?}: {civil:?}");
        }
    }
}

#[test]
fn half_an_hour_of_offset_is_half_an_hour_and_not_a_whole_one() {
    let (zone, until) = ("Asia/Kolkata", "2026-03-07T18:30:00Z");
    let clock: Tz = zone.parse().unwrap();
    let usual = |time: Time| shop(time, clock, 5, &[]);
    let civil = alarms(until, 21, MethodName::SeasonalLevel, calendars(zone), clock, &usual);
    assert!(civil.len() <= NOISE, "{civil:?}");
    let (name, start) = (SeriesName::new("server", "srv-001", "cpu_usage_percent"), instant::parse(until).unwrap());
    let row = |start| TrainingRow { series: name.id(), start, mean: usual(start), anomalous: false };
    let history: Vec<TrainingRow> = (start - 14 * DAY..start).step_by(BUCKET as usize).map(row).collect();
    let request = Request { calendars: calendars(zone), ..Request::new(start, 0) };
    let model = fit(&name, &history, &request).unwrap().model;
    let rise = instant::parse("2026-03-09T00:00:00Z").unwrap();
    let slope = model.seasonal_at(rise + 12 * BUCKET) - model.seasonal_at(rise);
    assert!(slope > 50.0, "half past five in Kolkata is midnight in UTC, and then it rises by 60, not {slope}");
}

#[test]
fn a_holiday_on_the_list_is_quiet_and_one_that_is_not_is_an_alarm() {
    let (zone, until) = ("Europe/Berlin", "2026-05-10T00:00:00Z");
    let clock: Tz = zone.parse().unwrap();
    // Ascension Day, a Thursday.
    let holiday = NaiveDate::from_ymd_opt(2026, 5, 14).unwrap();
    let usual = |time: Time| shop(time, clock, 5, &[holiday]);
    let on_the_day = |flags: &[&str], method| {
        let calendars = Line::parse_from(["tidewatch", "--timezone=Europe/Berlin"].iter().chain(flags)).calendars;
        let flagged = alarms(until, 21, method, calendars, clock, &usual);
        flagged.iter().filter(|at| at.starts_with("2026-05-14")).count()
    };
    for method in [MethodName::SeasonalLevel, MethodName::StlZscore] {
        let unlisted = on_the_day(&[], method);
        let listed = on_the_day(&["--holidays=2026-12-25,Europe/Berlin:2026-05-14"], method);
        let elsewhere = on_the_day(&["--holidays=Europe/Vienna:2026-05-14"], method);
        let day_after = on_the_day(&["--holidays=2026-05-15"], method);
        assert!(unlisted >= 2 && elsewhere == unlisted && day_after >= 2, "{method:?}: {unlisted}, {elsewhere}, {day_after}");
        // The baseline's edges of weekends again.
        let least = if method == MethodName::SeasonalLevel { 0 } else { unlisted / 3 };
        assert!(listed <= least, "{method:?}: {listed} of {unlisted}");
    }
}
