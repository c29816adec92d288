//! A histogram of durations that one thread fills and others read: how many took at most how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of its steps, in seconds: a commit to an embedded history takes milliseconds, one that waited for a server minutes.
pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Durations, counted by their size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many fall into each step; the last is without bound.
    steps: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&self, took: Duration) {
        let step = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.steps[step].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many took at most as long as each of [`BOUNDS`] says, and last how many there are.
    pub fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|step| {
            sum += self.steps[step].load(Ordering::Relaxed);
            sum
        })
    }

    /// How long all of them took together, in seconds.
    #[allow(clippy::cast_precision_loss)] // exact for 285 years
    pub fn seconds(&self) -> f64 {
        self.microseconds.load(Ordering::Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_own_step_and_in_all_above() {
        let histogram = Histogram::default();
        for milliseconds in [1, 7, 7, 400, 60_000] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(histogram.cumulative(), [1, 1, 1, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5], "a bound belongs to its step");
        assert!((histogram.seconds() - 60.415).abs() < 1e-9);
    }
}
