//! Robustness weights: the bisquare of residuals over six times their median size.

/// How far from the last median the next one is looked for first: from one fit to the next it hardly moves.
const BRACKET: f64 = 1.25;

/// The two middle sizes of residuals, found again and again for one series.
#[derive(Clone, Debug, Default)]
pub(super) struct Middle {
    last: f64,
    near: Vec<f64>,
}

impl Middle {
    /// The sum of the two middle ones of some sizes (twice the one of an odd number); 0 without any.
    pub(super) fn sum(&mut self, sizes: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
        let Some(below) = count.checked_sub(1).map(|last| last / 2) else { return 0.0 };
        let above = count / 2;
        let (low, high) = (self.last / BRACKET, self.last * BRACKET);
        self.near.clear();
        let mut lower = 0;
        for size in sizes.clone() {
            lower += usize::from(size < low);
            if size >= low && size <= high {
                self.near.push(size);
            }
        }
        if below < lower || above >= lower + self.near.len() {
            (lower, self.near) = (0, sizes.collect());
        }
        let (before, upper, _) = self.near.select_nth_unstable_by(above - lower, f64::total_cmp);
        let upper = *upper;
        let under = if below == above { upper } else { before.iter().copied().fold(f64::NEG_INFINITY, f64::max) };
        self.last = upper;
        under + upper
    }
}

/// The weight of a residual, with the margins of Cleveland's Fortran; `bound` is six times the median size.
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
