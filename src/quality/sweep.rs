//! What would be found at another threshold: the share of labelled stretches where it is set to a number of false alarms.

use super::counts::{Count, Judged, count};
use dataflows::Time;

/// So many thresholds are tried...
const THRESHOLDS: u32 = 120;
/// ...from the score that this share of all buckets is above to the one that the other is, evenly by their logarithm.
const SHARES: (f64, f64) = (2e-5, 0.2);

/// The most that is found with no more than so many false alarms per series and day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Budgeted {
    /// The share of labelled stretches that is found.
    pub(super) recall: f64,
    /// The threshold: |z| at or above it is flagged.
    pub(super) threshold: f64,
}

/// Tries thresholds; `None` where none keeps the budget, or nothing is labelled.
pub(super) fn budgeted(judged: &[&Judged], width: Time, false_alarms_per_series_day: f64) -> Option<Budgeted> {
    let mut best: Option<Budgeted> = None;
    for threshold in thresholds(judged) {
        let mut sum = Count::default();
        count(judged, width, |series| series.at(threshold)).values().for_each(|count| sum.add(count));
        let recall = sum.recall()?;
        if best.is_none_or(|best| recall > best.recall) && sum.false_alarms_per_series_day(width) <= false_alarms_per_series_day {
            best = Some(Budgeted { recall, threshold });
        }
    }
    best
}

/// The thresholds, the highest first.
fn thresholds(judged: &[&Judged]) -> Vec<f64> {
    let mut scores: Vec<f64> = judged.iter().flat_map(|series| series.scores.iter().map(|(_, score)| *score)).collect();
    scores.sort_unstable_by(f64::total_cmp);
    let Some(last) = scores.len().checked_sub(1) else { return Vec::new() };
    let (lowest, highest) = (SHARES.0.ln(), SHARES.1.ln());
    let share = |n: u32| (lowest + (highest - lowest) * f64::from(n) / f64::from(THRESHOLDS - 1)).exp();
    let mut thresholds: Vec<f64> = (0..THRESHOLDS).map(|n| quantile(&scores, last, 1.0 - share(n))).filter(|score| *score > 0.0).collect();
    thresholds.dedup();
    thresholds
}

/// The score that this share of all stays below, between two of them in proportion.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // places in a list
fn quantile(scores: &[f64], last: usize, share: f64) -> f64 {
    let place = share * last as f64;
    let below = place.floor() as usize;
    let above = scores[(below + 1).min(last)];
    scores[below] + (above - scores[below]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::super::counts::Stretch;
    use super::*;
    use crate::series::SeriesName;

    const WIDTH: Time = 300_000;

    /// A hundred days of a series whose bucket at noon of each day scores as the day says, and a labelled stretch on some of them.
    fn judged(score: impl Fn(i64) -> f64, is_labelled: impl Fn(i64) -> bool) -> Judged {
        let noon = |day: i64| (day * 288 + 144) * WIDTH;
        let at = |n: i64| (n * WIDTH, if n % 288 == 144 { score(n / 288) } else { 0.1 });
        let labelled = (0..100).filter(|day| is_labelled(*day)).map(|day| Stretch { first: noon(day), last: noon(day) }).collect();
        let series = SeriesName::new("server", "a", "cpu");
        Judged {
            series,
            scores: (0..28_800).map(at).collect(),
            flagged: Vec::new(),
            labelled,
            labelled_of_entity: Vec::new(),
            asides: Vec::new(),
            kinds: Vec::new(),
        }
    }

    #[test]
    fn the_threshold_is_the_lowest_that_finds_more_within_the_budget() {
        // Even days are labelled stretches and score 4 or 8, odd ones are false and score 6.
        let series = judged(|day| if day % 2 == 1 { 6.0 } else { [4.0, 8.0][usize::from(day % 4 == 0)] }, |day| day % 2 == 0);
        let at = |budget: f64| budgeted(&[&series], WIDTH, budget).unwrap();
        assert!((at(0.0).recall - 0.5).abs() < 1e-9 && (6.0..=8.0).contains(&at(0.0).threshold), "{:?}", at(0.0));
        assert!((at(0.5).recall - 1.0).abs() < 1e-9 && (0.1..=4.0).contains(&at(0.5).threshold), "{:?}", at(0.5));
    }

    #[test]
    fn without_labels_there_is_nothing_to_find() {
        assert_eq!(budgeted(&[&judged(|_| 5.0, |_| false)], WIDTH, 1.0), None);
    }
}
