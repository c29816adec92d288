//! How weekends and holidays differ from weekdays, where a series says so.
//!
//! STL with a daily period cannot hold a weekly shape, so it is taken out before the fit and put into the weekend's profile
//! after it, as calendar effects are in X-11 (Shiskin, Young and Musgrave 1967).

use super::grid::Grid;
use super::seasons::{Polish, Seasons, interpolate, median_of};
use dataflows::Time;

const DAY: Time = 86_400_000;

/// A season takes part when this share of its buckets has values.
const SEASON_FILL_MIN: f64 = 0.5;

/// The correction is smoothed over a twelfth of the period (two hours of a day): two weekends are four values per phase, and
/// unsmoothed they would mostly hold noise.
const SMOOTHING_DIVISOR: usize = 12;

/// The correction must lessen the mean absolute error of weekend days that it was not estimated from by this share.
const GAIN_MIN: f64 = 0.1;

/// The same where only the two days of one weekend can vouch for each other: two quiet days in a row are no rhythm.
const GAIN_MIN_ONE_WEEKEND: f64 = 0.4;

/// By phase, what a weekend bucket has more than a weekday's; `None` where the series gives no good evidence of a difference.
pub(super) fn weekend_correction(grid: &Grid, usable: &[bool]) -> Option<Vec<f64>> {
    if Time::try_from(grid.period).ok()? * grid.width != DAY {
        return None;
    }
    let seasons = Seasons::of(grid, &grid.values, usable);
    let days: Vec<i64> = (0..seasons.rows.len()).map(|season| grid.day(season)).collect();
    #[allow(clippy::cast_precision_loss)] // a few hundred
    let full = |season: &usize| seasons.filled(*season) as f64 >= SEASON_FILL_MIN * grid.period as f64;
    let (weekends, weekdays): (Vec<usize>, Vec<usize>) =
        (0..days.len()).filter(full).partition(|season| grid.calendar.is_rest_day(days[*season]));
    if weekends.len() < 2 || weekdays.len() < 2 {
        return None;
    }
    let deviations = weekend_deviations(&seasons, seasons.polish(|season| weekdays.contains(&season)), &weekends);
    // Days of one weekend share its mood; what one of them proves about the other is worth less.
    let weeks: Vec<i64> = weekends.iter().map(|season| (days[*season] + 3).div_euclid(7)).collect();
    let several = weeks.iter().any(|week| *week != weeks[0]);
    let groups: Vec<i64> = if several { weeks } else { weekends.iter().map(|season| days[*season]).collect() };
    let gain = held_out_gain(&deviations, &groups);
    let needed = if several { GAIN_MIN } else { GAIN_MIN_ONE_WEEKEND };
    (gain >= needed).then(|| correction(deviations.iter()))
}

/// For each weekend day, what is left of it after the weekdays' profile and the level of the weekdays around it.
fn weekend_deviations(seasons: &Seasons, weekdays: Polish, weekends: &[usize]) -> Vec<Vec<f64>> {
    let Polish { mut levels, profile } = weekdays;
    interpolate(&mut levels);
    let row =
        |season: &usize| seasons.rows[*season].iter().zip(&profile).map(|(value, expected)| value - expected - levels[*season]).collect();
    weekends.iter().map(row).collect()
}

/// The smoothed median over some days.
fn correction<'a>(days: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let days: Vec<&Vec<f64>> = days.collect();
    let period = days.first().map_or(0, |day| day.len());
    let mut raw: Vec<f64> = (0..period).map(|phase| median_of(days.iter().map(|day| day[phase]))).collect();
    interpolate(&mut raw);
    smooth(&raw, period / SMOOTHING_DIVISOR / 2)
}

/// The mean over `half` phases to either side, around the clock.
fn smooth(values: &[f64], half: usize) -> Vec<f64> {
    let period = values.len();
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let width = (2 * half + 1) as f64;
    (0..period).map(|phase| (0..=2 * half).map(|step| values[(phase + period + step - half) % period]).sum::<f64>() / width).collect()
}

/// By how much the correction estimated from the other groups of days lessens the mean absolute deviation of each: 1 is all, 0 or
/// less is nothing.
fn held_out_gain(days: &[Vec<f64>], groups: &[i64]) -> f64 {
    let (mut without, mut with) = (0.0, 0.0);
    for (day, group) in days.iter().zip(groups) {
        let others = days.iter().zip(groups).filter(|(_, other)| *other != group).map(|(day, _)| day);
        let correction = correction(others);
        for (value, corrected) in day.iter().zip(&correction).filter(|(value, _)| value.is_finite()) {
            without += value.abs();
            with += (value - corrected).abs();
        }
    }
    if without > 0.0 { 1.0 - with / without } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_goes_around_midnight() {
        assert_eq!(smooth(&[3.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1), [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn what_other_weekends_do_not_share_is_no_gain() {
        let quiet = vec![vec![1.0; 24], vec![-1.0; 24]];
        assert!(held_out_gain(&quiet, &[0, 1]) < 0.0);
        let lower = vec![vec![-5.0; 24], vec![-5.0; 24]];
        assert_eq!(held_out_gain(&lower, &[0, 1]), 1.0);
    }
}
