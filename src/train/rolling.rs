//! The median of a window that moves over a series.

/// For each value the median of so many around it, of fewer at the ends.
///
/// The values are sorted once. The window is the set of their ranks, one bit each, and its middle moves by a few of them when a value comes or goes.
pub(super) fn centred_medians(values: &[f64], window: usize) -> Vec<f64> {
    let half = window / 2;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0; values.len()];
    order.iter().zip(0..).for_each(|(i, rank)| ranks[*i] = rank);
    let mut middle = Middle { present: vec![0; values.len().div_ceil(64)], count: 0, rank: 0, below: 0 };
    let (mut from, mut until) = (0, 0);
    let median = |i: usize| {
        let end = (i + window - half).min(values.len());
        while until < end {
            middle.insert(ranks[until]);
            until += 1;
        }
        while from + half < i {
            middle.remove(ranks[from]);
            from += 1;
        }
        let [low, high] = middle.find().map(|rank| values[order[rank]]);
        f64::midpoint(low, high)
    };
    (0..values.len()).map(median).collect()
}

/// The middle of a set of ranks.
struct Middle {
    /// A bit for each rank.
    present: Vec<u64>,
    /// How many are present.
    count: usize,
    /// The middle was found here last...
    rank: usize,
    /// ...and so many of those that are present now are below it.
    below: usize,
}

impl Middle {
    fn insert(&mut self, rank: usize) {
        self.present[rank / 64] |= 1 << (rank % 64);
        self.count += 1;
        self.below += usize::from(rank < self.rank);
    }

    fn remove(&mut self, rank: usize) {
        self.present[rank / 64] &= !(1 << (rank % 64));
        self.count -= 1;
        self.below -= usize::from(rank < self.rank);
    }

    /// The two ranks in the middle; of an odd number, one twice. There must be one.
    fn find(&mut self) -> [usize; 2] {
        let wanted = (self.count - 1) / 2;
        while self.below > wanted {
            self.rank = self.last_before(self.rank);
            self.below -= 1;
        }
        self.rank = self.first_from(self.rank);
        while self.below < wanted {
            self.rank = self.first_from(self.rank + 1);
            self.below += 1;
        }
        [self.rank, if self.count.is_multiple_of(2) { self.first_from(self.rank + 1) } else { self.rank }]
    }

    /// The first rank from this one on that is present. There must be one.
    fn first_from(&self, rank: usize) -> usize {
        let mut word = rank / 64;
        let mut bits = self.present[word] & (u64::MAX << (rank % 64));
        while bits == 0 {
            word += 1;
            bits = self.present[word];
        }
        64 * word + bits.trailing_zeros() as usize
    }

    /// The last rank before this one that is present. There must be one.
    fn last_before(&self, rank: usize) -> usize {
        let mut word = rank / 64;
        let mut bits = self.present.get(word).map_or(0, |bits| bits & !(u64::MAX << (rank % 64)));
        while bits == 0 {
            word -= 1;
            bits = self.present[word];
        }
        64 * word + 63 - bits.leading_zeros() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::robust::median;

    #[test]
    fn a_moving_median_is_the_median_of_each_window() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i * 7919 % 101) - 50.0 * f64::from(i % 3)).collect();
        for window in [1, 2, 7, 24, 500] {
            for (i, found) in centred_medians(&values, window).into_iter().enumerate() {
                let from = i.saturating_sub(window / 2);
                let until = (i + window - window / 2).min(values.len());
                assert_eq!(Some(found), median(&mut values[from..until].to_vec()), "window {window} at {i}");
            }
        }
    }
}
