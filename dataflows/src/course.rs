//! Where a series has been since its episode began, and whether it comes back from there.

use crate::episode::{LEFT, Peak};

/// How far a series has gone from what was expected of it when its episode began. A level follows what lasts, so that by what is expected later the way back
/// from a leak looks larger than the leak ever did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Course {
    /// What was expected of the first evidence; `None` while all of it is silence.
    from: Option<f64>,
    /// The furthest above that, and the furthest below.
    above: f64,
    below: f64,
}

impl Course {
    /// Takes a mean, of which this was expected.
    pub(crate) fn take(&mut self, mean: f64, expected: f64) {
        let away = mean - *self.from.get_or_insert(expected);
        (self.above, self.below) = (self.above.max(away), self.below.min(away));
    }

    /// Whether a bucket that is off to the other side than the peak has come back by most of the way that the series had gone on the side of the peak.
    pub(crate) fn is_back(&self, peak: &Peak, later: &Peak) -> bool {
        let reached = if peak.residual() > 0.0 { self.above } else { -self.below };
        let away = self.from.map_or(f64::INFINITY, |from| (later.mean.0 - from).abs());
        peak.residual() * later.residual() < 0.0 && away < LEFT * reached
    }
}

#[cfg(test)]
mod tests {
    use crate::episode::Fold;
    use crate::episode::tests::{WIDTH, policy, verdict};
    use crate::number::Number;
    use crate::verdict::Severity;

    /// Failed once: a leak of twelve gigabytes was low for a day, as its level followed it, and critical when the memory was freed.
    #[test]
    fn the_way_back_from_what_the_level_has_followed_is_not_the_worst_of_it() {
        let leak = |n: i64, mean: f64, expected: f64, z_score: f64| {
            let mut verdict = verdict(n, z_score);
            verdict.bucket.aggregate.as_mut().unwrap().mean = Number(mean);
            verdict.score.as_mut().unwrap().expected = Number(expected);
            verdict
        };
        let mut fold = Fold::default();
        for verdict in [leak(0, 32.8, 31.1, 3.1), leak(1, 32.9, 31.2, 3.2), leak(2, 41.4, 39.9, 2.2), leak(3, 29.5, 32.8, -66.0)] {
            fold.step(&verdict, &policy());
        }
        let episode = fold.open().unwrap();
        assert_eq!((episode.anomalous, episode.severity, episode.peak.unwrap().start), (3, Severity::Low, WIDTH));
        // As far below where it came from as it was above is no way back.
        fold.step(&leak(4, 18.0, 32.8, -99.0), &policy());
        assert_eq!((fold.open().unwrap().severity, fold.open().unwrap().peak.unwrap().start), (Severity::Critical, 4 * WIDTH));
    }
}
