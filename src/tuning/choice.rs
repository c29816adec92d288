//! The policy that is chosen: what finds most within the budget, as near as can be to what holds now.

use super::Budget;
use super::grid::Candidate;
use super::trial::Trials;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// K of N, one for all metrics.
    pub open_after: (u32, u32),
    /// The place of each metric's candidate.
    pub by_metric: BTreeMap<String, usize>,
    /// The metrics for which nothing that was tried keeps the budget.
    pub over: Vec<String>,
}

/// A metric with what was tried for it, the policy that holds now first.
pub type Tried = BTreeMap<String, (Vec<Candidate>, Trials)>;

/// Chooses. Within the budget of false alarms, a metric with labels gets what finds most of them. Without labels every alarm counts against the budget, and
/// nothing tells a good one from a bad: only the threshold moves, and only up, so that the loudest are left. Among equals, what is nearest to what holds
/// now. `None` without metrics.
pub fn choose(tried: &Tried, budget: &Budget) -> Option<Choice> {
    let (candidates, _) = tried.values().next()?;
    let now = candidates[0].open_after;
    let mut openings: Vec<(u32, u32)> = vec![now];
    for candidate in candidates {
        if !openings.contains(&candidate.open_after) {
            openings.push(candidate.open_after);
        }
    }
    // Without labels, one opening is as good as another.
    openings.truncate(if tried.values().any(|(_, trials)| trials.labelled > 0) { openings.len() } else { 1 });
    let choices = openings.into_iter().map(|open_after| {
        let best: BTreeMap<&String, (usize, bool)> =
            tried.iter().map(|(metric, (candidates, trials))| (metric, best(candidates, trials, open_after, budget))).collect();
        let found: u64 = best.iter().map(|(metric, (place, _))| tried[*metric].1.tallies[*place].found).sum();
        let over: Vec<String> = best.iter().filter(|(_, (_, within))| !within).map(|(metric, _)| (*metric).clone()).collect();
        let value = (over.len(), u64::MAX - found);
        (value, Choice { open_after, by_metric: best.into_iter().map(|(metric, (place, _))| (metric.clone(), place)).collect(), over })
    });
    // Of equal ones the first, which is what holds now.
    choices.min_by_key(|(value, _)| *value).map(|(_, choice)| choice)
}

/// The place of the best candidate of a metric with this opening, and whether it keeps the budget.
fn best(candidates: &[Candidate], trials: &Trials, open_after: (u32, u32), budget: &Budget) -> (usize, bool) {
    let now = candidates[0];
    let allowed = budget.per_series_day() * trials.series_days;
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let is_within = |place: &usize| trials.tallies[*place].false_alarms as f64 <= allowed;
    let own = || (0..candidates.len()).filter(|place| candidates[*place].open_after == open_after);
    let nearer = |one: &usize, other: &usize| distance(&candidates[*one], &now).total_cmp(&distance(&candidates[*other], &now));
    let found = |place: &usize| trials.tallies[*place].found;
    let most = own().filter(is_within).max_by(|one, other| found(one).cmp(&found(other)).then(nearer(other, one)));
    if let Some(most) = most.filter(|most| found(most) > 0) {
        return (most, true);
    }
    // Nothing is labelled, or nothing that is can be found.
    let louder = || own().filter(|place| is_same(candidates[*place].minimum, now.minimum) && candidates[*place].threshold >= now.threshold);
    let nearest = louder().filter(is_within).min_by(nearer);
    let alarms = |place: &usize| trials.tallies[*place].false_alarms;
    let quietest = || louder().min_by(|one, other| alarms(one).cmp(&alarms(other)).then(nearer(one, other)));
    nearest.map(|place| (place, true)).or_else(|| quietest().map(|place| (place, false))).unwrap_or((0, false))
}

/// How far one policy is from another: a threshold by its ratio, a least deviation by its difference.
fn distance(one: &Candidate, other: &Candidate) -> f64 {
    (one.threshold / other.threshold).ln().abs() + (one.minimum - other.minimum).abs()
}

fn is_same(one: f64, other: f64) -> bool {
    one.total_cmp(&other) == Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::super::trial::Tally;
    use super::*;

    const OPENINGS: [(u32, u32); 2] = [(2, 3), (1, 1)];

    fn candidates() -> Vec<Candidate> {
        let all = OPENINGS
            .into_iter()
            .flat_map(|open_after| [3.0, 2.0, 5.0, 8.0].map(|threshold| Candidate { threshold, minimum: 0.0, open_after }));
        all.collect()
    }

    /// Thirty days of one series; false alarms and what is found by the thresholds 3, 2, 5 and 8, twice.
    fn tried(labelled: u64, tallies: [(u64, u64); 8]) -> Tried {
        let tallies = tallies.map(|(false_alarms, found)| Tally { alarms: false_alarms + found, false_alarms, found }).to_vec();
        BTreeMap::from([("cpu".into(), (candidates(), Trials { series: 1, series_days: 30.0, labelled, tallies }))])
    }

    fn chosen(tried: &Tried) -> (Candidate, Vec<String>) {
        let choice = choose(tried, &"2/series/month".parse().unwrap()).unwrap();
        let candidate = candidates()[choice.by_metric["cpu"]];
        assert_eq!(candidate.open_after, choice.open_after);
        (candidate, choice.over)
    }

    #[test]
    fn without_labels_the_threshold_rises_until_the_budget_is_kept_and_never_falls() {
        let loud = chosen(&tried(0, [(9, 0), (20, 0), (2, 0), (0, 0), (0, 0), (1, 0), (0, 0), (0, 0)]));
        assert_eq!((loud.0.threshold, loud.0.open_after, loud.1.len()), (5.0, (2, 3), 0));
        let calm = chosen(&tried(0, [(1, 0), (2, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)]));
        assert!((calm.0.threshold - 3.0).abs() < 1e-9, "what holds now keeps it");
    }

    #[test]
    fn labels_lower_a_threshold_where_that_finds_more_within_the_budget() {
        let lower = chosen(&tried(5, [(0, 3), (2, 4), (0, 1), (0, 0), (3, 5), (9, 5), (1, 4), (0, 2)]));
        assert_eq!((lower.0.threshold, lower.0.open_after), (2.0, (2, 3)), "four are found by both, and this is what holds now");
        let other = chosen(&tried(5, [(0, 3), (2, 4), (0, 1), (0, 0), (2, 5), (9, 5), (1, 4), (0, 2)]));
        assert_eq!((other.0.threshold, other.0.open_after), (3.0, (1, 1)));
    }

    #[test]
    fn where_nothing_keeps_the_budget_the_quietest_is_left_and_said_to_be_over_it() {
        let over = chosen(&tried(0, [(90, 0), (99, 0), (30, 0), (20, 0), (9, 0), (9, 0), (9, 0), (9, 0)]));
        assert_eq!((over.0.threshold, over.1), (8.0, vec!["cpu".to_owned()]));
        // Failed once: the highest was taken, though it was no quieter.
        let equal = chosen(&tried(0, [(90, 0), (99, 0), (20, 0), (20, 0), (9, 0), (9, 0), (9, 0), (9, 0)]));
        assert!((equal.0.threshold - 5.0).abs() < 1e-9, "{equal:?}");
    }
}
