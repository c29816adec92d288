//! The seasonal part by phase, and how well it foretells a season it has not seen.

use super::seasons::{Seasons, interpolate};

/// Widths to average over besides none, as parts of the period: 25 minutes, about one hour, about two hours of a day.
const SMOOTHING_DIVISORS: [usize; 3] = [57, 22, 11];

/// A profile.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// By phase, from all seasons.
    pub(super) all: Vec<f64>,
    /// By season and phase, from all seasons but that one: what an honest residual is measured against.
    pub(super) without: Vec<Vec<f64>>,
    /// The width that was averaged over, in buckets.
    pub(super) smoothing: usize,
}

/// Sums and counts by phase.
struct Totals {
    sums: Vec<f64>,
    counts: Vec<f64>,
}

impl Profile {
    /// The mean of each phase over the seasons (cycle-subseries means, as in STL), averaged over the width that best foretells
    /// each season from the others: on two days of noise two hours, on fourteen days with sharp edges nothing.
    pub(super) fn of(seasons: &Seasons) -> Self {
        let period = seasons.rows.first().map_or(0, Vec::len);
        let totals = Totals::of(seasons, period);
        let halves = std::iter::once(0).chain(SMOOTHING_DIVISORS.map(|divisor| period / divisor / 2));
        let best = halves.map(|half| (half, held_out(seasons, &totals, half)));
        let best = best.min_by(|a, b| a.1.0.total_cmp(&b.1.0));
        let (half, without) = best.map_or((0, Vec::new()), |(half, (_, without))| (half, without));
        let mut all = totals.smooth(half);
        interpolate(&mut all);
        Self { all, without, smoothing: 2 * half + 1 }
    }
}

/// The mean absolute error of each season against the profile of the others, and those profiles.
fn held_out(seasons: &Seasons, totals: &Totals, half: usize) -> (f64, Vec<Vec<f64>>) {
    let (mut error, mut count) = (0.0, 0.0);
    let mut profiles = Vec::with_capacity(seasons.rows.len());
    for row in &seasons.rows {
        let mut profile = totals.less(row).smooth(half);
        interpolate(&mut profile);
        for (value, expected) in row.iter().zip(&profile).filter(|(value, _)| value.is_finite()) {
            error += (value - expected).abs();
            count += 1.0;
        }
        profiles.push(profile);
    }
    (if count > 0.0 { error / count } else { 0.0 }, profiles)
}

impl Totals {
    fn of(seasons: &Seasons, period: usize) -> Self {
        let mut totals = Self { sums: vec![0.0; period], counts: vec![0.0; period] };
        for row in &seasons.rows {
            totals.add(row, 1.0);
        }
        totals
    }

    fn add(&mut self, row: &[f64], sign: f64) {
        for (phase, value) in row.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            self.sums[phase] += sign * value;
            self.counts[phase] += sign;
        }
    }

    /// Without one season.
    fn less(&self, row: &[f64]) -> Self {
        let mut totals = Self { sums: self.sums.clone(), counts: self.counts.clone() };
        totals.add(row, -1.0);
        totals
    }

    /// The mean over all values within `half` phases, around the clock; NaN where there are none.
    fn smooth(&self, half: usize) -> Vec<f64> {
        let period = self.sums.len();
        let near = |phase: usize| (0..=2 * half).map(move |step| (phase + period + step - half) % period);
        let mean = |phase: usize| {
            let (sum, count) = near(phase).fold((0.0, 0.0), |(sum, count), i| (sum + self.sums[i], count + self.counts[i]));
            if count > 0.5 { sum / count } else { f64::NAN }
        };
        (0..period).map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cheap deterministic noise in -0.5..0.5.
    fn noise(i: usize) -> f64 {
        ((i * 7919 + i * i * 104_729) % 10_007) as f64 / 10_007.0 - 0.5
    }

    fn seasons(n: usize, shape: fn(usize) -> f64) -> Seasons {
        let row = |season: usize| (0..288).map(|phase| shape(phase) + noise(season * 288 + phase)).collect();
        Seasons { rows: (0..n).map(row).collect() }
    }

    #[test]
    fn two_noisy_days_are_smoothed_and_sharp_edges_are_not() {
        let smooth = Profile::of(&seasons(2, |phase| (phase as f64 / 288.0 * std::f64::consts::TAU).sin()));
        assert!(smooth.smoothing >= 13, "smoothed over {} buckets", smooth.smoothing);
        let sharp = Profile::of(&seasons(14, |phase| if phase % 24 == 0 { 50.0 } else { 0.0 }));
        assert_eq!(sharp.smoothing, 1);
        assert!((sharp.all[24] - 50.0).abs() < 0.5);
    }

    #[test]
    fn a_season_is_not_measured_against_itself() {
        let mut seasons = seasons(4, |_| 0.0);
        seasons.rows[1].fill(100.0);
        let profile = Profile::of(&seasons);
        assert!(profile.without[1].iter().all(|value| value.abs() < 1.0));
        assert!(profile.without[2].iter().all(|value| *value > 30.0));
    }
}
