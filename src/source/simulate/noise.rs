//! Noise that is correlated in time, yet can be computed at any bucket without its past.
//!
//! A process like AR(1) would have to be run from its beginning. Instead, some octaves are added: each has a standard normal number at
//! every so many buckets and blends smoothly between, scaled so that its variance is the same everywhere.

use super::hash::{draw, normal};
use std::sync::LazyLock;

/// One layer of noise: a normal number per `2^shift` buckets, and its share of the variance. Powers of two make its cells a shift away.
struct Octave {
    shift: u32,
    variance: f64,
}

/// Weights by place within a cell, of the cell's own number and of the next one's, deviation included.
type Weights = Vec<(f64, f64)>;

/// How long the noise of a series remembers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Profile {
    /// Half of it fresh in each bucket, the rest over 20 and 80 minutes: load, traffic, latency.
    Fast,
    /// Over 20 minutes to five hours: memory, the air of a rack.
    Slow,
}

/// Shares add up to 1, so that noise times a standard deviation has that standard deviation.
const FAST: [Octave; 3] = [Octave { shift: 0, variance: 0.5 }, Octave { shift: 2, variance: 0.3 }, Octave { shift: 4, variance: 0.2 }];

/// As [`FAST`], for what moves slowly.
const SLOW: [Octave; 3] = [Octave { shift: 2, variance: 0.3 }, Octave { shift: 4, variance: 0.4 }, Octave { shift: 6, variance: 0.3 }];

/// The weights are computed once: with their roots and quotients made anew each time, noise took two thirds of the backfill's time.
static FAST_WEIGHTS: LazyLock<[Weights; 3]> = LazyLock::new(|| FAST.map(|octave| weights(&octave)));
static SLOW_WEIGHTS: LazyLock<[Weights; 3]> = LazyLock::new(|| SLOW.map(|octave| weights(&octave)));

/// Tells the octaves of one key apart.
const OCTAVE_STRIDE: u64 = 0xd1b5_4a32_d192_ed03;

impl Profile {
    fn octaves(self) -> (&'static [Octave; 3], &'static [Weights; 3]) {
        match self {
            Self::Fast => (&FAST, &FAST_WEIGHTS),
            Self::Slow => (&SLOW, &SLOW_WEIGHTS),
        }
    }

    /// The noise of a key at the start of a bucket, with mean 0 and variance 1.
    pub(super) fn at(self, key: u64, bucket: i64) -> f64 {
        let (octaves, weights) = self.octaves();
        let (mut sum, mut key) = (0.0, key);
        for (octave, weights) in octaves.iter().zip(weights) {
            key = key.wrapping_add(OCTAVE_STRIDE);
            let (cell, place) = (bucket >> octave.shift, bucket & ((1 << octave.shift) - 1));
            let (from, to) = weights[place as usize];
            sum += from * normal(draw(key, cell));
            if to > 0.0 {
                sum += to * normal(draw(key, cell + 1));
            }
        }
        sum
    }

    /// The variance of `Σ taps[j] × at(bucket - j)`, averaged over where in its cells the bucket falls.
    pub(super) fn variance(self, taps: &[f64]) -> f64 {
        self.octaves().1.iter().map(|weights| octave_variance(weights, taps)).sum()
    }
}

/// The weights at each place; smooth where cells meet, and of the same variance everywhere.
fn weights(octave: &Octave) -> Weights {
    let cells = 1 << octave.shift;
    let weigh = |place: i32| {
        let x = f64::from(place) / f64::from(cells);
        let to = x * x * (3.0 - 2.0 * x);
        let scale = (octave.variance / ((1.0 - to) * (1.0 - to) + to * to)).sqrt();
        ((1.0 - to) * scale, to * scale)
    };
    (0..cells).map(weigh).collect()
}

/// The variance of a weighted sum over one octave: the squares of what falls on each of its numbers.
fn octave_variance(weights: &Weights, taps: &[f64]) -> f64 {
    let cells = weights.len();
    // Far enough from the first cell for the longest lag.
    let origin = (taps.len() / cells + 1) * cells;
    let mut total = 0.0;
    for phase in 0..cells {
        let mut numbers = vec![0.0; origin / cells + 2];
        for (lag, tap) in taps.iter().enumerate() {
            let bucket = origin + phase - lag;
            let (from, to) = weights[bucket % cells];
            numbers[bucket / cells] += tap * from;
            numbers[bucket / cells + 1] += tap * to;
        }
        total += numbers.iter().map(|number| number * number).sum::<f64>();
    }
    total / cells as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_variance_is_the_measured_one() {
        for profile in [Profile::Fast, Profile::Slow] {
            for taps in [&[1.0][..], &[0.5, 0.5], &[0.2, 0.35, 0.25, 0.15, 0.05]] {
                let sums = (0..200_000).map(|b| (0..).zip(taps).map(|(lag, tap)| tap * profile.at(3, b - lag)).sum::<f64>());
                let measured = sums.map(|sum| sum * sum).sum::<f64>() / 200_000.0;
                let stated = profile.variance(taps);
                assert!((measured / stated - 1.0).abs() < 0.05, "{profile:?} {taps:?}: {measured} is not {stated}");
            }
        }
        assert!((Profile::Fast.variance(&[1.0]) - 1.0).abs() < 1e-12);
    }
}
