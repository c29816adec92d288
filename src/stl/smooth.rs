//! A LOESS smoother applied to a table, column by column: the columns are series side by side, phases of a season, or both.
//!
//! A column is computed by the same operations in the same order whatever stands beside it, so that it has the same bits alone as among others.

use super::holes;
use super::loess::{Loess, Row};
use super::parameters::Degree;
use super::sums::{Place, Table, line, mean, sum};
use super::vectors::{Scalar, Simd, WithSimd, store, widest};
use std::ops::Range;

/// What the values count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights<'a> {
    /// All the same.
    Equal,
    /// Each what stands at its place: not negative; `seen` is 0 where a value is missing, and 1 elsewhere.
    Each { weights: &'a [f64], seen: &'a [f64] },
}

impl Loess {
    /// Smooths some columns of `values` into those of `smooth`, a table as wide, of as many rows (two more where the smoother is extended). Where no value
    /// in reach has weight, a value that was seen stands for itself, as in the Fortran, and one that was not is NaN unless others of its column were fitted.
    pub(super) fn apply(&self, values: Table, weights: Weights, columns: Range<usize>, smooth: &mut [f64]) {
        widest(Smoothing { loess: self, values, weights, columns, smooth });
    }
}

/// One application of a smoother.
struct Smoothing<'a> {
    loess: &'a Loess,
    values: Table<'a>,
    weights: Weights<'a>,
    columns: Range<usize>,
    smooth: &'a mut [f64],
}

impl WithSimd for Smoothing<'_> {
    type Output = ();

    /// Plain sums of eight columns at a time, since one chain of additions waits for itself; weighted lines, which have five, of four.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::F64_LANES >= 4 { self.run::<S, 2, 1>(simd) } else { self.run::<S, 8, 4>(simd) }
    }
}

impl Smoothing<'_> {
    #[inline(always)]
    fn run<S: Simd, const PLAIN: usize, const WEIGHTED: usize>(mut self, simd: S) {
        let (loess, width) = (self.loess, self.values.width);
        for row in loess.rows.iter().chain(loess.ends.iter().flatten()) {
            let mut column = self.columns.start;
            match self.weights {
                Weights::Equal => {
                    column = self.sums::<S, PLAIN>(simd, *row, column);
                    self.sums::<Scalar, 1>(Scalar, *row, column);
                }
                Weights::Each { weights, seen } => {
                    column = self.fits::<S, WEIGHTED>(simd, *row, column, [weights, seen]);
                    self.fits::<Scalar, 1>(Scalar, *row, column, [weights, seen]);
                }
            }
        }
        let Self { weights, columns, smooth, .. } = self;
        let places = || loess.rows.iter().map(|row| row.at);
        if let Weights::Each { .. } = weights {
            for column in columns.clone() {
                holes::bridge(smooth, width, column, places());
                if loess.ends.is_some() {
                    holes::extend(smooth, width, column, loess.n + 2);
                }
            }
        }
        let mut slopes = vec![0.0; columns.len()];
        for (left, right) in places().zip(places().skip(1)).filter(|(left, right)| right - left > 1) {
            connect(smooth, width, columns.start, &mut slopes, left..right);
        }
    }

    /// Fits a row by plain sums, as many columns at a time as there are lanes; the first column that is left.
    #[inline(always)]
    fn sums<S: Simd, const K: usize>(&mut self, simd: S, row: Row, mut column: usize) -> usize {
        let kernel = self.loess.kernel(row);
        while self.columns.end - column >= K * S::F64_LANES {
            let sums = sum::<S, K>(simd, kernel, self.values, Place { first: row.first, column });
            store(simd, self.smooth, row.at * self.values.width + column, &sums);
            column += K * S::F64_LANES;
        }
        column
    }

    /// The same where values count differently.
    #[inline(always)]
    fn fits<S: Simd, const K: usize>(&mut self, simd: S, row: Row, mut column: usize, [weights, seen]: [&[f64]; 2]) -> usize {
        let (kernel, width) = (self.loess.kernel(row), self.values.width);
        let tables = [self.values, Table { numbers: weights, width }];
        while self.columns.end - column >= K * S::F64_LANES {
            let place = Place { first: row.first, column };
            let [total, fitted] = match self.loess.degree {
                Degree::Constant => mean::<S, K>(simd, kernel, tables, place),
                Degree::Line => line::<S, K>(simd, kernel, tables, place, self.loess.spread_min),
            };
            let at = row.at * width + column;
            store(simd, self.smooth, at, &fitted);
            let totals: &[f64] = pulp::bytemuck::cast_slice(&total);
            for (lane, _) in totals.iter().enumerate().filter(|(_, total)| **total <= 0.0) {
                let own = self.own(row).map(|own| own * width + column + lane).filter(|own| seen[*own] > 0.0);
                self.smooth[at + lane] = own.map_or(f64::NAN, |own| self.values.numbers[own]);
            }
            column += K * S::F64_LANES;
        }
        column
    }

    /// The value that stands at the place of a fit; none beyond the ends.
    #[inline(always)]
    fn own(&self, row: Row) -> Option<usize> {
        match self.loess.ends {
            None => Some(row.at),
            Some(_) => row.at.checked_sub(1).filter(|place| *place < self.loess.n),
        }
    }
}

/// A straight line from one fitted row to the next, in as many columns from the first on as there are slopes to be kept.
#[inline(always)]
fn connect(smooth: &mut [f64], width: usize, first: usize, slopes: &mut [f64], rows: Range<usize>) {
    let (known, open) = smooth.split_at_mut((rows.start + 1) * width);
    let (from, end) = (&known[rows.start * width + first..], &open[(rows.len() - 1) * width + first..]);
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let steps = rows.len() as f64;
    slopes.iter_mut().zip(from.iter().zip(end)).for_each(|(slope, (from, end))| *slope = (end - from) / steps);
    let mut step = 0.0;
    for row in open.chunks_exact_mut(width).take(rows.len() - 1) {
        step += 1.0;
        row[first..].iter_mut().zip(from.iter().zip(&*slopes)).for_each(|(value, (from, slope))| *value = from + slope * step);
    }
}

#[cfg(test)]
mod tests {
    use super::super::parameters::Smoother;
    use super::*;

    #[test]
    fn every_machine_finds_the_same_bits() {
        let (width, n): (usize, usize) = (19, 60);
        let numbers: Vec<f64> = (0..width * n).map(|i| ((i * 7919) % 1013) as f64 / 101.0).collect();
        let weights: Vec<f64> = (0..width * n).map(|i| [1.0, 0.7, 0.0, 0.2][i * 31 % 7 % 4]).collect();
        let seen: Vec<f64> = weights.iter().map(|weight| if *weight > 0.0 { 1.0 } else { 0.0 }).collect();
        let table = Table { numbers: &numbers, width };
        for (degree, jump) in [(Degree::Constant, 1), (Degree::Line, 1), (Degree::Line, 4)] {
            let loess = Loess::extended(Smoother { window: 13, degree, jump }, n);
            for weights in [Weights::Equal, Weights::Each { weights: &weights, seen: &seen }] {
                let (mut widest, mut plain) = (vec![0.0; width * (n + 2)], vec![0.0; width * (n + 2)]);
                loess.apply(table, weights, 0..width, &mut widest);
                Smoothing { loess: &loess, values: table, weights, columns: 0..width, smooth: &mut plain }.run::<_, 8, 4>(Scalar);
                let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&widest), bits(&plain), "{degree:?} {jump}");
            }
        }
    }
}
