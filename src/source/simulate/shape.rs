//! How load moves with the hour and the day of the week, before any noise.

/// Seconds in a day.
const DAY: i64 = 86_400;

/// Load of the whole weekend relative to the same hours of a weekday: about what office and shop traffic loses.
const WEEKEND: f64 = 0.75;

/// Half the hours that Friday takes to become Saturday: habits change over an evening, not at the stroke of midnight.
const WEEKEND_RAMP_HOURS: i64 = 2;

/// Relative load at each full hour of servers that people use: quiet at four, rising from seven, a lunch dip, an evening shoulder.
pub(super) const INTERACTIVE: [f64; 24] = [
    0.34, 0.27, 0.22, 0.19, 0.18, 0.21, 0.30, 0.46, 0.65, 0.82, 0.93, 0.98, 0.95, 0.94, 0.98, 1.00, 0.97, 0.92, 0.88, 0.85, 0.80, 0.70,
    0.56, 0.43,
];

/// Relative load of servers that do the night's work: backups from one, reports until six.
pub(super) const BATCH: [f64; 24] = [
    0.70, 0.88, 0.98, 1.00, 0.97, 0.90, 0.76, 0.58, 0.45, 0.38, 0.35, 0.34, 0.34, 0.35, 0.35, 0.36, 0.36, 0.37, 0.38, 0.40, 0.43, 0.47,
    0.53, 0.60,
];

/// Load at a time in seconds since the epoch: about 0.13 (a weekend night) to 1.0.
pub(super) fn load(curve: &[f64; 24], seconds: i64) -> f64 {
    daily(curve, seconds) * weekly(seconds)
}

/// The curve of the day, smooth through its hours (Catmull–Rom, so that it needs no trigonometry).
fn daily(curve: &[f64; 24], seconds: i64) -> f64 {
    let second = seconds.rem_euclid(DAY);
    let (hour, x) = ((second / 3600) as usize, (second % 3600) as f64 / 3600.0);
    let at = |shift: usize| curve[(hour + 23 + shift) % 24];
    let (before, from, to, after) = (at(0), at(1), at(2), at(3));
    let (a, b, c) = (3.0 * (from - to) + after - before, 2.0 * before - 5.0 * from + 4.0 * to - after, to - before);
    from + 0.5 * x * (c + x * (b + x * a))
}

/// The factor of the day of the week: 1 on weekdays, [`WEEKEND`] on Saturday and Sunday, smooth between.
fn weekly(seconds: i64) -> f64 {
    // The epoch was a Thursday, so Saturday begins two days after it.
    let seconds = (seconds - 2 * DAY + WEEKEND_RAMP_HOURS * 3600).rem_euclid(7 * DAY);
    let hours = seconds as f64 / 3600.0;
    let width = (2 * WEEKEND_RAMP_HOURS) as f64;
    let into = smooth(hours / width);
    let out_of = smooth((hours - 48.0) / width);
    1.0 - (1.0 - WEEKEND) * (into - out_of)
}

/// From 0 to 1 without a corner.
fn smooth(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-19 00:00 UTC, a Monday.
    const MONDAY: i64 = 1_768_780_800;

    #[test]
    fn a_weekend_is_a_quarter_quieter_and_nothing_jumps() {
        let hour = |day: i64, hour: i64| load(&INTERACTIVE, MONDAY + day * DAY + hour * 3600);
        assert_eq!(hour(0, 15), 1.0);
        assert!((hour(5, 15) - 0.75).abs() < 1e-12, "Saturday");
        assert!((hour(6, 15) - 0.75).abs() < 1e-12, "Sunday");
        assert_eq!(hour(7, 15), 1.0);
        for curve in [&INTERACTIVE, &BATCH] {
            for minute in 0..7 * 1440 {
                let at = MONDAY + minute * 60;
                let (now, next) = (load(curve, at), load(curve, at + 60));
                assert!((0.1..=1.01).contains(&now), "{now}");
                assert!((now - next).abs() < 0.006, "{now} then {next} at minute {minute}");
            }
        }
    }
}
