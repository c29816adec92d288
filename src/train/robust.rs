//! Location and scale that a few wild values cannot move.

/// The normal distribution's quantile at 3/4: the median of `|x|` of a standard normal variable.
const NORMAL_QUARTILE: f64 = 0.674_489_750_196_081_7;

/// The `share` quantile (0..1, nearest rank) of values of which none is NaN; `None` without values. Reorders them.
pub(super) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index below len
    let rank = ((values.len() - 1) as f64 * share).round() as usize;
    Some(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
}

/// The median, the mean of the middle two where there are two; `None` without values. Reorders them.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(if even { f64::midpoint(lower, *upper) } else { *upper })
}

/// The `share` quantile (0..1) of values of which none is NaN, on the line between the two nearest (type 7 of Hyndman and Fan 1996); `None` without values.
pub(super) fn interpolated_quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let place = sorted.len().checked_sub(1)? as f64 * share;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index below len
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * place.fract())
}

/// The standard deviation of the normal distribution whose median absolute deviation from the median is that of the values (Hampel 1974); 0 without any.
pub(super) fn mad(values: &[f64]) -> f64 {
    let centre = median(&mut values.to_vec()).unwrap_or(0.0);
    scale(values.iter().map(|value| value - centre))
}

/// The standard deviation of the normal distribution around zero whose median absolute value is that of the
/// residuals (the MAD of Hampel 1974, around zero because a residual's place is zero); 0 without residuals.
pub(super) fn scale(residuals: impl Iterator<Item = f64>) -> f64 {
    let mut sizes: Vec<f64> = residuals.map(f64::abs).collect();
    median(&mut sizes).unwrap_or(0.0) / NORMAL_QUARTILE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut [9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.95), Some(95.0));
        assert_eq!(quantile(&mut values, 0.0), Some(0.0));
        assert_eq!(quantile(&mut values, 1.0), Some(100.0));
    }

    #[test]
    fn the_scale_ignores_one_wild_value() {
        assert!((scale([-1.0, 1.0, -1.0, 1.0, 1e9].into_iter()) - 1.4826).abs() < 1e-4);
    }
}
