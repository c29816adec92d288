//! The trade-off of one metric, for people.

use super::Budget;
use super::grid::Candidate;
use super::trial::{Tally, Trials};
use std::fmt::Write;

/// The candidates that lie one step from the chosen one: all its thresholds, all its least deviations, all its openings. Those that come to the same as the
/// one above are left out. The chosen one is marked `*`, what holds now `now`.
pub fn table(metric: &str, candidates: &[Candidate], trials: &Trials, chosen: usize, budget: &Budget) -> String {
    let labelled = if trials.labelled > 0 { format!(", {} labelled", trials.labelled) } else { String::new() };
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let days = trials.series_days / (trials.series as f64).max(1.0);
    let mut text = format!("{metric}: {} series, {days:.1} days{labelled}\n", trials.series);
    let rate = format!("{} per series and {}", if trials.labelled > 0 { "false alarms" } else { "alarms" }, budget.unit());
    let _ = writeln!(text, "      {:>9}{:>12}{:>9}{rate:>36}{:>8}{:>8}", "threshold", "open-after", "minimum", "found", "missed");
    let mut places: Vec<usize> = (0..candidates.len()).filter(|place| is_step(&candidates[*place], &candidates[chosen])).collect();
    let order = |place: &usize| (candidates[*place].open_after, candidates[*place].minimum, candidates[*place].threshold);
    places.sort_by(|one, other| order(one).partial_cmp(&order(other)).unwrap_or(std::cmp::Ordering::Equal));
    if !places.contains(&0) {
        places.insert(0, 0);
    }
    let mut before: Option<Tally> = None;
    for place in places {
        let tally = trials.tallies[place];
        if before == Some(tally) && place != chosen && place != 0 {
            continue;
        }
        before = Some(tally);
        let mark = match (place == chosen, place == 0) {
            (true, true) => "* now",
            (true, false) => "*",
            (false, true) => "  now",
            (false, false) => "",
        };
        let _ = writeln!(text, "{}", row(mark, &candidates[place], &tally, trials, budget));
    }
    text
}

fn row(mark: &str, candidate: &Candidate, tally: &Tally, trials: &Trials, budget: &Budget) -> String {
    let Candidate { threshold, minimum, open_after: (k, n) } = candidate;
    let minimum = if *minimum > 0.0 { format!("{}%", percent(*minimum)) } else { "-".into() };
    let rate = budget.rate(tally.false_alarms, trials.series_days);
    let (found, missed) = match trials.labelled {
        0 => ("-".into(), "-".into()),
        labelled => (tally.found.to_string(), (labelled - tally.found).to_string()),
    };
    format!("{mark:<6}{threshold:>9}{:>12}{minimum:>9}{rate:>36.2}{found:>8}{missed:>8}", format!("{k}/{n}"))
}

/// Whether two policies differ in one thing at most.
fn is_step(one: &Candidate, other: &Candidate) -> bool {
    #[allow(clippy::float_cmp)] // both are from the same list
    let differences = [one.threshold != other.threshold, one.minimum != other.minimum, one.open_after != other.open_after];
    differences.into_iter().filter(|differs| *differs).count() <= 1
}

/// A share in percent, without the dust of binary fractions.
pub(super) fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}
