//! How far a series has strayed since its episode began, and whether it comes back from there.

use crate::episode::Peak;

/// The furthest that a series has been above and below what was expected of it, whatever was said of it then. A method says less of what goes on as it began,
/// so that the peak of an episode need not be where the series was furthest off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reach {
    above: f64,
    below: f64,
}

impl Reach {
    /// Takes how far a bucket was from what was expected of it.
    pub(crate) fn take(&mut self, residual: f64) {
        (self.above, self.below) = (self.above.max(residual), self.below.min(residual));
    }

    /// Whether a bucket has come back from the side of the peak, and gone past what is expected, but not as far as it had been.
    pub(crate) fn is_undone_by(&self, later: &Peak, peak: &Peak) -> bool {
        let reached = if peak.residual() > 0.0 { self.above } else { -self.below };
        peak.residual() * later.residual() < 0.0 && later.residual().abs() < reached
    }
}

#[cfg(test)]
mod tests {
    use crate::episode::Fold;
    use crate::episode::tests::{WIDTH, policy, verdict};
    use crate::number::Number;
    use crate::verdict::{Severity, Verdict};

    fn at(n: i64, mean: f64, expected: f64, z_score: f64) -> Verdict {
        let mut verdict = verdict(n, z_score);
        verdict.bucket.aggregate.as_mut().unwrap().mean = Number(mean);
        verdict.score.as_mut().unwrap().expected = Number(expected);
        verdict
    }

    fn folded(verdicts: &[Verdict]) -> Fold {
        let mut fold = Fold::default();
        verdicts.iter().for_each(|verdict| drop(fold.step(verdict, &policy())));
        fold
    }

    /// Failed once: a leak of twelve gigabytes was low for a day, as its level followed it, and critical when the memory was freed.
    #[test]
    fn the_way_back_from_where_nothing_was_said_any_more_is_not_the_worst_of_it() {
        let mut fold = folded(&[at(0, 32.8, 31.1, 3.1), at(1, 32.9, 31.2, 3.2), at(2, 41.3, 32.7, 2.2), at(3, 29.5, 32.8, -66.0)]);
        let episode = fold.open().unwrap();
        assert_eq!((episode.anomalous, episode.severity, episode.peak.unwrap().start), (3, Severity::Low, WIDTH));
        // Further below than it was above is no way back.
        fold.step(&at(4, 18.0, 32.8, -99.0), &policy());
        assert_eq!((fold.open().unwrap().severity, fold.open().unwrap().peak.unwrap().start), (Severity::Critical, 4 * WIDTH));
    }

    /// Failed once: after a day of growth a standstill of everything was told as its end.
    #[test]
    fn an_outage_after_growth_is_worse_than_the_growth() {
        let fold = folded(&[at(0, 126.0, 113.0, 4.9), at(1, 127.0, 114.0, 4.8), at(2, 310.0, 221.0, 2.1), at(3, 0.0, 221.0, -63.0)]);
        let episode = fold.open().unwrap();
        assert_eq!((episode.severity, episode.peak.unwrap().start), (Severity::Critical, 3 * WIDTH));
    }
}
