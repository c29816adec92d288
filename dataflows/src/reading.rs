//! What the default method reads in one bucket, and what it makes of it: four views, the loudest of which becomes the z-score.
//!
//! [`crate::tracking`] says what is read, and by which state.

use crate::Time;
use crate::number::Number;
use crate::step::OVERSHOOT;
use crate::verdict::Score;

/// The weights of the views spike, shift, drift and stuck, chosen so that the threshold is 3 for each.
pub const WEIGHTS: [f64; 4] = [0.93, 0.93, 0.62, 1.35];

/// From this loudness on, before it is divided for other metrics, a deviation makes those after it quieter: see [`crate::tracking`].
const HABITUATION_FROM: f64 = 2.5;

/// The arithmetic of one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub(crate) start: Time,
    pub(crate) mean: f64,
    /// How many buckets lie between the one before with samples and this one: 1 without a gap.
    pub buckets: f64,
    /// What the profile says of this time of day.
    pub usual: f64,
    /// The same, or what it says of the bucket before or after, where it jumps and that is nearer: see [`Season`](crate::season::Season).
    pub seasonal: f64,
    /// The slow level.
    pub level: f64,
    /// Whether it has come back from a deviation, and gone past the level by no more than it usually does.
    pub is_return: bool,
    /// How far the bucket is from the slow level.
    pub residual: f64,
    /// How far it is from the fast level.
    pub jump: f64,
    /// The spike view: the jump in its scale, as far as it counts; 0 for a jump that leads back to what is expected.
    pub spike: f64,
    /// The same, had it been no return.
    pub(crate) peak: f64,
    /// How far the nearer one of this bucket and the one before is from where the series was before both; 0 where they are on two sides of that.
    pub shifted: f64,
    /// The shift view: that in its scale, as far as it counts; 0 where it leads back to what is expected, or the bucket before was loud already.
    pub shift: f64,
    /// The same, had it been no return and the bucket before not loud.
    pub(crate) shift_peak: f64,
    /// The average of the latest deviations after this bucket.
    pub(crate) drift_after: f64,
    /// The drift view, in its scale; 0 where the bucket is back at what is expected.
    pub drift: f64,
    /// Buckets in a row that equalled the one before.
    pub run: f64,
    /// The stuck view.
    pub stuck: f64,
    /// What the spike view is divided by.
    pub spike_divisor: f64,
    /// What the shift view is divided by.
    pub shift_divisor: f64,
    /// What the drift view is divided by.
    pub drift_divisor: f64,
    /// The loudest of late, as far as a gap has left it.
    pub(crate) remembered: f64,
    /// The same for the drift view, at least as much.
    pub(crate) lasting: f64,
    /// What it is divided by after that, since other metrics of the entity might have been wrong as well: see [`chances`](crate::tracking::chances).
    pub chances: f64,
    /// The scale that is shown where nothing deviates.
    pub(crate) slow_scale: f64,
}

/// Which view was the loudest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A jump away from the level.
    Spike,
    /// Two buckets in a row to one side of where the series was.
    Shift,
    /// Small deviations that go on.
    Drift,
    /// No movement where there should be some.
    Stuck,
}

impl Reading {
    /// What the views come to, each weighted and divided by its calibration: spike, shift, drift, stuck.
    pub fn views(&self) -> [f64; 4] {
        let [spike, shift, drift, stuck] = WEIGHTS;
        [
            spike * self.spike / self.spike_divisor,
            shift * self.shift / self.shift_divisor,
            drift * self.drift / self.drift_divisor,
            stuck * self.stuck,
        ]
    }

    /// The loudest view, what it comes to, and what that is divided by, since there was an alarm of late.
    pub fn loudest(&self) -> (View, f64, f64) {
        let [habituation, lasting] = [self.remembered, self.lasting].map(|remembered| (remembered / HABITUATION_FROM).max(1.0));
        let [spike, shift, drift, stuck] = self.views();
        let mut loudest = (View::Spike, spike, habituation);
        for view in [(View::Shift, shift, habituation), (View::Drift, drift, lasting), (View::Stuck, stuck, habituation)] {
            if view.1 / view.2 > loudest.1 / loudest.2 {
                loudest = view;
            }
        }
        loudest
    }

    /// How far the bucket is from what was expected, in scales of the model: the same whatever has peaked of late.
    pub fn deviation(&self) -> f64 {
        (self.mean - (self.seasonal + self.level)) / self.slow_scale
    }

    /// Whether it has jumped past what is expected, and not far past it: see [`OVERSHOOT`].
    pub fn overshoots(&self) -> bool {
        self.spike > 0.0 && !self.is_return && self.jump.abs() > OVERSHOOT * self.residual.abs()
    }

    /// How loud the series itself finds the bucket: the loudest view after habituation.
    pub(crate) fn loudness(&self) -> f64 {
        let (_, loudest, habituation) = self.loudest();
        loudest / habituation
    }

    /// The z-score, with the sign of the residual.
    pub fn z_score(&self) -> f64 {
        let z_score = self.loudness() / self.chances;
        if self.residual >= 0.0 { z_score } else { -z_score }
    }

    /// As it is stored. Sigma is what makes `z_score = (mean - expected) / sigma` true, wherever one can: the deviation that would count as 1 here and now.
    pub fn score(&self) -> Score {
        let (expected, z_score) = (self.seasonal + self.level, self.z_score());
        let sigma = (self.mean - expected).abs() / z_score.abs();
        let sigma = if sigma.is_normal() { sigma } else { self.slow_scale };
        Score { expected: Number(expected), sigma: Number(sigma), z_score: Number(z_score) }
    }
}
