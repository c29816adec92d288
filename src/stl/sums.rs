//! What a LOESS smoother fits at one place, in several columns of a table at a time: sums of values by a kernel.

use super::loess::{Kernel, Symmetry};
use super::vectors::{Lanes, Simd, all, load, minus, over, plus, times, where_above};

/// A table of numbers, row after row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) numbers: &'a [f64],
    /// Numbers in a row.
    pub(super) width: usize,
}

impl Table<'_> {
    #[inline(always)]
    fn at<S: Simd, const K: usize>(self, simd: S, row: usize, column: usize) -> Lanes<S, K> {
        load(simd, self.numbers, row * self.width + column)
    }
}

/// Some columns of the rows of a table from `first` on.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) first: usize,
    pub(super) column: usize,
}

/// The fit where all values have the same weight.
#[inline(always)]
pub(super) fn sum<S: Simd, const K: usize>(simd: S, kernel: &Kernel, values: Table, Place { first, column }: Place) -> Lanes<S, K> {
    let mut sum = all(simd, 0.0);
    let count = kernel.plain.len();
    let pairs = if kernel.symmetry == Symmetry::None { 0 } else { count / 2 };
    for (step, weight) in kernel.plain[..pairs].iter().enumerate() {
        let left = values.at(simd, first + step, column);
        let both = plus(simd, left, &values.at(simd, first + count - 1 - step, column));
        sum = plus(simd, sum, &times(simd, all(simd, *weight), &both));
    }
    for (step, weight) in kernel.plain[..count - pairs].iter().enumerate().skip(pairs) {
        sum = plus(simd, sum, &times(simd, all(simd, *weight), &values.at(simd, first + step, column)));
    }
    sum
}

/// The sum of the weights, and the weighted mean.
#[inline(always)]
pub(super) fn mean<S: Simd, const K: usize>(
    simd: S,
    kernel: &Kernel,
    [values, weights]: [Table; 2],
    Place { first, column }: Place,
) -> [Lanes<S, K>; 2] {
    let (mut total, mut sum) = (all(simd, 0.0), all(simd, 0.0));
    for (step, tricube) in kernel.tricube.iter().enumerate() {
        let weight = times(simd, all(simd, *tricube), &weights.at(simd, first + step, column));
        total = plus(simd, total, &weight);
        sum = plus(simd, sum, &times(simd, weight, &values.at(simd, first + step, column)));
    }
    [total, over(simd, sum, &total)]
}

/// Sums of weights `w` and values `y` at offsets `d` from the fit: Σw, Σwd, Σwd², Σwy, Σwdy.
struct Moments<S: Simd, const K: usize> {
    total: Lanes<S, K>,
    first: Lanes<S, K>,
    second: Lanes<S, K>,
    value: Lanes<S, K>,
    slope: Lanes<S, K>,
}

/// The sum of the weights, and the weighted line at offset 0; the mean where the weights are too close together for a line.
#[inline(always)]
pub(super) fn line<S: Simd, const K: usize>(
    simd: S,
    kernel: &Kernel,
    [values, weights]: [Table; 2],
    Place { first, column }: Place,
    spread_min: f64,
) -> [Lanes<S, K>; 2] {
    let none = all(simd, 0.0);
    let mut sums = Moments { total: none, first: none, second: none, value: none, slope: none };
    let (count, last) = (kernel.tricube.len(), first + kernel.tricube.len() - 1);
    let pairs = if kernel.symmetry == Symmetry::Even { count / 2 } else { 0 };
    for (step, (tricube, offset)) in kernel.tricube[..pairs].iter().zip(&kernel.offsets).enumerate() {
        let (left, right) = (first + step, last - step);
        let left = (values.at(simd, left, column), weights.at(simd, left, column));
        sums.add_pair(simd, *tricube, *offset, left, (values.at(simd, right, column), weights.at(simd, right, column)));
    }
    for (step, (tricube, offset)) in kernel.tricube.iter().zip(&kernel.offsets).enumerate().take(count - pairs).skip(pairs) {
        let row = first + step;
        sums.add(simd, *tricube, *offset, (values.at(simd, row, column), weights.at(simd, row, column)));
    }
    [sums.total, sums.at_zero(simd, spread_min)]
}

impl<S: Simd, const K: usize> Moments<S, K> {
    #[inline(always)]
    fn add(&mut self, simd: S, tricube: f64, offset: f64, (value, weight): (Lanes<S, K>, Lanes<S, K>)) {
        let offset = all(simd, offset);
        let weight = times(simd, all(simd, tricube), &weight);
        let (product, lever) = (times(simd, weight, &value), times(simd, weight, &offset));
        self.total = plus(simd, self.total, &weight);
        self.first = plus(simd, self.first, &lever);
        self.second = plus(simd, self.second, &times(simd, lever, &offset));
        self.value = plus(simd, self.value, &product);
        self.slope = plus(simd, self.slope, &times(simd, product, &offset));
    }

    /// Values at `offset` and at its opposite, with the same tricube: a fifth fewer operations than one after the other.
    #[inline(always)]
    fn add_pair(&mut self, simd: S, tricube: f64, offset: f64, left: (Lanes<S, K>, Lanes<S, K>), right: (Lanes<S, K>, Lanes<S, K>)) {
        let lever = tricube * offset;
        let [tricube, lever, square] = [all(simd, tricube), all(simd, lever), all(simd, lever * offset)];
        let (one, other) = (times(simd, left.0, &left.1), times(simd, right.0, &right.1));
        let (weights, weight) = (plus(simd, left.1, &right.1), minus(simd, left.1, &right.1));
        let (values, value) = (plus(simd, one, &other), minus(simd, one, &other));
        self.total = plus(simd, self.total, &times(simd, tricube, &weights));
        self.first = plus(simd, self.first, &times(simd, lever, &weight));
        self.second = plus(simd, self.second, &times(simd, square, &weights));
        self.value = plus(simd, self.value, &times(simd, tricube, &values));
        self.slope = plus(simd, self.slope, &times(simd, lever, &value));
    }

    #[inline(always)]
    fn at_zero(&self, simd: S, spread_min: f64) -> Lanes<S, K> {
        let (centre, second) = (over(simd, self.first, &self.total), over(simd, self.second, &self.total));
        let (mean, slope) = (over(simd, self.value, &self.total), over(simd, self.slope, &self.total));
        let spread = minus(simd, second, &times(simd, centre, &centre));
        let covariance = minus(simd, slope, &times(simd, centre, &mean));
        let rise = times(simd, over(simd, centre, &spread), &covariance);
        where_above(simd, (&spread, spread_min), minus(simd, mean, &rise), &mean)
    }
}
