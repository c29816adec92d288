//! The trainer on series made from formulas: what the models must say, and that no fault of the prototype returns.
//!
//! The noise is a seeded normal one, so every number here is the same on every run.

mod training_series;

use dataflows::{Model, Seasonal};
use tidewatch::history::TrainingRow;
use tidewatch::train::{MethodName, Request, Skipped, fit};
use training_series::{BUCKET, Curve, DAY, MONDAY, SIGMA, name, rows, stl, trained};

const HOUR: i64 = 3_600_000;

/// The share of buckets that score beyond 3 when `shift` is added to them.
fn share_over(model: &Model, rows: &[TrainingRow], shift: f64) -> f64 {
    let over = rows.iter().filter(|row| model.score(None, row.start, row.mean + shift, 1).0.unwrap().z_score.0.abs() > 3.0).count();
    over as f64 / rows.len() as f64
}

/// Fault: the pattern started where training ended but was indexed by minutes since midnight.
#[test]
fn the_expected_value_is_in_phase_whenever_training_began_and_ended() {
    for (from, until) in [(0, 14 * DAY), (7 * HOUR + 5 * BUCKET, 13 * DAY + 13 * HOUR + 35 * 60_000)] {
        let curve = Curve::daily();
        let model = trained(&rows(&curve, MONDAY + from, MONDAY + until, |_, value| Some(value)), MONDAY + until).model;
        for hour in 0..24 {
            let start = MONDAY + 14 * DAY + hour * HOUR + 10 * 60_000;
            let (expected, truth) = (model.expected(start), curve.at(start));
            assert!((expected - truth).abs() < 0.5 * SIGMA, "{hour}:10: expected {expected}, truth {truth}");
        }
    }
}

#[test]
fn a_model_trained_until_13_35_knows_what_to_expect_at_03_10() {
    let curve = Curve::daily();
    let until = MONDAY + 13 * DAY + 13 * HOUR + 37 * 60_000;
    let model = trained(&rows(&curve, MONDAY + 13 * HOUR + 35 * 60_000, until, |_, value| Some(value)), until).model;
    assert_eq!(model.trained_until, MONDAY + 13 * DAY + 13 * HOUR + 35 * 60_000, "the bucket of 13:35 is not complete");
    let start = MONDAY + 14 * DAY + 3 * HOUR + 10 * 60_000;
    assert!((model.expected(start) - curve.at(start)).abs() < 0.5 * SIGMA);
}

/// Fault: gaps were dropped instead of re-indexed, which shifted the phase of everything before them.
#[test]
fn gaps_of_three_hours_and_of_a_day_are_harmless() {
    let curve = Curve::daily();
    let until = MONDAY + 14 * DAY;
    let whole = trained(&rows(&curve, MONDAY, until, |_, value| Some(value)), until);
    let holes = [(3 * DAY + 8 * HOUR, 3 * HOUR), (6 * DAY, DAY), (9 * DAY + 21 * HOUR, DAY), (13 * DAY + 20 * HOUR, 3 * HOUR)];
    let punched = rows(&curve, MONDAY, until, |time, value| {
        let hole = holes.iter().any(|(start, length)| (*start..start + length).contains(&(time - MONDAY)));
        (!hole).then_some(value)
    });
    let punched = trained(&punched, until);
    assert_eq!(punched.provenance.buckets, 14 * 288 - 2 * 36 - 2 * 288);
    for start in (until..until + DAY).step_by(BUCKET as usize) {
        let (expected, truth) = (punched.model.expected(start), curve.at(start));
        assert!((expected - truth).abs() < 1.5 * SIGMA, "expected {expected}, truth {truth}");
    }
    assert!((punched.model.sigma / whole.model.sigma - 1.0).abs() < 0.1);
}

/// Fault: a slope fitted to the last days was extrapolated without bound.
#[test]
fn a_shift_or_a_ramp_at_the_end_is_not_extrapolated() {
    let curve = Curve::daily();
    let until = MONDAY + 14 * DAY;
    for (length, per_day) in [(6 * HOUR, 0.0), (3 * DAY, 0.0), (2 * DAY, 15.0), (4 * DAY, 15.0)] {
        let change = |time: i64| {
            let since = time - (until - length);
            let days = since.max(0) as f64 / DAY as f64;
            if since < 0 {
                0.0
            } else if per_day > 0.0 {
                per_day * days
            } else {
                20.0 * SIGMA
            }
        };
        let model = trained(&rows(&curve, MONDAY, until, |time, value| Some(value + change(time))), until).model;
        for week in 0..4 {
            let start = until + week * 7 * DAY + 10 * HOUR;
            let above = model.expected(start) - curve.at(start);
            let most = change(until - 1) + 2.0 * SIGMA;
            assert!((-2.0 * SIGMA..most).contains(&above), "{above} above normal, the change was {}", change(until - 1));
        }
    }
}

#[test]
fn a_level_that_has_shifted_for_a_day_is_the_new_level() {
    let curve = Curve::daily();
    let until = MONDAY + 14 * DAY;
    for flagged in [false, true] {
        let shifted = |time: i64| time >= until - DAY;
        let mut rows = rows(&curve, MONDAY, until, |time, value| Some(value + if shifted(time) { 20.0 * SIGMA } else { 0.0 }));
        rows.iter_mut().for_each(|row| row.anomalous = flagged && shifted(row.start));
        let model = trained(&rows, until).model;
        let above = model.expected(until + HOUR) - curve.at(until + HOUR);
        assert!((above - 20.0 * SIGMA).abs() < 2.0 * SIGMA, "flagged {flagged}: {above} above the old level");
        assert!(model.sigma < 1.6 * SIGMA, "flagged {flagged}: sigma {}", model.sigma);
    }
}

/// Fault: anomalies were in the training set.
#[test]
fn anomalies_in_training_move_neither_profile_nor_sigma() {
    let curve = Curve::daily();
    let until = MONDAY + 14 * DAY;
    let clean = trained(&rows(&curve, MONDAY, until, |_, value| Some(value)), until).model;
    let spoilt = |time: i64| {
        let minute = (time - MONDAY) / 60_000;
        (3 * 1440 + 600..3 * 1440 + 640).contains(&minute) || (8 * 1440 + 100..8 * 1440 + 220).contains(&minute)
    };
    for flagged in [false, true] {
        let mut rows = rows(&curve, MONDAY, until, |time, value| Some(if spoilt(time) { value + 30.0 * SIGMA } else { value }));
        rows.iter_mut().for_each(|row| row.anomalous = flagged && spoilt(row.start));
        let trained = trained(&rows, until);
        assert!(trained.provenance.masked >= 32, "{} of 32 anomalous buckets are masked", trained.provenance.masked);
        assert!((trained.model.sigma / clean.sigma - 1.0).abs() < 0.05, "{} instead of {}", trained.model.sigma, clean.sigma);
        for start in (until..until + DAY).step_by(BUCKET as usize) {
            assert!((trained.model.expected(start) - clean.expected(start)).abs() < 0.5 * SIGMA);
        }
    }
}

/// A name, a formula, and the least sigma.
type Shape<'a> = (&'a str, &'a dyn Fn(i64) -> f64, f64);

/// Fault: sigma could be zero.
#[test]
fn sigma_is_never_zero() {
    let until = MONDAY + 14 * DAY;
    let slot = |time: i64| (time - MONDAY) / BUCKET;
    // The least sigma is the rounding error of the smallest step, step / √12.
    let shapes: [Shape; 5] = [
        ("noiseless wave", &|time| (slot(time) % 288) as f64, 0.288),
        ("one step", &|time| if time < MONDAY + 7 * DAY { 1.0 } else { 2.0 }, 0.288),
        ("one blip", &|time| f64::from(slot(time) == 1000), 0.288),
        ("rarely busy", &|time| if slot(time) % 97 == 0 { 5e9 } else { 0.0 }, 1.44e9),
        ("tiny numbers", &|time| 1e-300 * (slot(time) % 3) as f64, 2.88e-301),
    ];
    for (shape, value, least) in shapes {
        let model = trained(&rows(&Curve::flat(), MONDAY, until, |time, _| Some(value(time))), until).model;
        assert_eq!(model.defect(), None, "{shape}");
        assert!(model.sigma >= least, "{shape}: sigma {}", model.sigma);
        assert!(model.score(None, until, value(until), 1).0.unwrap().z_score.0.is_finite(), "{shape}");
    }
}

#[test]
fn sigma_is_honest_and_a_shift_of_five_sigma_is_seen() {
    let (mut over, mut total, mut seen) = (0.0, 0.0, 0.0);
    for seed in 0..200 {
        let curve = Curve { seed, ..Curve::daily() };
        let until = MONDAY + 14 * DAY;
        let model = trained(&rows(&curve, MONDAY, until, |_, value| Some(value)), until).model;
        assert!((0.9..1.25).contains(&(model.sigma / SIGMA)), "sigma {} of {SIGMA}", model.sigma);
        let next = rows(&curve, until, until + DAY, |_, value| Some(value));
        over += share_over(&model, &next, 0.0);
        seen += share_over(&model, &next, 5.0 * SIGMA);
        total += 1.0;
    }
    let (over, seen) = (over / total, seen / total);
    eprintln!("beyond 3: {:.3} % of normal buckets, {:.2} % of shifted ones", over * 100.0, seen * 100.0);
    assert!(over <= 0.003, "{:.3} % of normal buckets are beyond 3", over * 100.0);
    assert!(seen >= 0.95, "{:.1} % of the shifted buckets are beyond 3", seen * 100.0);
}

#[test]
fn two_days_are_enough_and_still_honest() {
    let mut over = 0.0;
    for seed in 0..40 {
        let curve = Curve { seed, ..Curve::daily() };
        let until = MONDAY + 2 * DAY;
        let model = trained(&rows(&curve, MONDAY, until, |_, value| Some(value)), until).model;
        over += share_over(&model, &rows(&curve, until, until + DAY, |_, value| Some(value)), 0.0) / 40.0;
    }
    assert!(over <= 0.006, "{:.2} % of normal buckets are beyond 3", over * 100.0);
}

#[test]
fn a_weekend_has_its_own_profile_where_the_series_has_one() {
    let curve = Curve { weekend: -12.0, ..Curve::daily() };
    let until = MONDAY + 14 * DAY;
    let model = trained(&rows(&curve, MONDAY, until, |_, value| Some(value)), until).model;
    assert!(matches!(model.seasonal, Seasonal::Weekly { .. }));
    for day in [0, 4, 5, 6] {
        let start = until + day * DAY + 12 * HOUR;
        let (expected, truth) = (model.expected(start), curve.at(start));
        assert!((expected - truth).abs() < 1.0 * SIGMA, "day {day}: expected {expected}, truth {truth}");
    }
    assert!(model.sigma < 1.3 * SIGMA, "sigma {}", model.sigma);
}

#[test]
fn noise_does_not_make_a_weekend() {
    for seed in 0..40 {
        let curve = Curve { seed, ..Curve::daily() };
        let model = trained(&rows(&curve, MONDAY, MONDAY + 14 * DAY, |_, value| Some(value)), MONDAY + 14 * DAY).model;
        assert!(matches!(model.seasonal, Seasonal::Daily(_)), "seed {seed}");
    }
}

#[test]
fn the_order_of_rows_and_the_number_of_threads_change_nothing() {
    let curve = Curve { weekend: -12.0, ..Curve::daily() };
    let mut rows = rows(&curve, MONDAY, MONDAY + 14 * DAY, |_, value| Some(value));
    let model = trained(&rows, MONDAY + 14 * DAY);
    rows.reverse();
    rows.rotate_left(1234);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one.install(|| trained(&rows, MONDAY + 14 * DAY)), model);
}

#[test]
fn a_skipped_series_says_why() {
    let request = stl(MONDAY + 14 * DAY);
    let skipped = |days: i64, take: &dyn Fn(i64, f64) -> Option<f64>| {
        let rows = rows(&Curve::daily(), MONDAY, MONDAY + days * DAY, take);
        fit(&name(), &rows, &request).unwrap_err()
    };
    assert_eq!(skipped(1, &|_, value| Some(value)), Skipped::Warming { seen: 288, needed: 576 });
    assert_eq!(fit(&name(), &[], &request).unwrap_err().reason(), "warming");
    let sparse = skipped(14, &|time, value| (time % (3 * BUCKET) == 0).then_some(value));
    assert_eq!(sparse.to_string(), "mostly_empty: 33 % of its buckets have samples, 50 % are needed");
    assert_eq!(skipped(14, &|_, _| Some(7.5)).to_string(), "constant: every bucket is 7.5");
    let broken = skipped(14, &|time, value| Some(if time == MONDAY + DAY { f64::NAN } else { value }));
    assert_eq!(broken, Skipped::NotFinite);
}

#[test]
fn a_model_says_how_it_was_made_and_is_small() {
    let curve = Curve { weekend: -12.0, ..Curve::daily() };
    let rows = rows(&curve, MONDAY, MONDAY + 14 * DAY, |_, value| Some(value));
    let trained = trained(&rows, MONDAY + 14 * DAY);
    let provenance = &trained.provenance;
    assert_eq!((provenance.method.as_str(), provenance.buckets, provenance.fill), ("stl_zscore", 4032, 1.0));
    assert_eq!((trained.model.trained_from, trained.model.trained_until), (MONDAY, MONDAY + 14 * DAY));
    assert_eq!(provenance.input_hash.len(), 16);
    let mut changed = rows;
    changed[77].mean += 1e-9;
    assert_ne!(self::trained(&changed, MONDAY + 14 * DAY).provenance.input_hash, provenance.input_hash);
    let Seasonal::Weekly { weekday, weekend } = &trained.model.seasonal else { panic!("no weekend") };
    assert!(size_of_val(&trained) + size_of_val(&weekday[..]) + size_of_val(&weekend[..]) < 12 * 1024);
}

#[test]
fn the_naive_method_expects_the_last_day_again_with_the_scale_of_how_days_differ() {
    let until = MONDAY + 14 * DAY;
    // The last day is three higher, and has a gap of an hour.
    let take = |time: i64, value: f64| {
        let is_last = time >= until - DAY;
        let is_gap = is_last && (time - until + DAY) / HOUR == 7;
        (!is_gap).then_some(if is_last { value + 3.0 } else { value })
    };
    let rows = rows(&Curve::daily(), MONDAY, until, take);
    let request = Request { methods: MethodName::SeasonalNaive.into(), ..stl(until) };
    let trained = fit(&name(), &rows, &request).unwrap();
    let model = &trained.model;
    assert_eq!((model.method.name(), trained.provenance.method.as_str()), ("seasonal_naive", "seasonal_naive"));
    // The difference of two noises is wider than one by the root of two.
    assert!((0.95..1.1).contains(&(model.sigma / (SIGMA * 2_f64.sqrt()))), "sigma {}", model.sigma);
    for row in rows.iter().filter(|row| row.start >= until - DAY) {
        for days in [1, 5] {
            let (expected, mean) = (model.expected(row.start + days * DAY), row.mean);
            assert!((expected - mean).abs() < 0.01 * SIGMA, "expected {expected} {days} days after {mean}");
        }
    }
    let gap = until + 7 * HOUR + 30 * 60_000;
    let day_before = rows.iter().find(|row| row.start == gap - 2 * DAY).unwrap().mean;
    assert!((model.expected(gap) - day_before).abs() < 0.01 * SIGMA, "where the last day has a gap, the day before it counts");
    let (score, track) = model.score(None, gap, model.expected(gap) + 4.0 * model.sigma, 1);
    assert!((score.unwrap().z_score.0 - 4.0).abs() < 1e-9 && track.is_none());
    assert_eq!(fit(&name(), &rows[..300], &request).unwrap_err().reason(), "warming");
    let mut store = tidewatch::models::open("embedded::memory:").unwrap();
    store.push(std::slice::from_ref(&trained)).unwrap();
    assert_eq!(store.get(&name()).unwrap().unwrap(), trained, "through the store");
}
