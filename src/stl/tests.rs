//! Properties that must hold for any series, and numbers from elsewhere.

use super::{Decomposition, Error, Parameters, Plan};
use proptest::prelude::*;

const PERIOD: usize = 12;

/// A deterministic noise in -0.5..0.5.
#[allow(clippy::cast_precision_loss)]
fn noise(i: usize, seed: u64) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f64 / f64::from(1_u32 << 24) - 0.5
}

#[allow(clippy::cast_precision_loss)]
fn series(n: usize, seed: u64) -> Vec<f64> {
    let swing = |i: usize| (i as f64 / PERIOD as f64 * std::f64::consts::TAU).sin();
    (0..n).map(|i| 50.0 + 0.03 * i as f64 + 8.0 * swing(i) + 3.0 * noise(i, seed)).collect()
}

/// Parameters of all sorts, by number.
fn parameters(which: usize, n: usize) -> Parameters {
    let plain = match which % 4 {
        0 => Parameters::stlrs(PERIOD),
        1 => Parameters::periodic(PERIOD, n),
        2 => Parameters::statsmodels(PERIOD),
        _ => Parameters::new(PERIOD, 7).at_every_value(),
    };
    if which >= 4 { plain.robust() } else { plain }
}

fn fit(which: usize, series: &[f64]) -> Decomposition {
    Plan::new(parameters(which, series.len()), series.len()).unwrap().fit(series).unwrap()
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{what}[{i}] is {found}, not {expected}");
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn by_stlrs(parameters: &Parameters, series: &[f64]) -> [Vec<f64>; 3] {
    let degree = |smoother: super::Smoother| i32::from(smoother.degree == super::Degree::Line);
    let (seasonal, trend, low_pass) = (parameters.seasonal, parameters.trend, parameters.low_pass);
    let mut theirs = stlrs::params();
    theirs.seasonal_length(seasonal.window).seasonal_degree(degree(seasonal)).seasonal_jump(seasonal.jump);
    theirs.trend_length(trend.window).trend_degree(degree(trend)).trend_jump(trend.jump);
    theirs.low_pass_length(low_pass.window).low_pass_degree(degree(low_pass)).low_pass_jump(low_pass.jump);
    theirs.inner_loops(parameters.inner_loops).outer_loops(parameters.outer_loops);
    let (seasonal, trend, _, weights) = theirs.fit(series, parameters.period).unwrap().into_parts();
    [seasonal, trend, weights]
}

/// The sets of a file of golden numbers: value, seasonal and trend.
fn golden(text: &'static str) -> std::collections::BTreeMap<&'static str, [Vec<f64>; 3]> {
    let mut sets = std::collections::BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut cells = line.split(',');
        let columns: &mut [Vec<f64>; 3] = sets.entry(cells.next().unwrap()).or_default();
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell.parse().unwrap()));
    }
    sets
}

fn holds(sets: &std::collections::BTreeMap<&str, [Vec<f64>; 3]>, name: &str, parameters: &Parameters) {
    let [values, seasonal, trend] = &sets[name];
    let found = Plan::new(parameters.clone(), values.len()).unwrap().fit(values).unwrap();
    assert_near(&found.seasonal, seasonal, 1e-9, &format!("{name}: seasonal"));
    assert_near(&found.trend, trend, 1e-9, &format!("{name}: trend"));
    let [seasonal, trend, _] = by_stlrs(parameters, values);
    assert_near(&found.seasonal, &seasonal, 1e-9, &format!("{name}: seasonal of stlrs"));
    assert_near(&found.trend, &trend, 1e-9, &format!("{name}: trend of stlrs"));
}

/// By `tests/golden/stl_r.R`, whose head says how.
#[test]
fn numbers_are_those_of_r() {
    let sets = golden(include_str!("../../tests/golden/stl_r.csv"));
    holds(&sets, "nottem", &Parameters::new(12, 7));
    holds(&sets, "nottem robust", &Parameters::new(12, 7).robust());
    holds(&sets, "co2 every value", &Parameters::new(12, 21).at_every_value());
    holds(&sets, "co2 every value robust", &Parameters::new(12, 21).at_every_value().robust());
    holds(&sets, "UKgas robust", &Parameters::new(4, 13).robust());
}

/// By `tests/golden/stl_statsmodels.py`, whose head says how.
#[test]
fn numbers_are_those_of_statsmodels() {
    let sets = golden(include_str!("../../tests/golden/stl_statsmodels.csv"));
    holds(&sets, "nottem every value", &Parameters::statsmodels(12));
    let every_second = |smoother: super::Smoother| super::Smoother { jump: 2, ..smoother };
    let Parameters { seasonal, trend, low_pass, .. } = Parameters::statsmodels(12);
    let [seasonal, trend, low_pass] = [seasonal, trend, low_pass].map(every_second);
    holds(&sets, "nottem every second robust", &Parameters { seasonal, trend, low_pass, ..Parameters::statsmodels(12) }.robust());
    holds(&sets, "UKgas every value robust", &Parameters::statsmodels(4).robust());
}

#[test]
fn the_defaults_are_those_of_stlrs() {
    let values = series(155, 5);
    for (robust, ours) in [(false, Parameters::stlrs(PERIOD)), (true, Parameters::stlrs(PERIOD).robust())] {
        let theirs = stlrs::params().robust(robust).fit(&values, PERIOD).unwrap();
        let found = Plan::new(ours, values.len()).unwrap().fit(&values).unwrap();
        assert_near(&found.seasonal, theirs.seasonal(), 1e-9, "seasonal");
        assert_near(&found.trend, theirs.trend(), 1e-9, "trend");
        assert_near(&found.weights, theirs.weights(), 1e-5, "weights");
    }
}

fn assert_as_stlrs(which: usize, n: usize, seed: u64, tolerance: f64) {
    let values = series(n, seed);
    let (found, [seasonal, trend, _]) = (fit(which, &values), by_stlrs(&parameters(which, n), &values));
    assert_near(&found.seasonal, &seasonal, tolerance, "seasonal");
    assert_near(&found.trend, &trend, tolerance, "trend");
}

/// Rounding grows from one robust fit to the next where few values have weight, and statsmodels differs as much from both: these are some series, not any.
#[test]
fn robust_numbers_are_those_of_stlrs() {
    for which in 4..8 {
        for seed in 0..8 {
            // Over two or three seasons a robust line goes through its values, and what is left over, by which they are weighed, is rounding.
            assert_as_stlrs(which, 96 + 13 * usize::try_from(seed).unwrap(), seed, 1e-4);
        }
    }
}

proptest! {
    #[test]
    fn numbers_are_those_of_stlrs(which in 0_usize..4, n in 24_usize..204, seed: u64) {
        assert_as_stlrs(which, n, seed, 1e-9);
    }

    #[test]
    fn a_series_has_the_same_bits_alone_and_among_others_in_any_order(which in 0_usize..8, n in 24_usize..100, shift in 0_usize..19) {
        let many: Vec<Vec<f64>> = (0..19).map(|seed| {
            let mut values = series(n, seed);
            if seed % 3 == 0 { values[n / 2] = f64::NAN; }
            values
        }).collect();
        let plan = Plan::new(parameters(which, n), n).unwrap();
        let bits = |parts: &Decomposition| [&parts.seasonal, &parts.trend, &parts.residual, &parts.weights]
            .map(|part| part.iter().map(|value| value.to_bits()).collect::<Vec<u64>>());
        let order: Vec<usize> = (0..many.len()).map(|i| (i * 7 + shift) % many.len()).collect();
        let together = plan.fit_all(&order.iter().map(|i| many[*i].as_slice()).collect::<Vec<_>>()).unwrap();
        for (place, parts) in order.iter().zip(&together) {
            prop_assert_eq!(bits(parts), bits(&plan.fit(&many[*place]).unwrap()));
        }
    }

    #[test]
    fn scaling_and_shifting_a_series_scales_and_shifts_its_parts(which in 0_usize..4, scale in 0.01_f64..100.0, shift in -1e3_f64..1e3, gap in 0_usize..90) {
        let mut values = series(90, 3);
        if let Some(value) = values.get_mut(gap) { *value = f64::NAN; }
        let moved: Vec<f64> = values.iter().map(|value| value * scale + shift).collect();
        let (plain, moved) = (fit(which, &values), fit(which, &moved));
        assert_near(&moved.seasonal, &plain.seasonal.iter().map(|value| value * scale).collect::<Vec<_>>(), 1e-8, "seasonal");
        assert_near(&moved.trend, &plain.trend.iter().map(|value| value * scale + shift).collect::<Vec<_>>(), 1e-8, "trend");
    }

    #[test]
    fn a_constant_has_no_season_and_a_line_is_its_own_trend(which in 0_usize..4, n in 60_usize..150, level in -1e3_f64..1e3, slope in -1.0_f64..1.0) {
        let constant = fit(which, &vec![level; n]);
        assert_near(&constant.seasonal, &vec![0.0; n], 1e-9, "seasonal");
        assert_near(&constant.trend, &vec![level; n], 1e-9, "trend");
        // Only lines over the seasons foretell the next season of a line.
        #[allow(clippy::cast_precision_loss)]
        let line: Vec<f64> = (0..n).map(|i| level + slope * i as f64).collect();
        let found = Plan::new(Parameters::statsmodels(PERIOD), n).unwrap().fit(&line).unwrap();
        assert_near(&found.trend, &line, 1e-8, "trend");
    }

    #[test]
    fn what_is_missing_is_told_by_the_rest(which in 0_usize..8, n in 96_usize..150, seed: u64, share in 0.0_f64..0.5) {
        let whole = series(n, seed);
        let holed: Vec<f64> = whole.iter().enumerate().map(|(i, value)| if noise(i, !seed) + 0.5 < share { f64::NAN } else { *value }).collect();
        prop_assume!(holed.iter().any(|value| value.is_finite()));
        let (found, expected) = (fit(which, &holed), fit(which, &whole));
        // A line over seven seasons of which half is missing may point anywhere, and a robust fit may think what is left of a day the outlier.
        if which < 2 {
            assert_near(&found.trend, &expected.trend, 4.0, "trend");
        }
        for (i, value) in holed.iter().enumerate() {
            prop_assert!(found.seasonal[i].is_finite() && found.trend[i].is_finite());
            prop_assert_eq!(found.residual[i].is_nan(), value.is_nan());
            prop_assert!(!value.is_nan() || found.weights[i] == 0.0);
        }
    }
}

#[test]
fn a_value_that_is_missing_counts_nothing_whatever_it_was() {
    let (mut values, n) = (series(96, 1), 96);
    values[40] = f64::NAN;
    for which in 0..8 {
        let found = fit(which, &values);
        assert!((found.trend[40] + found.seasonal[40] - series(n, 1)[40]).abs() < 3.0);
    }
}

#[test]
fn a_phase_that_was_never_seen_lies_between_its_neighbours() {
    let mut values = series(96, 2);
    (5..96).step_by(PERIOD).for_each(|i| values[i] = f64::NAN);
    let found = fit(1, &values);
    let beside = f64::midpoint(found.seasonal[4], found.seasonal[6]);
    assert!((found.seasonal[5] - beside).abs() < 0.5, "{} is not near {beside}", found.seasonal[5]);
}

#[test]
fn what_cannot_be_fitted_is_refused_with_a_reason() {
    let refused = |parameters: Parameters, n: usize| Plan::new(parameters, n).map(|_| ()).unwrap_err();
    assert_eq!(refused(Parameters::stlrs(1), 40), Error::PeriodTooShort { period: 1 });
    assert_eq!(refused(Parameters::stlrs(12), 23), Error::TooFewPeriods { n: 23, period: 12 });
    let mut even = Parameters::stlrs(12);
    even.trend.window = 20;
    assert_eq!(refused(even, 40), Error::BadWindow { smoother: "trend", window: 20 });
    let plan = Plan::new(Parameters::stlrs(12), 24).unwrap();
    assert_eq!(plan.fit(&[f64::NAN; 24]), Err(Error::AllMissing));
    assert_eq!(plan.fit(&[f64::INFINITY; 24]), Err(Error::Infinite { place: 0 }));
    assert_eq!(plan.fit(&[1.0; 25]), Err(Error::OtherLength { expected: 24, n: 25 }));
}

#[test]
fn a_fitter_keeps_its_room_and_nothing_else() {
    let all: Vec<Vec<f64>> = (0..23).map(|seed| series(120, seed)).collect();
    let mut all: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
    let gap: Vec<f64> = all[3].iter().enumerate().map(|(i, value)| if i % 5 == 0 { f64::NAN } else { *value }).collect();
    all[3] = &gap;
    let plan = Plan::new(parameters(4, 120), 120).unwrap();
    let (mut fitter, mut found) = (plan.fitter(), Vec::new());
    for group in all.chunks(10) {
        fitter.fit_all(group, &mut found).unwrap();
        let alone: Vec<Decomposition> = group.iter().map(|series| plan.fit(series).unwrap()).collect();
        assert_eq!(format!("{found:?}"), format!("{alone:?}"));
    }
    let before = format!("{found:?}");
    assert_eq!(fitter.fit_all(&[&all[0][..100]], &mut found), Err(Error::OtherLength { expected: 120, n: 100 }));
    assert_eq!(format!("{found:?}"), before);
}
