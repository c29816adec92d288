//! Noise that is correlated in time, yet can be computed at any bucket without its past.
//!
//! A process like AR(1) would have to be run from its beginning. Instead, some octaves are added: each has a standard normal number at
//! every `cells`-th bucket and blends smoothly between, scaled so that its variance is the same everywhere.

use super::hash::{draw, normal};

/// One layer of noise: a normal number per this many buckets, and its share of the variance.
struct Octave {
    cells: i64,
    variance: f64,
}

/// How long the noise of a series remembers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Profile {
    /// Half of it fresh in each bucket, the rest over 20 and 80 minutes: load, traffic, latency.
    Fast,
    /// Over 20 minutes to four hours: memory, the air of a rack.
    Slow,
}

/// Shares add up to 1, so that noise times a standard deviation has that standard deviation.
const FAST: [Octave; 3] = [Octave { cells: 1, variance: 0.5 }, Octave { cells: 4, variance: 0.3 }, Octave { cells: 16, variance: 0.2 }];

/// As [`FAST`], for what moves slowly.
const SLOW: [Octave; 3] = [Octave { cells: 4, variance: 0.3 }, Octave { cells: 16, variance: 0.4 }, Octave { cells: 48, variance: 0.3 }];

/// Tells the octaves of one key apart.
const OCTAVE_STRIDE: u64 = 0xd1b5_4a32_d192_ed03;

impl Profile {
    fn octaves(self) -> &'static [Octave; 3] {
        match self {
            Self::Fast => &FAST,
            Self::Slow => &SLOW,
        }
    }

    /// The noise of a key at the start of a bucket, with mean 0 and variance 1.
    pub(super) fn at(self, key: u64, bucket: i64) -> f64 {
        let mut sum = 0.0;
        for (i, octave) in self.octaves().iter().enumerate() {
            let key = key.wrapping_add(OCTAVE_STRIDE.wrapping_mul(i as u64 + 1));
            let cell = bucket.div_euclid(octave.cells);
            let (from, to) = blend(bucket.rem_euclid(octave.cells), octave.cells);
            let mut value = from * normal(draw(key, cell));
            if to > 0.0 {
                value += to * normal(draw(key, cell + 1));
            }
            sum += octave.variance.sqrt() * value;
        }
        sum
    }

    /// The variance of `Σ taps[j] × at(bucket - j)`, averaged over where in its cells the bucket falls.
    pub(super) fn variance(self, taps: &[f64]) -> f64 {
        self.octaves().iter().map(|octave| octave.variance * octave_variance(octave.cells, taps)).sum()
    }
}

/// The weights of a cell's own number and of the next one's; their squares add up to 1.
fn blend(place: i64, cells: i64) -> (f64, f64) {
    let x = place as f64 / cells as f64;
    let to = x * x * (3.0 - 2.0 * x);
    let scale = 1.0 / ((1.0 - to) * (1.0 - to) + to * to).sqrt();
    ((1.0 - to) * scale, to * scale)
}

/// The variance of a weighted sum over one octave of unit variance: the squares of what falls on each of its numbers.
fn octave_variance(cells: i64, taps: &[f64]) -> f64 {
    let reach = taps.len() as i64 / cells + 3;
    let mut total = 0.0;
    for phase in 0..cells {
        let mut weights = vec![0.0; reach as usize + 1];
        for (lag, tap) in taps.iter().enumerate() {
            let bucket = reach * cells + phase - lag as i64 - cells;
            let cell = (bucket / cells) as usize;
            let (from, to) = blend(bucket % cells, cells);
            weights[cell] += tap * from;
            weights[cell + 1] += tap * to;
        }
        total += weights.iter().map(|weight| weight * weight).sum::<f64>();
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
