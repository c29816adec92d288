//! The loops of STL over series side by side.

use super::holes;
use super::parameters::Parameters;
use super::plan::{Decomposition, Geometry};
use super::robustness::{Middle, bisquare};
use super::smooth::Weights;
use super::sums::Table;
use super::vectors::widest;

/// Columns of moving averages at a time.
const BESIDE: usize = 8;

/// Some series and what is known of them, interleaved: all first values, all second ones and so on.
#[derive(Debug)]
pub(super) struct Fit<'a> {
    parameters: &'a Parameters,
    geometry: &'a Geometry,
    /// Series side by side.
    width: usize,
    /// 0 where one is missing.
    values: Vec<f64>,
    /// 0 where a value is missing, 1 elsewhere.
    seen: Vec<f64>,
    weights: Vec<f64>,
    seasonal: Vec<f64>,
    trend: Vec<f64>,
    /// The series without trend, or without season.
    rest: Vec<f64>,
    /// Smoothed phases, with a period before and one after.
    phases: Vec<f64>,
    averages: [Vec<f64>; 2],
    middles: Vec<Middle>,
}

/// Whether values count differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weighting {
    Equal,
    Each,
}

impl<'a> Fit<'a> {
    /// Room for fits, which they leave to the next ones: to ask the system for it each time would cost as much as a third of a fit.
    pub(super) fn new(parameters: &'a Parameters, geometry: &'a Geometry) -> Self {
        Self {
            parameters,
            geometry,
            width: 0,
            values: Vec::new(),
            seen: Vec::new(),
            weights: Vec::new(),
            seasonal: Vec::new(),
            trend: Vec::new(),
            rest: Vec::new(),
            phases: Vec::new(),
            averages: [Vec::new(), Vec::new()],
            middles: Vec::new(),
        }
    }

    /// Fits once as the series ask for, and once more by robustness weights for each outer loop.
    pub(super) fn run(&mut self, series: &[&[f64]], weighting: Weighting) {
        self.take(series);
        self.inner(weighting);
        for _ in 0..self.parameters.outer_loops {
            self.weigh();
            self.inner(Weighting::Each);
        }
    }

    /// Takes up some series, of which nothing is known yet.
    fn take(&mut self, series: &[&[f64]]) {
        let (width, n) = (series.len(), self.geometry.trend.n);
        self.width = width;
        for table in [&mut self.values, &mut self.seen, &mut self.trend] {
            table.clear();
            table.resize(n * width, 0.0);
        }
        for (lane, series) in series.iter().enumerate() {
            for (i, value) in series.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                (self.values[i * width + lane], self.seen[i * width + lane]) = (*value, 1.0);
            }
        }
        self.weights.clone_from(&self.seen);
        [&mut self.seasonal, &mut self.rest].into_iter().for_each(|table| table.resize(n * width, 0.0));
        let [one, other] = &mut self.averages;
        [&mut self.phases, one, other].into_iter().for_each(|table| table.resize((n + 2 * self.parameters.period) * width, 0.0));
        self.middles.resize(width, Middle::default());
        self.middles.iter_mut().for_each(Middle::forget);
    }

    /// What was found of one of the series.
    pub(super) fn tell(&self, lane: usize, values: &[f64], found: &mut Decomposition) {
        let part = |from: &[f64], into: &mut Vec<f64>| {
            into.clear();
            into.extend(from.chunks_exact(self.width).map(|row| row[lane]));
        };
        part(&self.seasonal, &mut found.seasonal);
        part(&self.trend, &mut found.trend);
        part(&self.weights, &mut found.weights);
        found.residual.clear();
        let parts = values.iter().zip(&found.seasonal).zip(&found.trend);
        found.residual.extend(parts.map(|((value, seasonal), trend)| value - seasonal - trend));
    }

    fn inner(&mut self, weighting: Weighting) {
        for _ in 0..self.parameters.inner_loops {
            difference(&mut self.rest, &self.values, &self.trend);
            self.smooth_phases(weighting);
            self.filter();
            let (shift, [smooth, _]) = (self.parameters.period * self.width, &self.averages);
            difference(&mut self.seasonal, &self.phases[shift..], smooth);
            difference(&mut self.rest, &self.values, &self.seasonal);
            let weights = weights(weighting, &self.weights, &self.seen);
            let table = Table { numbers: &self.rest, width: self.width };
            self.geometry.trend.apply(table, weights, 0..self.width, &mut self.trend);
            bridge_all(&mut self.trend, self.width, weighting);
        }
    }

    /// Each phase by itself over the seasons; a phase that was never seen lies between its neighbours in time.
    fn smooth_phases(&mut self, weighting: Weighting) {
        let row = self.parameters.period * self.width;
        // The phases that the last season has, and those that it has not.
        let whole = self.values.len() % row;
        let weights = weights(weighting, &self.weights, &self.seen);
        let table = Table { numbers: &self.rest, width: row };
        let [longer, shorter] = &self.geometry.seasonal;
        for (loess, columns) in [(longer, 0..whole), (shorter, whole..row)] {
            if !columns.is_empty() {
                loess.apply(table, weights, columns, &mut self.phases);
            }
        }
        bridge_all(&mut self.phases, self.width, weighting);
    }

    /// The slow part of the smoothed phases, into the first of the averages.
    fn filter(&mut self) {
        let (period, width) = (self.parameters.period, self.width);
        let [one, other] = &mut self.averages;
        let long = self.phases.len() / width;
        let n = long - 2 * period;
        widest(
            #[inline(always)]
            || {
                moving_average(&self.phases, one, width, period, long);
                moving_average(one, other, width, period, long - period + 1);
                moving_average(other, one, width, 3, n + 2);
            },
        );
        let low = &self.geometry.low_pass;
        let table = Table { numbers: &one[..n * width], width };
        low.apply(table, Weights::Equal, 0..width, &mut other[..n * width]);
        self.averages.swap(0, 1);
    }

    /// New robustness weights, by what the last fit left over.
    fn weigh(&mut self) {
        let residual = self.values.iter().zip(&self.seasonal).zip(&self.trend).map(|((value, seasonal), trend)| value - (seasonal + trend));
        self.rest.iter_mut().zip(residual).for_each(|(rest, residual)| *rest = residual.abs());
        let mut bounds = vec![0.0; self.width];
        for (lane, (middle, bound)) in self.middles.iter_mut().zip(&mut bounds).enumerate() {
            let rows = self.rest.chunks_exact(self.width).zip(self.seen.chunks_exact(self.width));
            *bound = 3.0 * middle.sum(rows.filter(|(_, seen)| seen[lane] > 0.0).map(|(sizes, _)| sizes[lane]));
        }
        let (weights, rest, seen) = (&mut self.weights, &self.rest, &self.seen);
        widest(
            #[inline(always)]
            || {
                let rows = weights.chunks_exact_mut(bounds.len()).zip(rest.chunks_exact(bounds.len()).zip(seen.chunks_exact(bounds.len())));
                for (weights, (sizes, seen)) in rows {
                    let lanes = weights.iter_mut().zip(sizes.iter().zip(seen)).zip(&bounds);
                    lanes.for_each(|((weight, (size, seen)), bound)| *weight = seen * bisquare(*size, *bound));
                }
            },
        );
    }
}

fn weights<'a>(weighting: Weighting, weights: &'a [f64], seen: &'a [f64]) -> Weights<'a> {
    match weighting {
        Weighting::Equal => Weights::Equal,
        Weighting::Each => Weights::Each { weights, seen },
    }
}

/// Fills what is left of NaN along time.
fn bridge_all(table: &mut [f64], width: usize, weighting: Weighting) {
    if weighting == Weighting::Each && table.iter().fold(false, |any, value| any | value.is_nan()) {
        let rows = table.len() / width;
        (0..width).for_each(|column| holes::bridge(table, width, column, 0..rows));
    }
}

fn difference(difference: &mut [f64], from: &[f64], less: &[f64]) {
    difference.iter_mut().zip(from.iter().zip(less)).for_each(|(difference, (from, less))| *difference = from - less);
}

/// Means of so many rows each, of a table of `n` rows.
#[inline(always)]
fn moving_average(table: &[f64], means: &mut [f64], width: usize, length: usize, n: usize) {
    let mut column = 0;
    while width - column >= BESIDE {
        average_columns::<BESIDE>(table, means, width, length, n, column);
        column += BESIDE;
    }
    (column..width).for_each(|column| average_columns::<1>(table, means, width, length, n, column));
}

/// The same of some columns, whose sums are kept in registers.
#[inline(always)]
fn average_columns<const N: usize>(table: &[f64], means: &mut [f64], width: usize, length: usize, n: usize, column: usize) {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let share = length as f64;
    let at = |row: usize| table[row * width + column..].first_chunk::<N>().expect("a table has all of its rows");
    let mut sum = [0.0; N];
    for row in 0..length {
        let value = at(row);
        for lane in 0..N {
            sum[lane] += value[lane];
        }
    }
    for row in 0..=n - length {
        let mean: &mut [f64; N] = means[row * width + column..].first_chunk_mut().expect("there is a row for each mean");
        for lane in 0..N {
            mean[lane] = sum[lane] / share;
        }
        if row < n - length {
            let (leaving, entering) = (at(row), at(row + length));
            for lane in 0..N {
                sum[lane] += entering[lane] - leaving[lane];
            }
        }
    }
}
