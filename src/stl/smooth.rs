//! A LOESS smoother applied to a table, column by column: the columns are series side by side, phases of a season, or both.
//!
//! A column is computed by the same operations in the same order whatever stands beside it, so that it has the same bits alone as among others.

use super::holes;
use super::loess::{Kernel, Loess, Row, Symmetry};
use super::parameters::Degree;
use super::vectors::widest;
use std::ops::Range;

/// Columns of plain sums at a time: their chains of additions hide one another's latency.
const PLAIN: usize = 8;

/// Columns of weighted lines at a time: five sums of each just fit in the registers of a baseline x86-64.
const WEIGHTED: usize = 4;

/// A table of numbers, row after row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) numbers: &'a [f64],
    /// Numbers in a row.
    pub(super) width: usize,
}

/// What the values count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights<'a> {
    /// All the same.
    Equal,
    /// Each what stands at its place: not negative; `seen` is 0 where a value is missing, and 1 elsewhere.
    Each { weights: &'a [f64], seen: &'a [f64] },
}

impl<'a> Table<'a> {
    /// So many numbers of a row from a column on.
    #[inline(always)]
    fn at<const N: usize>(self, row: usize, column: usize) -> &'a [f64; N] {
        let place = row * self.width + column;
        self.numbers[place..].first_chunk().expect("a table has all of its rows")
    }
}

impl Loess {
    /// Smooths some columns of `values` into those of `smooth`, a table as wide, of as many rows (two more where the smoother is extended). Where no value
    /// in reach has weight, a value that was seen stands for itself, as in the Fortran, and one that was not is NaN unless others of its column were fitted.
    pub(super) fn apply(&self, values: Table, weights: Weights, columns: Range<usize>, smooth: &mut [f64]) {
        widest(
            #[inline(always)]
            || self.apply_here(values, weights, columns, smooth),
        );
    }

    #[inline(always)]
    fn apply_here(&self, values: Table, weights: Weights, columns: Range<usize>, smooth: &mut [f64]) {
        let width = values.width;
        for row in self.rows.iter().chain(self.ends.iter().flatten()) {
            // The last season of phases may be short.
            self.fit(*row, values, weights, columns.clone(), &mut smooth[row.at * width..]);
        }
        let places = || self.rows.iter().map(|row| row.at);
        if let Weights::Each { .. } = weights {
            for column in columns.clone() {
                holes::bridge(smooth, width, column, places());
                if self.ends.is_some() {
                    holes::extend(smooth, width, column, self.n + 2);
                }
            }
        }
        let mut slopes = vec![0.0; columns.len()];
        for (left, right) in places().zip(places().skip(1)).filter(|(left, right)| right - left > 1) {
            connect(smooth, width, columns.start, &mut slopes, left..right);
        }
    }

    #[inline(always)]
    fn fit(&self, row: Row, values: Table, weights: Weights, columns: Range<usize>, smooth: &mut [f64]) {
        let kernel = self.kernel(row);
        let mut column = columns.start;
        match weights {
            Weights::Equal => {
                while columns.end - column >= PLAIN {
                    smooth[column..column + PLAIN].copy_from_slice(&sum::<PLAIN>(kernel, row.first, values, column));
                    column += PLAIN;
                }
                for (column, smooth) in smooth.iter_mut().enumerate().take(columns.end).skip(column) {
                    [*smooth] = sum::<1>(kernel, row.first, values, column);
                }
            }
            Weights::Each { weights, seen } => {
                let tables = [values, Table { numbers: weights, ..values }, Table { numbers: seen, ..values }];
                while columns.end - column >= WEIGHTED {
                    smooth[column..column + WEIGHTED].copy_from_slice(&self.weighted::<WEIGHTED>(kernel, row, tables, column));
                    column += WEIGHTED;
                }
                for (column, smooth) in smooth.iter_mut().enumerate().take(columns.end).skip(column) {
                    [*smooth] = self.weighted::<1>(kernel, row, tables, column);
                }
            }
        }
    }

    #[inline(always)]
    fn weighted<const N: usize>(&self, kernel: &Kernel, row: Row, [values, weights, seen]: [Table; 3], column: usize) -> [f64; N] {
        let (total, mut fitted) = match self.degree {
            Degree::Constant => mean::<N>(kernel, row.first, values, weights, column),
            Degree::Line => line::<N>(kernel, row.first, values, weights, column, self.spread_min),
        };
        if total.iter().any(|total| *total <= 0.0) {
            let own = self.own(row);
            for lane in 0..N {
                if total[lane] <= 0.0 {
                    let seen = own.is_some_and(|own| seen.at::<N>(own, column)[lane] > 0.0);
                    fitted[lane] = own.filter(|_| seen).map_or(f64::NAN, |own| values.at::<N>(own, column)[lane]);
                }
            }
        }
        fitted
    }

    /// The value that stands at the place of a fit; none beyond the ends.
    #[inline(always)]
    fn own(&self, row: Row) -> Option<usize> {
        match self.ends {
            None => Some(row.at),
            Some(_) => row.at.checked_sub(1).filter(|place| *place < self.n),
        }
    }
}

/// The fit where all values have the same weight.
#[inline(always)]
fn sum<const N: usize>(kernel: &Kernel, first: usize, values: Table, column: usize) -> [f64; N] {
    let mut sum = [0.0; N];
    if kernel.symmetry == Symmetry::None {
        for (step, weight) in kernel.plain.iter().enumerate() {
            let value = values.at::<N>(first + step, column);
            for lane in 0..N {
                sum[lane] += weight * value[lane];
            }
        }
        return sum;
    }
    let (middle, last) = (kernel.plain.len() / 2, first + kernel.plain.len() - 1);
    for (step, weight) in kernel.plain[..middle].iter().enumerate() {
        let (left, right) = (values.at::<N>(first + step, column), values.at::<N>(last - step, column));
        for lane in 0..N {
            sum[lane] += weight * (left[lane] + right[lane]);
        }
    }
    let value = values.at::<N>(first + middle, column);
    for lane in 0..N {
        sum[lane] += kernel.plain[middle] * value[lane];
    }
    sum
}

/// The sum of the weights, and the weighted mean.
#[inline(always)]
fn mean<const N: usize>(kernel: &Kernel, first: usize, values: Table, weights: Table, column: usize) -> ([f64; N], [f64; N]) {
    let (mut total, mut sum) = ([0.0; N], [0.0; N]);
    for (step, tricube) in kernel.tricube.iter().enumerate() {
        let (value, weight) = (values.at::<N>(first + step, column), weights.at::<N>(first + step, column));
        for lane in 0..N {
            let weight = tricube * weight[lane];
            total[lane] += weight;
            sum[lane] += weight * value[lane];
        }
    }
    (total, std::array::from_fn(|lane| sum[lane] / total[lane]))
}

/// Sums of weights `w` and values `y` at offsets `d` from the fit: Σw, Σwd, Σwd², Σwy, Σwdy.
#[derive(Clone, Copy)]
struct Moments<const N: usize> {
    total: [f64; N],
    first: [f64; N],
    second: [f64; N],
    value: [f64; N],
    slope: [f64; N],
}

/// The sum of the weights, and the weighted line at offset 0; the mean where the weights are too close together for a line.
#[inline(always)]
fn line<const N: usize>(
    kernel: &Kernel,
    first: usize,
    values: Table,
    weights: Table,
    column: usize,
    spread_min: f64,
) -> ([f64; N], [f64; N]) {
    let mut sums = Moments { total: [0.0; N], first: [0.0; N], second: [0.0; N], value: [0.0; N], slope: [0.0; N] };
    let at = |row: usize| (values.at::<N>(row, column), weights.at::<N>(row, column));
    let (count, last) = (kernel.tricube.len(), first + kernel.tricube.len() - 1);
    let pairs = if kernel.symmetry == Symmetry::Even { count / 2 } else { 0 };
    for (step, (tricube, offset)) in kernel.tricube[..pairs].iter().zip(&kernel.offsets).enumerate() {
        sums.add_pair(*tricube, *offset, at(first + step), at(last - step));
    }
    for (step, (tricube, offset)) in kernel.tricube.iter().zip(&kernel.offsets).enumerate().take(count - pairs).skip(pairs) {
        sums.add(*tricube, *offset, at(first + step));
    }
    (sums.total, sums.at_zero(spread_min))
}

impl<const N: usize> Moments<N> {
    #[inline(always)]
    fn add(&mut self, tricube: f64, offset: f64, (value, weight): (&[f64; N], &[f64; N])) {
        for lane in 0..N {
            let weight = tricube * weight[lane];
            let (product, lever) = (weight * value[lane], weight * offset);
            self.total[lane] += weight;
            self.first[lane] += lever;
            self.second[lane] += lever * offset;
            self.value[lane] += product;
            self.slope[lane] += product * offset;
        }
    }

    /// Values at `offset` and at its opposite, with the same tricube: a fifth fewer operations than one after the other.
    #[inline(always)]
    fn add_pair(&mut self, tricube: f64, offset: f64, left: (&[f64; N], &[f64; N]), right: (&[f64; N], &[f64; N])) {
        let lever = tricube * offset;
        let square = lever * offset;
        // Array by array: in one loop over the lanes the compiler makes vectors of different sums, and shuffles.
        let products: [[f64; N]; 2] = [left, right].map(|(value, weight)| std::array::from_fn(|lane| value[lane] * weight[lane]));
        let both = |one: &[f64; N], other: &[f64; N]| std::array::from_fn(|lane| one[lane] + other[lane]);
        let apart = |one: &[f64; N], other: &[f64; N]| std::array::from_fn(|lane| one[lane] - other[lane]);
        let (weights, weight) = (both(left.1, right.1), apart(left.1, right.1));
        let (values, value) = (both(&products[0], &products[1]), apart(&products[0], &products[1]));
        accumulate(&mut self.total, tricube, &weights);
        accumulate(&mut self.first, lever, &weight);
        accumulate(&mut self.second, square, &weights);
        accumulate(&mut self.value, tricube, &values);
        accumulate(&mut self.slope, lever, &value);
    }

    #[inline(always)]
    fn at_zero(&self, spread_min: f64) -> [f64; N] {
        let mean_of = |sums: &[f64; N]| -> [f64; N] { std::array::from_fn(|lane| sums[lane] / self.total[lane]) };
        let [centre, second, mean, slope] = [&self.first, &self.second, &self.value, &self.slope].map(mean_of);
        let spread: [f64; N] = std::array::from_fn(|lane| second[lane] - centre[lane] * centre[lane]);
        let rise: [f64; N] = std::array::from_fn(|lane| centre[lane] / spread[lane] * (slope[lane] - centre[lane] * mean[lane]));
        std::array::from_fn(|lane| if spread[lane] > spread_min { mean[lane] - rise[lane] } else { mean[lane] })
    }
}

#[inline(always)]
fn accumulate<const N: usize>(sum: &mut [f64; N], factor: f64, values: &[f64; N]) {
    for lane in 0..N {
        sum[lane] += factor * values[lane];
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
