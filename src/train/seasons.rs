//! A series as a table of seasons by phases, and its median polish.

use super::grid::Grid;
use super::robust::median;

/// Values by season (row) and phase (column); NaN where there is none.
#[derive(Clone, Debug)]
pub(super) struct Seasons {
    /// One row per season, each with `period` columns.
    pub(super) rows: Vec<Vec<f64>>,
}

/// What a median polish (Tukey 1977) finds: `value ~ levels[season] + profile[phase]`.
#[derive(Clone, Debug)]
pub(super) struct Polish {
    /// The level of each season; NaN for one without values.
    pub(super) levels: Vec<f64>,
    /// The profile; NaN at a phase without values.
    pub(super) profile: Vec<f64>,
}

impl Seasons {
    /// The table of the `values` on a grid that are `kept`.
    pub(super) fn of(grid: &Grid, values: &[f64], kept: &[bool]) -> Self {
        // The last slot may lie before others on the clock, in the hour after clocks went back.
        let seasons = (0..values.len().max(1)).rev().take(grid.period).map(|i| grid.season(i)).max().unwrap_or(0) + 1;
        let mut rows = vec![vec![f64::NAN; grid.period]; seasons];
        for (i, (value, kept)) in values.iter().zip(kept).enumerate() {
            if *kept {
                rows[grid.season(i)][grid.phase(i)] = *value;
            }
        }
        Self { rows }
    }

    /// Values in a season.
    pub(super) fn filled(&self, season: usize) -> usize {
        self.rows[season].iter().filter(|value| value.is_finite()).count()
    }

    /// Two rounds of median polish over some of the seasons: levels and profile that outliers and gaps cannot move far.
    pub(super) fn polish(&self, includes: impl Fn(usize) -> bool) -> Polish {
        let period = self.rows.first().map_or(0, Vec::len);
        let mut polish = Polish { levels: vec![f64::NAN; self.rows.len()], profile: vec![0.0; period] };
        for _ in 0..2 {
            for (season, row) in self.rows.iter().enumerate().filter(|(season, _)| includes(*season)) {
                polish.levels[season] = row_level(row, &polish.profile);
            }
            let deviation = |season: usize, phase: usize| self.rows[season][phase] - polish.levels[season];
            let chosen: Vec<usize> = (0..self.rows.len()).filter(|season| includes(*season)).collect();
            polish.profile = (0..period).map(|phase| median_of(chosen.iter().map(|season| deviation(*season, phase)))).collect();
        }
        polish
    }
}

/// The median difference of a season and the profile.
fn row_level(row: &[f64], profile: &[f64]) -> f64 {
    median_of(row.iter().zip(profile).map(|(value, expected)| value - expected))
}

/// The median of the finite values; NaN without any.
pub(super) fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    median(&mut values).unwrap_or(f64::NAN)
}

/// Fills NaN by straight lines between its neighbours and level beyond the outermost; all NaN becomes 0.
pub(super) fn interpolate(values: &mut [f64]) {
    let known: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_finite()).collect();
    let (Some(&first), Some(&last)) = (known.first(), known.last()) else {
        values.fill(0.0);
        return;
    };
    let (before, after) = (values[first], values[last]);
    values[..first].fill(before);
    values[last..].fill(after);
    for pair in known.windows(2) {
        let (left, right) = (values[pair[0]], values[pair[1]]);
        let steps = pair[1] - pair[0];
        for step in 1..steps {
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            let share = step as f64 / steps as f64;
            values[pair[0] + step] = left + (right - left) * share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polish_finds_levels_and_profile_past_an_outlier_and_a_gap() {
        let rows = (0..5).map(|season| (0..6).map(|phase| f64::from(10 * season + phase * phase)).collect()).collect();
        let mut seasons = Seasons { rows };
        seasons.rows[2][3] = 1e6;
        seasons.rows[4][1] = f64::NAN;
        let polish = seasons.polish(|_| true);
        for (season, phase) in [(0, 0), (2, 3), (4, 1), (4, 5)] {
            let expected = f64::from(10 * season + phase * phase);
            let found = polish.levels[usize::try_from(season).unwrap()] + polish.profile[usize::try_from(phase).unwrap()];
            assert!((found - expected).abs() < 2.0, "{found} instead of {expected}");
        }
    }

    #[test]
    fn holes_are_filled_from_their_sides() {
        let mut values = [f64::NAN, 1.0, f64::NAN, f64::NAN, 4.0, f64::NAN];
        interpolate(&mut values);
        assert_eq!(values, [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
    }
}
