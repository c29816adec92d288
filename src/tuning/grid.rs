//! The policies that are tried for one metric.

use dataflows::{EpisodePolicy, Limits, Policy};
use std::collections::BTreeMap;

/// Thresholds, closer where they matter most. Below 2 nearly every series has an episode a day, and past 12 only breakdowns are left.
const THRESHOLDS: [f64; 10] = [2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0];
/// K of the last N buckets open an episode.
const OPENINGS: [(u32, u32); 3] = [(1, 1), (2, 3), (3, 5)];
/// Deviations below these shares of what is expected are no anomaly. Shares mean the same for every metric; units would not.
const MINIMA: [f64; 4] = [0.0, 0.05, 0.1, 0.2];

/// A policy for one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// `|z_score|` must be above it.
    pub threshold: f64,
    /// The least deviation, as a share of what is expected.
    pub minimum: f64,
    /// K of the last N buckets.
    pub open_after: (u32, u32),
}

impl Candidate {
    /// What holds for a metric now.
    pub fn now(limits: &Limits, policy: &Policy) -> Self {
        let EpisodePolicy { evidence_min, window, .. } = policy.episode;
        Self { threshold: limits.threshold, minimum: limits.minimum_relative, open_after: (evidence_min, window) }
    }

    /// A policy in which it holds for all metrics, other than that `limits` and `policy`.
    pub(super) fn policy(&self, limits: &Limits, policy: &Policy) -> Policy {
        let (evidence_min, window) = self.open_after;
        Policy {
            limits: Limits { threshold: self.threshold, minimum_relative: self.minimum, ..*limits },
            by_metric: BTreeMap::new(),
            episode: EpisodePolicy { evidence_min, window, ..policy.episode },
            ..policy.clone()
        }
    }
}

/// What is tried for a metric: the policy that holds now is the first.
pub fn candidates(limits: &Limits, policy: &Policy) -> Vec<Candidate> {
    let now = Candidate::now(limits, policy);
    let mut candidates = vec![now];
    let thresholds = THRESHOLDS.into_iter().filter(|threshold| !is_near(*threshold, now.threshold)).chain([now.threshold]);
    let minima = MINIMA.into_iter().filter(|minimum| !is_near(*minimum, now.minimum)).chain([now.minimum]);
    let openings = OPENINGS.into_iter().filter(|open_after| *open_after != now.open_after).chain([now.open_after]);
    for open_after in openings {
        for minimum in minima.clone() {
            candidates.extend(thresholds.clone().map(|threshold| Candidate { threshold, minimum, open_after }));
        }
    }
    let last = candidates.pop();
    debug_assert_eq!(last, Some(now), "what holds now comes last, and is the first already");
    candidates
}

/// Whether two numbers that a person wrote are one.
fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::Direction;

    #[test]
    fn what_holds_now_is_tried_first_and_nothing_twice() {
        let own = Limits { threshold: 3.2, minimum_absolute: 1.0, minimum_relative: 0.05, direction: Direction::Below };
        let grid = candidates(&own, &Policy::default());
        assert_eq!(grid[0], Candidate { threshold: 3.2, minimum: 0.05, open_after: (2, 3) });
        assert_eq!(grid.len(), 11 * 4 * 3);
        assert!(grid.iter().enumerate().all(|(n, one)| !grid[..n].contains(one)));
        let policy = grid[0].policy(&own, &Policy::default());
        assert_eq!((policy.limits, policy.by_metric.len()), (own, 0), "the least deviation in the metric's unit stays, and the direction");
    }
}
