//! Where a LOESS smoother fits on a uniform grid, and by what weights: all that does not depend on the data.

use super::parameters::{Degree, Smoother};

/// A smoother of `n` values, ready to be applied to any that are as many.
#[derive(Clone, Debug)]
pub(super) struct Loess {
    /// Values to be smoothed.
    pub(super) n: usize,
    /// What is fitted.
    pub(super) degree: Degree,
    /// The values that are fitted, in order, the first and the last among them.
    pub(super) rows: Vec<Row>,
    /// One place before the first value and one after the last, where those are wanted too.
    pub(super) ends: Option<[Row; 2]>,
    /// The least spread of the weights (their variance in places) that makes a line; below, a mean is taken.
    pub(super) spread_min: f64,
    kernels: Vec<Kernel>,
}

/// A fit at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The place.
    pub(super) at: usize,
    /// The first value with weight.
    pub(super) first: usize,
    kernel: usize,
}

/// The weights of a fit. Inside the grid all rows share one.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// The places of the values, from that of the fit.
    pub(super) offsets: Vec<f64>,
    /// Tricube weights.
    pub(super) tricube: Vec<f64>,
    /// What each value counts where nothing is missing and nothing is weighted: the fit is their sum.
    pub(super) plain: Vec<f64>,
    /// Whether it reads the same from both sides.
    pub(super) symmetry: Symmetry,
}

/// Whether a kernel reads the same from both sides of its fit, so that values count in pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symmetry {
    Even,
    None,
}

/// A window around a place: 0-based, inclusive, the place possibly one outside.
#[derive(Clone, Copy, Debug)]
struct Window {
    at: f64,
    left: usize,
    right: usize,
}

impl Loess {
    /// A smoother of `n` values, at least 2.
    pub(super) fn new(smoother: Smoother, n: usize) -> Self {
        let spread_min = if n > 0 { (0.001 * place(n - 1)).powi(2) } else { 0.0 };
        let mut loess = Self { n, degree: smoother.degree, rows: Vec::new(), ends: None, spread_min, kernels: Vec::new() };
        let jump = smoother.jump.min(n - 1);
        let mut last = (0, 0);
        for at in (0..n).step_by(jump) {
            last = around(at, smoother.window, n);
            loess.fit_at(at, Window { at: place(at), left: last.0, right: last.1 }, smoother);
        }
        if !(n - 1).is_multiple_of(jump) {
            // The Fortran fits the last value in the window of the last jump.
            loess.fit_at(n - 1, Window { at: place(n - 1), left: last.0, right: last.1 }, smoother);
        }
        loess
    }

    /// The same, with places one before and one after the values. Places are counted from the one before.
    pub(super) fn extended(smoother: Smoother, n: usize) -> Self {
        let mut loess = Self::new(smoother, n);
        loess.rows.iter_mut().for_each(|row| row.at += 1);
        let before = Window { at: -1.0, left: 0, right: smoother.window.min(n) - 1 };
        let after = Window { at: place(n), left: n.saturating_sub(smoother.window), right: n - 1 };
        loess.ends = Some([loess.row(0, before, smoother), loess.row(n + 1, after, smoother)]);
        loess
    }

    /// The weights of a row.
    pub(super) fn kernel(&self, row: Row) -> &Kernel {
        &self.kernels[row.kernel]
    }

    fn fit_at(&mut self, at: usize, window: Window, smoother: Smoother) {
        let row = self.row(at, window, smoother);
        self.rows.push(row);
    }

    fn row(&mut self, at: usize, window: Window, smoother: Smoother) -> Row {
        let kernel = Kernel::new(window, smoother, self.n);
        // Zero weights at the borders of the window are not stored.
        let skipped = kernel.offsets[0] - (place(window.left) - window.at);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small natural number
        let first = window.left + skipped as usize;
        if self.kernels.last().is_none_or(|last| last.offsets[0].to_bits() != kernel.offsets[0].to_bits() || last.tricube != kernel.tricube)
        {
            self.kernels.push(kernel);
        }
        Row { at, first, kernel: self.kernels.len() - 1 }
    }
}

impl Kernel {
    fn new(window: Window, smoother: Smoother, n: usize) -> Self {
        let mut reach = (window.at - place(window.left)).max(place(window.right) - window.at);
        if smoother.window > n {
            reach += place((smoother.window - n) / 2);
        }
        let weighted: Vec<(f64, f64)> = (window.left..=window.right)
            .map(|j| place(j) - window.at)
            .map(|offset| (offset, tricube(offset.abs(), reach)))
            .skip_while(|(_, weight)| *weight <= 0.0)
            .collect();
        let kept = weighted.iter().rposition(|(_, weight)| *weight > 0.0).map_or(0, |last| last + 1);
        let (offsets, tricube): (Vec<f64>, Vec<f64>) = weighted[..kept].iter().copied().unzip();
        #[allow(clippy::float_cmp)] // small integers
        let is_even = offsets.first().zip(offsets.last()).is_some_and(|(first, last)| *first == -*last);
        let symmetry = if is_even { Symmetry::Even } else { Symmetry::None };
        let plain = plain(&offsets, &tricube, smoother.degree, symmetry, (0.001 * place(n - 1)).powi(2));
        Self { offsets, tricube, plain, symmetry }
    }
}

/// The window of a place inside the grid.
fn around(at: usize, window: usize, n: usize) -> (usize, usize) {
    if window >= n {
        return (0, n - 1);
    }
    let left = at.saturating_sub((window - 1) / 2).min(n - window);
    (left, left + window - 1)
}

/// The tricube of a distance, with the margins of Cleveland's Fortran.
fn tricube(distance: f64, reach: f64) -> f64 {
    if distance > 0.999 * reach {
        0.0
    } else if distance <= 0.001 * reach {
        1.0
    } else {
        let share = distance / reach;
        let rest = 1.0 - share * share * share;
        rest * rest * rest
    }
}

/// What each value counts, with the slope of the line folded in. Around the middle of an even kernel a line is a mean.
fn plain(offsets: &[f64], tricube: &[f64], degree: Degree, symmetry: Symmetry, spread_min: f64) -> Vec<f64> {
    let total: f64 = tricube.iter().sum();
    let shares: Vec<f64> = tricube.iter().map(|weight| weight / total).collect();
    if degree == Degree::Constant || symmetry == Symmetry::Even {
        return shares;
    }
    let centre: f64 = shares.iter().zip(offsets).map(|(share, offset)| share * offset).sum();
    let spread: f64 = shares.iter().zip(offsets).map(|(share, offset)| share * (offset - centre).powi(2)).sum();
    if spread <= spread_min {
        return shares;
    }
    let slope = -centre / spread;
    shares.iter().zip(offsets).map(|(share, offset)| share * (1.0 + slope * (offset - centre))).collect()
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn place(i: usize) -> f64 {
    i as f64
}
