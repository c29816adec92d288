//! Chance without state: every draw is a hash of what it is for, so that it can be made again in any order.
//!
//! Only `+ - * /` and `sqrt` are used on floats, which IEEE 754 defines to the bit: a seed means the same log on every platform.

/// The increment of splitmix64: 2^64 divided by the golden ratio, made odd (Steele, Lea, Flood 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// 2^-53: the distance between neighbouring doubles below 1.
const UNIT: f64 = 1.0 / (1u64 << 53) as f64;

/// The standard deviation of [`normal`] before scaling: √(64/4 + 1/12), for 64 fair bits and a uniform dither of width 1.
const DEVIATION: f64 = 4.010_403_138_505_321;

/// The finalizer of splitmix64: every bit of the input flips each bit of the output with probability one half.
pub(super) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The hash of `key` and a number below it: a counter, a bucket, a time.
pub(super) fn draw(key: u64, number: i64) -> u64 {
    mix(key.wrapping_add((number as u64).wrapping_mul(GOLDEN)))
}

/// A hash as a number in `0.0..1.0`.
pub(super) fn uniform(hash: u64) -> f64 {
    (hash >> 11) as f64 * UNIT
}

/// A hash as a standard normal number.
///
/// The count of ones in 64 fair bits is binomial, whose kurtosis (2.97) and tails up to four sigma are the normal's; a dither of width one
/// fills the gaps between its integers. Box–Muller would need a logarithm and a cosine, which platforms round differently.
pub(super) fn normal(hash: u64) -> f64 {
    let ones = f64::from(hash.count_ones());
    let dither = (hash.wrapping_mul(GOLDEN) >> 40) as f64 * (1.0 / (1u64 << 24) as f64);
    (ones - 32.5 + dither) * (1.0 / DEVIATION)
}

/// Draws that follow one another, for what is decided once per entity.
pub(super) struct Draws {
    key: u64,
    count: i64,
}

impl Draws {
    /// The draws that belong to a key.
    pub(super) fn new(key: u64) -> Self {
        Self { key, count: 0 }
    }

    /// The next hash.
    pub(super) fn next(&mut self) -> u64 {
        self.count += 1;
        draw(self.key, self.count)
    }

    /// The next number in `low..high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * uniform(self.next())
    }

    /// The next index in `0..count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        // The bias of a remainder is below 2^-50 for the counts used here.
        (self.next() % count as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_draws_have_the_moments_of_a_normal() {
        assert!((DEVIATION * DEVIATION - 16.0 - 1.0 / 12.0).abs() < 1e-12);
        let count = 200_000;
        let draws: Vec<f64> = (0..count).map(|i| normal(draw(7, i))).collect();
        let moment = |power: i32| draws.iter().map(|value| value.powi(power)).sum::<f64>() / count as f64;
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.02, "variance {}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.12, "kurtosis {}", moment(4));
        let beyond = draws.iter().filter(|value| value.abs() > 3.0).count() as f64 / count as f64;
        assert!((0.002..0.0034).contains(&beyond), "a normal passes three sigma 0.27 % of the time, not {beyond}");
    }
}
