//! A fleet whose behaviour changes little by little: that the models are wrong is said before the false alarms double.

use dataflows::{Time, Track};
use tidewatch::history::TrainingRow;
use tidewatch::series::SeriesName;
use tidewatch::train::{Request, fit};

const BUCKET: Time = 300_000;
/// Buckets in a day.
const DAY: i64 = 288;
/// 2026-01-05T00:00:00Z.
const MONDAY: Time = 1_767_571_200_000;
const FLEET: u64 = 16;
/// Training ends here, ...
const TRAINED: i64 = 14 * DAY;
/// ...drift begins here, ...
const ONSET: i64 = 18 * DAY;
/// ...and is looked at until here.
const END: i64 = 26 * DAY;

/// From 0 to 1, as if at random.
fn chance(i: u64) -> f64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Normally distributed, nearly; with bursts of all sizes, which are false alarms if anything is.
fn noise(series: u64, i: i64) -> f64 {
    let from = (series << 40) + (i.cast_unsigned() << 4);
    let burst = if chance(from + 13) < 0.004 { 16.0 * chance(from + 14) } else { 0.0 };
    (0..12).map(|n| chance(from + n)).sum::<f64>() - 6.0 + burst
}

/// A day of a series, shifted by so many days.
fn shape(i: i64, shift: f64) -> f64 {
    50.0 + 10.0 * ((i as f64 / DAY as f64 + shift) * std::f64::consts::TAU).sin()
}

/// How far a change has come that takes so many days.
fn progress(i: i64, days: i64) -> f64 {
    ((i - ONSET) as f64 / (days * DAY) as f64).clamp(0.0, 1.0)
}

/// The buckets of a series after training that are flagged, and the one at which it was said to drift.
fn watched(value: &dyn Fn(i64) -> f64) -> (Vec<i64>, Option<i64>) {
    let name = SeriesName::new("server", "srv-001", "cpu_usage_percent");
    let row = |i: i64| TrainingRow { series: name.id(), start: MONDAY + i * BUCKET, mean: value(i), anomalous: false };
    let rows: Vec<TrainingRow> = (0..TRAINED).map(row).collect();
    let model = fit(&name, &rows, &Request::new(MONDAY + TRAINED * BUCKET, 0)).unwrap().model;
    let (mut track, mut flagged, mut since): (Option<Box<Track>>, Vec<i64>, Option<i64>) = (None, Vec::new(), None);
    for i in TRAINED..END {
        let (score, after) = model.score(track.as_deref(), MONDAY + i * BUCKET, value(i), 1);
        flagged.extend((score.unwrap().z_score.0.abs() > 3.0).then_some(i));
        let drifting = after.as_ref().and_then(|track| track.watch.drifting_since);
        since = since.or(drifting.map(|start| (start - MONDAY) / BUCKET));
        track = after;
    }
    (flagged, since)
}

/// The series of a fleet, and how many buckets in it were flagged before drift was said.
struct Found {
    drifting: u64,
    /// From the onset until drift was said, or until the end.
    before: usize,
    /// From the onset until the end.
    all: usize,
    /// In the same buckets of the same series, had nothing changed: until drift was said, and until the end.
    usual: (usize, usize),
}

fn fleet(value: impl Fn(u64, i64) -> f64) -> Found {
    let mut found = Found { drifting: 0, before: 0, all: 0, usual: (0, 0) };
    for series in 0..FLEET {
        let (usual, none) = watched(&|i| shape(i, 0.0) + noise(series, i));
        assert_eq!(none, None, "series {series} is healthy, and said to drift");
        let (flagged, since) = watched(&|i| value(series, i));
        let until = since.unwrap_or(END);
        assert!(until >= ONSET, "series {series} is said to drift before it does");
        let count = |flagged: &[i64], until: i64| flagged.iter().filter(|i| (ONSET..until).contains(i)).count();
        found.drifting += u64::from(since.is_some());
        found.before += count(&flagged, until);
        found.all += count(&flagged, END);
        found.usual.0 += count(&usual, until);
        found.usual.1 += count(&usual, END);
    }
    found
}

/// What came of a fleet, of which nearly all series must have been said to drift.
fn seen(what: &str, least: u64, value: impl Fn(u64, i64) -> f64) -> Found {
    let found = fleet(value);
    assert!(found.drifting >= least, "{what}: {} of {FLEET} series are said to drift", found.drifting);
    assert!(found.usual.0 >= 10, "{what}: {} false alarms are usual: nothing can double", found.usual.0);
    found
}

#[test]
fn noise_that_grows_is_a_drift_before_the_false_alarms_double() {
    let Found { before, all, usual, .. } =
        seen("noise", FLEET, |series, i| shape(i, 0.0) + (1.0 + 1.5 * progress(i, 3)) * noise(series, i));
    assert!(before < 2 * usual.0, "{before} are flagged before drift is said, and {} without it", usual.0);
    assert!(all > 2 * usual.1, "{all} are flagged in all, and {} without drift: there was nothing to be seen", usual.1);
}

#[test]
fn a_day_that_changes_its_shape_is_a_drift_before_most_of_its_alarms() {
    let Found { before, all, .. } = seen("shape", FLEET, |series, i| shape(i, progress(i, 5) / 4.0) + noise(series, i));
    assert!(before < 4 * FLEET as usize, "{before} are flagged before drift is said");
    assert!(8 * before < all, "{before} of {all} are flagged before drift is said");
}

#[test]
fn a_level_that_walks_is_a_drift_before_most_of_its_alarms() {
    let chances = |series: u64, i: i64| (0..12).map(move |n| chance(((series + FLEET) << 40) + (i.cast_unsigned() << 4) + n));
    let step = |series: u64, i: i64| 0.25 * chances(series, i).sum::<f64>() - 1.5;
    let walked = |series: u64, i: i64| (ONSET..i.max(ONSET)).map(|i| step(series, i)).sum::<f64>();
    let Found { before, all, .. } = seen("level", 3 * FLEET / 4, |series, i| shape(i, 0.0) + noise(series, i) + walked(series, i));
    assert!(3 * before < all, "{before} of {all} are flagged before drift is said");
}
