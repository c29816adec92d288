//! STL (Cleveland, Cleveland, McRae and Terpenning 1990) of a series with gaps and anomalies.

use super::grid::Grid;
use super::robust::{quantile, scale};
use super::seasons::{Seasons, interpolate};
use crate::stl::{Parameters, Plan};
use std::cell::RefCell;
use std::rc::Rc;

/// Rounds of fit, mask and fill. The first mask is found with an imputation that knows no trend within the day; two more settle it.
pub(super) const ROUNDS: usize = 3;

/// A bucket whose remainder is this many robust sigmas off is left out of the next round. Of normal noise, 7 in a million are.
pub(super) const OUTLIER_SIGMAS: f64 = 4.5;

/// At most this share of the buckets is masked: what is more frequent is how the series behaves.
const MASKED_SHARE_MAX: f64 = 0.1;

/// A series taken apart; all values finite.
#[derive(Clone, Debug)]
pub(super) struct Decomposition {
    /// The slow part.
    pub(super) trend: Vec<f64>,
    /// The part that repeats with the period.
    pub(super) seasonal: Vec<f64>,
    /// Whether the bucket had samples and was not masked.
    pub(super) kept: Vec<bool>,
}

/// A plan, by the period and the number of values that it is for.
type Planned = ((usize, usize), Rc<Plan>);

thread_local! {
    /// The plan of the series before: those of a fleet are mostly of one length, and to make a plan costs as much as to apply it.
    static LATEST: RefCell<Option<Planned>> = const { RefCell::new(None) };
}

/// STL of so many values, "periodic": a seasonal window so wide that the seasonal is the plain mean of each phase. Two inner loops, none outer: outliers are
/// masked instead of down-weighted, which costs a tenth. `None` of fewer than two periods.
fn plan(period: usize, n: usize) -> Option<Rc<Plan>> {
    LATEST.with_borrow_mut(|latest| {
        if latest.as_ref().is_none_or(|(known, _)| *known != (period, n)) {
            *latest = Some(((period, n), Rc::new(Plan::new(Parameters::periodic(period, n), n).ok()?)));
        }
        latest.as_ref().map(|(_, plan)| Rc::clone(plan))
    })
}

/// Seasonal and trend of an unbroken series; `None` when a value is not finite.
fn stl(plan: &Plan, values: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let parts = plan.fit(values).ok()?;
    Some((parts.seasonal, parts.trend))
}

/// Takes `values` (NaN where there were no samples) apart. Buckets that are not `usable`, and those found to be outliers on the
/// way, are imputed for the fit only: first from a median polish, then from trend + seasonal of the round before.
pub(super) fn decompose(grid: &Grid, values: &[f64], usable: &[bool]) -> Option<Decomposition> {
    let mut filled = impute(grid, values, usable);
    let mut kept = usable.to_vec();
    let (mut trend, mut repeated) = (Vec::new(), Vec::new());
    let wall = Wall::of(grid, values.len());
    let plan = plan(grid.period, wall.span)?;
    for _ in 0..ROUNDS {
        let (seasonal, slow) = stl(&plan, &wall.hang(&filled))?;
        let (seasonal, slow) = (wall.take(&seasonal), wall.take(&slow));
        let fitted: Vec<f64> = seasonal.iter().zip(&slow).map(|(seasonal, trend)| seasonal + trend).collect();
        kept = within_bounds(values, &fitted, usable);
        filled = (0..values.len()).map(|i| if kept[i] { values[i] } else { fitted[i] }).collect();
        (trend, repeated) = (slow, seasonal);
    }
    Some(Decomposition { trend, seasonal: repeated, kept })
}

/// Where buckets are on the clock on the wall. STL counts phases by counting values, so it must see the hour that clocks left out, and not see twice the
/// one that they repeated.
struct Wall {
    /// By bucket, counted from the first one.
    places: Vec<usize>,
    /// Places from the first to the last.
    span: usize,
}

impl Wall {
    fn of(grid: &Grid, n: usize) -> Self {
        let slot = |i: usize| grid.season(i) * grid.period + grid.phase(i);
        let slots: Vec<usize> = (0..n).map(slot).collect();
        let first = slots.iter().copied().min().unwrap_or(0);
        let places: Vec<usize> = slots.into_iter().map(|slot| slot - first).collect();
        let span = places.iter().max().map_or(0, |last| last + 1);
        Self { places, span }
    }

    /// The values by place: the later of two, and a straight line where there is none.
    fn hang(&self, values: &[f64]) -> Vec<f64> {
        let mut hung = vec![f64::NAN; self.span];
        self.places.iter().zip(values).for_each(|(place, value)| hung[*place] = *value);
        interpolate(&mut hung);
        hung
    }

    /// What is at the places of the buckets.
    fn take(&self, hung: &[f64]) -> Vec<f64> {
        self.places.iter().map(|place| hung[*place]).collect()
    }
}

/// The usable values, and in place of the others the level of their season plus the median of their phase.
fn impute(grid: &Grid, values: &[f64], usable: &[bool]) -> Vec<f64> {
    let mut polish = Seasons::of(grid, values, usable).polish(|_| true);
    interpolate(&mut polish.levels);
    interpolate(&mut polish.profile);
    let stand_in = |i: usize| polish.levels[grid.season(i)] + polish.profile[grid.phase(i)];
    (0..values.len()).map(|i| if usable[i] { values[i] } else { stand_in(i) }).collect()
}

/// Which usable buckets are not outliers.
fn within_bounds(values: &[f64], fitted: &[f64], usable: &[bool]) -> Vec<bool> {
    let residual = |i: usize| (values[i] - fitted[i]).abs();
    let mut sizes: Vec<f64> = (0..values.len()).filter(|i| usable[*i]).map(residual).collect();
    let sigma = scale(sizes.iter().copied());
    let most = quantile(&mut sizes, 1.0 - MASKED_SHARE_MAX).unwrap_or(0.0);
    let bound = (OUTLIER_SIGMAS * sigma).max(most);
    (0..values.len()).map(|i| usable[i] && residual(i) <= bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seasonal and trend by statsmodels, written by `tests/golden/stl.py`; the formula of the input is the same there.
    const GOLDEN: &str = include_str!("../../tests/golden/stl.csv");

    #[test]
    fn stl_agrees_with_statsmodels() {
        let rows: Vec<Vec<f64>> = GOLDEN.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
        let values: Vec<f64> = (0..rows.len() as u32).map(golden_input).collect();
        let (seasonal, trend) = stl(&plan(24, values.len()).unwrap(), &values).unwrap();
        for (i, row) in rows.iter().enumerate() {
            assert!((values[i] - row[0]).abs() < 1e-9, "the formulas differ at {i}");
            assert!((seasonal[i] - row[1]).abs() < 1e-8, "seasonal[{i}] is {}, statsmodels says {}", seasonal[i], row[1]);
            assert!((trend[i] - row[2]).abs() < 1e-8, "trend[{i}] is {}, statsmodels says {}", trend[i], row[2]);
        }
    }

    fn golden_input(i: u32) -> f64 {
        let phase = f64::from(i % 24) / 24.0 * std::f64::consts::TAU;
        let noise = f64::from(i * 7919 % 1009) / 1009.0 - 0.5;
        50.0 + 0.03 * f64::from(i) + 8.0 * phase.sin() + 3.0 * (2.0 * phase).cos() + 2.0 * noise
    }

    #[test]
    fn a_number_that_is_not_finite_never_reaches_stl() {
        assert!(stl(&plan(10, 100).unwrap(), &[f64::NAN; 100]).is_none());
        assert!(plan(10, 19).is_none());
    }

    #[test]
    fn the_parts_of_a_series_are_those_of_the_library_that_was_used_before() {
        let values: Vec<f64> = (0..4037).map(golden_input).collect();
        let mut before = stlrs::params();
        before.seasonal_length(10 * values.len() + 1).seasonal_degree(0).inner_loops(2).outer_loops(0);
        let before = before.fit(&values, 288).unwrap();
        let (seasonal, trend) = stl(&plan(288, values.len()).unwrap(), &values).unwrap();
        let near = |one: &[f64], other: &[f64]| one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-9);
        assert!(near(&seasonal, before.seasonal()) && near(&trend, before.trend()));
    }
}
