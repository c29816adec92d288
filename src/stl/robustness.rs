//! Robustness weights: the bisquare of residuals over six times their median size.

/// How far from the last median the next one is looked for first: from one fit to the next it hardly moves.
const BRACKET: f64 = 1.25;

/// The two middle sizes of residuals, found again and again for one series.
#[derive(Clone, Debug, Default)]
pub(super) struct Middle {
    last: f64,
    sizes: Vec<f64>,
    near: Vec<f64>,
}

impl Middle {
    /// Begins with another series.
    pub(super) fn forget(&mut self) {
        self.last = 0.0;
    }

    /// The sum of the two middle ones of some sizes (twice the one of an odd number); 0 without any.
    pub(super) fn sum(&mut self, sizes: impl Iterator<Item = f64>) -> f64 {
        self.sizes.clear();
        self.sizes.extend(sizes);
        let Some(below) = self.sizes.len().checked_sub(1).map(|last| last / 2) else { return 0.0 };
        let above = self.sizes.len() / 2;
        let (low, high) = (self.last / BRACKET, self.last * BRACKET);
        self.near.resize(self.sizes.len(), 0.0);
        // Every size is written, and the next one over it unless it is near: a branch would be guessed wrong half of the time.
        let (mut lower, mut near) = (0, 0);
        for size in &self.sizes {
            self.near[near] = *size;
            near += usize::from(*size >= low) & usize::from(*size <= high);
            lower += usize::from(*size < low);
        }
        self.near.truncate(near);
        if below < lower || above >= lower + near {
            lower = 0;
            self.near.clone_from(&self.sizes);
        }
        let (before, upper, _) = self.near.select_nth_unstable_by(above - lower, f64::total_cmp);
        let upper = *upper;
        let under = if below == above { upper } else { before.iter().copied().fold(f64::NEG_INFINITY, f64::max) };
        self.last = upper;
        under + upper
    }
}

/// The weight of a residual, with the margins of Cleveland's Fortran; `bound` is six times the median size.
#[inline(always)]
pub(super) fn bisquare(size: f64, bound: f64) -> f64 {
    let share = size / bound;
    let rest = 1.0 - share * share;
    if size <= 0.001 * bound {
        1.0
    } else if size <= 0.999 * bound {
        rest * rest
    } else {
        0.0
    }
}
