//! How high a series' own deviations usually peak, as histograms that forget: what turns a deviation into something rare.

use crate::number::Number;
use serde::{Deserialize, Serialize};

/// The bins of a histogram. Sixteen from 0.5 to 300 are half an octave each, finer than a peak can be known from two weeks.
pub const BINS: usize = 16;

/// The centres of the lowest and the highest bin: what is below is no peak to speak of, what is above is out of any range.
const RANGE: (f64, f64) = (0.5, 300.0);

/// What is typical, and what is rare: half of the blocks of a day stay below the one, nineteen in twenty below the other.
const QUANTILES: (f64, f64) = (0.5, 0.95);

/// What the typical peak of a quarter of a day is scaled down to, in the views spike and drift...
const TYPICAL_PEAK: f64 = 1.5;
/// ...and in the shift view, whose peaks differ less.
const TYPICAL_SHIFT: f64 = 0.8;
/// One of fewer peaks than this is more than one in twenty: how rare it is nobody can know yet...
const FEW_PEAKS: f64 = 20.0;
/// ...and it counts as at most so many times what a rare one has been so far, or a young series would be deaf for days after its first outage.
const FEW_PEAKS_MAX: f64 = 3.0;
/// What the rare peak (one quarter of a day in twenty) of the drift view is scaled down to.
const RARE_DRIFT: f64 = 3.0;
/// What that of the shift view is scaled down to, with enough history; with little of it, by the cube of what that leaves of [`rare_spike`].
const RARE_SHIFT: f64 = 4.0;
/// What jumps often shifts now and then: the shift view is divided by at least so much of what the spike view is.
const SHIFT_SHARE: f64 = 0.5;

/// How often an ordinary series may peak, as what its rare peak is scaled down to: lower with little history, where its own rare peaks count for more.
/// `trust` is 0 without history and 1 with enough of it.
pub fn rare_spike(trust: f64) -> f64 {
    2.75 + 2.0 * trust
}

/// The same for the shift view of a series whose rare spike is scaled down to `rare_spike`.
fn rare_shift(rare_spike: f64) -> f64 {
    RARE_SHIFT * (rare_spike / self::rare_spike(1.0)).powi(3)
}

fn undivided() -> Number {
    Number(1.0)
}

/// A histogram of peaks over logarithmic bins, each peak shared between the two bins next to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// How many peaks there are; a fraction, since old ones count less.
    pub mass: f64,
    /// The mass of each bin.
    pub bins: [f64; BINS],
}

impl Peaks {
    /// Adds a peak to what is left of the others after `decay`.
    pub fn add(&mut self, peak: f64, decay: f64) {
        self.bins.iter_mut().for_each(|bin| *bin *= decay);
        self.mass = self.mass * decay + 1.0;
        #[allow(clippy::cast_precision_loss)] // sixteen
        let place = ((peak.max(1e-9).ln() - RANGE.0.ln()) / step()).clamp(0.0, (BINS - 1) as f64);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in 0..=15
        let bin = (place as usize).min(BINS - 2);
        #[allow(clippy::cast_precision_loss)] // sixteen
        let share = place - bin as f64;
        self.bins[bin] += 1.0 - share;
        self.bins[bin + 1] += share;
    }

    /// The peak that this share of all peaks stays below; `None` before the first.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.mass <= 0.0 {
            return None;
        }
        let mut below = 0.0;
        for (bin, mass) in (0_u32..).zip(self.bins) {
            let until = below + mass / self.mass;
            if until >= share {
                let within = (share - below) / (until - below).max(1e-12);
                return Some((RANGE.0.ln() + step() * (f64::from(bin) - 0.5 + within)).exp());
            }
            below = until;
        }
        Some(RANGE.1)
    }

    /// By how much deviations are to be divided so that a typical peak becomes at most `typical` and a rare one at most `rare`; never below 1.
    pub fn divisor(&self, typical: f64, rare: f64) -> Number {
        let share = |quantile: f64, target: f64| self.quantile(quantile).map_or(1.0, |peak| peak / target);
        Number(share(QUANTILES.0, typical).max(share(QUANTILES.1, rare)).max(1.0))
    }
}

/// The peaks of three views, and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Of the spike view.
    pub spike: Peaks,
    /// Of the shift view.
    #[serde(default)]
    pub shift: Peaks,
    /// Of the drift view.
    pub drift: Peaks,
    /// What the spike view is divided by, at least 1.
    pub spike_divisor: Number,
    /// What the shift view is divided by, at least 1.
    #[serde(default = "undivided")]
    pub shift_divisor: Number,
    /// What the drift view is divided by, at least 1.
    pub drift_divisor: Number,
}

impl Default for Calibration {
    fn default() -> Self {
        let [spike, shift, drift] = [Peaks::default(); 3];
        let [spike_divisor, shift_divisor, drift_divisor] = [undivided(); 3];
        Self { spike, shift, drift, spike_divisor, shift_divisor, drift_divisor }
    }
}

impl Calibration {
    /// Files the highest of a block in the views spike, shift and drift, where so much is left of the older ones, and finds anew what follows. A rare spike
    /// is scaled down to `rare_spike`.
    pub(crate) fn with(&self, highest: [f64; 3], decay: f64, rare_spike: f64) -> Self {
        let Self { mut spike, mut shift, mut drift, .. } = *self;
        let rare_shift = rare_shift(rare_spike);
        // How rare one of few is nobody can know yet.
        let known = |peaks: &Peaks, peak: f64, most: f64| if peaks.mass < FEW_PEAKS { peak.min(FEW_PEAKS_MAX * most) } else { peak };
        spike.add(known(&spike, highest[0], rare_spike * self.spike_divisor.0), decay);
        shift.add(known(&shift, highest[1], rare_shift * self.shift_divisor.0), decay);
        drift.add(highest[2], decay);
        let spike_divisor = spike.divisor(TYPICAL_PEAK, rare_spike);
        let shift_divisor = shift.divisor(TYPICAL_SHIFT, rare_shift).max(Number(SHIFT_SHARE * spike_divisor.0));
        Self { spike, shift, drift, spike_divisor, shift_divisor, drift_divisor: drift.divisor(TYPICAL_PEAK, RARE_DRIFT) }
    }
}

/// The width of a bin, as a logarithm.
fn step() -> f64 {
    #[allow(clippy::cast_precision_loss)] // sixteen
    let steps = (BINS - 1) as f64;
    (RANGE.1.ln() - RANGE.0.ln()) / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_peaks_are_below_the_median_and_old_ones_are_forgotten() {
        let mut peaks = Peaks::default();
        assert_eq!(peaks.quantile(0.5), None);
        assert_eq!(peaks.divisor(1.5, 3.0), Number(1.0));
        (0..100).for_each(|n| peaks.add(if n % 2 == 0 { 2.0 } else { 20.0 }, 1.0));
        assert!((2.0..20.0).contains(&peaks.quantile(0.5).unwrap()));
        assert!((15.0..27.0).contains(&peaks.quantile(0.95).unwrap()), "{:?}", peaks.quantile(0.95));
        (0..100).for_each(|_| peaks.add(2.0, 0.5));
        assert!(peaks.quantile(0.95).unwrap() < 4.0 && peaks.mass < 2.01);
    }

    #[test]
    fn nothing_is_out_of_range() {
        let mut peaks = Peaks::default();
        for peak in [0.0, f64::MIN_POSITIVE, 1e300] {
            peaks.add(peak, 1.0);
        }
        assert!((peaks.bins[0], peaks.bins[BINS - 1]) == (2.0, 1.0));
        assert!(peaks.quantile(1.0).unwrap() < 500.0);
    }
}
