//! The aggregate of a bucket, from sums that do not depend on the order of arrival.
//!
//! Float addition is not associative, so a sum of floats says in which order the samples came. Here every sample becomes an
//! integer multiple of 2^-57 first; integer sums are exact, and the same for every order, batch and worker.

use crate::number::Number;
use crate::verdict::Aggregate;

/// Samples must be smaller than this in magnitude (2^53, about 9e15): beyond it a sum of 2^17 samples could overflow.
pub const VALUE_LIMIT: f64 = 9_007_199_254_740_992.0;

/// One unit of a sum is 2^-57: the last binary digit of a double in [1/32, 1/16), so that larger values are held exactly
/// and smaller ones to 3.5e-18.
const FRACTION_BITS: i32 = 57;

/// By the exponents of doubles: where the last bit is a unit, the largest that are less than 2^64 units, and [`VALUE_LIMIT`].
const SMALLEST_EXACT: u64 = (1075 - FRACTION_BITS) as u64;
const LARGEST_LOW: u64 = SMALLEST_EXACT + 11;
const LIMIT: u64 = 1023 + 53;

/// An integer of 128 bits in words: as one it would be aligned to sixteen bytes, and what holds it be larger than it need be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Words([u64; 2]);

impl Words {
    #[allow(clippy::cast_possible_truncation)] // the lower word
    fn of(value: u128) -> Self {
        Self([value as u64, (value >> 64) as u64])
    }

    fn get(self) -> u128 {
        u128::from(self.0[1]) << 64 | u128::from(self.0[0])
    }
}

/// An unsigned integer of 256 bits, for sums of squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wide {
    high: u128,
    low: u128,
}

impl Wide {
    fn add(&mut self, other: Self) {
        let (low, carry) = self.low.overflowing_add(other.low);
        self.low = low;
        self.high = self.high.wrapping_add(other.high).wrapping_add(u128::from(carry));
    }

    /// Adds the square of `high · 2^64 + low`. A sample below 128 has no higher word, and takes one multiplication.
    fn add_square(&mut self, high: u64, low: u64) {
        let (low, high) = (u128::from(low), u128::from(high));
        self.add(Self { high: 0, low: low * low });
        if high > 0 {
            // Twice the product of the words, a word further up.
            let product = high * low;
            self.add(Self { high: high * high + (product >> 63), low: product << 65 });
        }
    }

    fn minus(self, other: Self) -> Self {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        Self { high: self.high.wrapping_sub(other.high).wrapping_sub(u128::from(borrow)), low }
    }

    fn times(self, factor: u32) -> Self {
        let factor = u128::from(factor);
        let (bottom, middle) = ((self.low & u128::from(u64::MAX)) * factor, (self.low >> 64) * factor);
        let mut product = Self { high: self.high.wrapping_mul(factor).wrapping_add(middle >> 64), low: bottom };
        product.add(Self { high: 0, low: middle << 64 });
        product
    }

    fn square(root: u128) -> Self {
        let mut square = Self::default();
        #[allow(clippy::cast_possible_truncation)] // the lower word
        square.add_square((root >> 64) as u64, root as u64);
        square
    }

    #[allow(clippy::cast_precision_loss)] // a rounding to 53 bits is what is asked for
    fn to_f64(self) -> f64 {
        self.high as f64 * 2f64.powi(128) + self.low as f64
    }
}

/// Count, exact sums, and extremes of the samples of one bucket. Adding and merging commute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accumulator {
    /// Signed.
    sum: Words,
    /// The lower and the higher half.
    squares: [Words; 2],
    min: f64,
    max: f64,
    count: u32,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Accumulator {
    /// Without samples.
    pub(crate) const EMPTY: Self =
        Self { sum: Words([0; 2]), squares: [Words([0; 2]); 2], min: f64::INFINITY, max: f64::NEG_INFINITY, count: 0 };

    /// Adds one sample. `value` must be finite and smaller than [`VALUE_LIMIT`] in magnitude; the decoder sees to it.
    #[inline]
    pub fn add(&mut self, value: f64) {
        debug_assert!(value.abs() < VALUE_LIMIT, "the decoder lets {value} pass");
        // Not `f64::min`, which makes sure of NaN. One before and one behind the sums is an instruction each; side by side they are made a vector of six.
        self.min = if value < self.min { value } else { self.min };
        self.count += 1;
        // Without the sign bit, which puts what is negative beyond all others.
        let exponent = value.to_bits() >> 52;
        let mantissa = value.to_bits() << 11 | 1 << 63;
        // Nearly every sample is positive, and none of its bits lies below a unit: it is not less than 2^-5.
        if (SMALLEST_EXACT..=LARGEST_LOW).contains(&exponent) {
            let low = mantissa >> (LARGEST_LOW - exponent);
            self.add_magnitude(0, low, false);
        } else if (LARGEST_LOW + 1..LIMIT).contains(&exponent) {
            let up = exponent - LARGEST_LOW;
            self.add_magnitude(mantissa >> (64 - up), mantissa << up, false);
        } else {
            self.add_any(value);
        }
        self.max = if value > self.max { value } else { self.max };
    }

    /// Adds to the sums what is negative, zero, or less than 2^-5.
    #[inline(never)]
    fn add_any(&mut self, value: f64) {
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        // Of a subnormal, which is far below half a unit, nothing is left.
        let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
        let shift = exponent - 1075 + FRACTION_BITS;
        let (high, low) = if shift >= 0 {
            (mantissa >> 1 >> (63 - shift), mantissa << shift)
        } else {
            let down = (-shift).min(63);
            (0, (mantissa + (1 << (down - 1))) >> down)
        };
        self.add_magnitude(high, low, value < 0.0);
    }

    /// Adds the magnitude of a sample, in two words, below 2^110 together.
    #[inline(always)]
    fn add_magnitude(&mut self, high: u64, low: u64, is_negative: bool) {
        let magnitude = u128::from(high) << 64 | u128::from(low);
        self.add_to_sum(if is_negative { magnitude.wrapping_neg() } else { magnitude });
        let mut squares = self.squares();
        squares.add_square(high, low);
        self.set_squares(squares);
    }

    fn add_to_sum(&mut self, more: u128) {
        self.sum = Words::of(self.sum.get().wrapping_add(more));
    }

    fn squares(&self) -> Wide {
        Wide { low: self.squares[0].get(), high: self.squares[1].get() }
    }

    fn set_squares(&mut self, squares: Wide) {
        self.squares = [Words::of(squares.low), Words::of(squares.high)];
    }

    /// Adds all samples of another accumulator.
    pub fn merge(&mut self, other: &Self) {
        self.add_to_sum(other.sum.get());
        let mut squares = self.squares();
        squares.add(other.squares());
        self.set_squares(squares);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.count += other.count;
    }

    /// The aggregate; `None` without samples.
    #[allow(clippy::cast_precision_loss)]
    pub fn aggregate(&self) -> Option<Aggregate> {
        if self.count == 0 {
            return None;
        }
        // -0.0 and 0.0 are one value, and which of them was kept depends on the order: this makes one of both.
        let (min, max) = (self.min + 0.0, self.max + 0.0);
        // All samples alike: the mean is that sample, to the last bit.
        let sum = self.sum.get().cast_signed();
        let mean = if min == max { min } else { sum as f64 / f64::from(self.count) * 2f64.powi(-FRACTION_BITS) };
        Some(Aggregate {
            count: u64::from(self.count),
            mean: Number(mean),
            min: Number(min),
            max: Number(max),
            stddev: Number(self.variance().sqrt()),
        })
    }

    /// `(n Σx² − (Σx)²) / (n (n − 1))`, the textbook formula, which in exact integers does not cancel.
    fn variance(&self) -> f64 {
        if self.count < 2 || self.min == self.max {
            return 0.0;
        }
        let sum = self.sum.get().cast_signed().unsigned_abs();
        let spread = self.squares().times(self.count).minus(Wide::square(sum));
        let n = f64::from(self.count);
        spread.to_f64() / (n * (n - 1.0)) * 2f64.powi(-2 * FRACTION_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Accumulator {
        let mut accumulator = Accumulator::default();
        values.iter().for_each(|value| accumulator.add(*value));
        accumulator
    }

    #[test]
    fn a_single_sample_is_its_own_mean_to_the_last_bit() {
        let aggregate = of(&[0.1]).aggregate().unwrap();
        assert_eq!((aggregate.mean.0, aggregate.stddev.0, aggregate.count), (0.1, 0.0, 1));
    }

    #[test]
    fn a_large_offset_does_not_drown_the_spread() {
        // In doubles, Σx² − (Σx)²/n of these values is pure rounding error.
        let aggregate = of(&[1e15 + 1.0, 1e15 + 2.0, 1e15 + 3.0]).aggregate().unwrap();
        assert_eq!((aggregate.mean.0, aggregate.stddev.0), (1e15 + 2.0, 1.0));
    }

    #[test]
    fn zeros_of_both_signs_are_one_value() {
        assert_eq!(of(&[0.0, -0.0]).aggregate(), of(&[-0.0, 0.0]).aggregate());
    }

    /// A sample in units, the nearest whole number of them: a half away from zero.
    fn units(value: f64) -> i128 {
        let scaled = value.abs() * 2f64.powi(FRACTION_BITS);
        let magnitude = scaled.trunc() as i128 + i128::from(scaled - scaled.trunc() >= 0.5);
        if value < 0.0 { -magnitude } else { magnitude }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_samples_in_units(
            samples in prop::collection::vec((prop_oneof![Just(0u64), Just((1 << 52) - 1), 0u64..1 << 52], -70i32..53, any::<bool>()), 1..20),
            others in prop::collection::vec(prop_oneof![Just(0.0), Just(-0.0), proptest::num::f64::SUBNORMAL], 0..3),
        ) {
            let values: Vec<f64> = samples
                .into_iter()
                .map(|(fraction, exponent, is_negative)| {
                    let magnitude = f64::from_bits(1023 << 52 | fraction) * 2f64.powi(exponent);
                    if is_negative { -magnitude } else { magnitude }
                })
                .chain(others)
                .collect();
            let mut squares = Wide::default();
            values.iter().for_each(|value| squares.add(Wide::square(units(*value).unsigned_abs())));
            prop_assert_eq!(of(&values).sum.get().cast_signed(), values.iter().map(|value| units(*value)).sum::<i128>());
            prop_assert_eq!(of(&values).squares(), squares);
        }

        #[test]
        fn order_and_batches_do_not_matter(values in prop::collection::vec(-1e6..1e6f64, 1..50), cut in 0usize..50) {
            let mut reversed = values.clone();
            reversed.reverse();
            let (front, back) = values.split_at(cut.min(values.len()));
            let mut merged = of(back);
            merged.merge(&of(front));
            prop_assert_eq!(of(&values), of(&reversed));
            prop_assert_eq!(of(&values), merged);
        }

        #[test]
        fn the_aggregate_is_that_of_the_textbook(values in prop::collection::vec(-1e12..1e12f64, 2..50)) {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            let aggregate = of(&values).aggregate().unwrap();
            // A sum of doubles, of which this is not one, is as exact as its largest.
            let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
            prop_assert!((aggregate.mean.0 - mean).abs() <= 1e-15 * largest * n);
            prop_assert!((aggregate.stddev.0 - deviation).abs() <= 1e-9 * (1.0 + deviation));
        }
    }
}
