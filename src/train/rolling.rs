//! The median of a window that moves over a series.

use super::robust::middle;

/// For each value the median of so many around it, of fewer at the ends.
pub(super) fn centred_medians(values: &[f64], window: usize) -> Vec<f64> {
    let half = window / 2;
    let mut sorted: Vec<f64> = Vec::with_capacity(window + 1);
    let (mut from, mut until) = (0, 0);
    let median = |i: usize| {
        let end = (i + window - half).min(values.len());
        while until < end {
            sorted.insert(place(&sorted, values[until]), values[until]);
            until += 1;
        }
        while from + half < i {
            sorted.remove(place(&sorted, values[from]));
            from += 1;
        }
        middle(&sorted)
    };
    (0..values.len()).map(median).collect()
}

/// Where a value is, or belongs, in a sorted list.
fn place(sorted: &[f64], value: f64) -> usize {
    sorted.partition_point(|other| other.total_cmp(&value).is_lt())
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
