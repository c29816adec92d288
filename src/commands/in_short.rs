//! One sentence about a verdict, for somebody who has never heard of levels and residuals.

use crate::number::number;
use dataflows::Verdict;
use dataflows::tracking::{Reading, View};

/// What was seen, what was expected, and why that is remarkable or not; `None` where nothing was expected.
pub(super) fn sentence(verdict: &Verdict, reading: Option<&Reading>) -> Option<String> {
    let (score, aggregate) = (verdict.score?, verdict.bucket.aggregate?);
    let (mean, expected) = (aggregate.mean.0, score.expected.0);
    let side = if mean >= expected { "above" } else { "below" };
    let seen =
        format!("it was {}, {} {side} the {} expected for this time", number(mean), number((mean - expected).abs()), number(expected));
    let Some(reading) = reading.filter(|_| verdict.state.is_deviant()) else {
        let usual = if verdict.state.is_deviant() { "more than this series usually deviates" } else { "nothing unusual for this series" };
        return Some(format!("{seen}: {usual}"));
    };
    let why = match reading.loudest().0 {
        View::Spike => format!(
            "it {} by {} from one bucket to the next, {}{} times its usual step",
            if reading.jump >= 0.0 { "rose" } else { "fell" },
            number(reading.jump.abs()),
            if reading.overshoots() { "mostly back, which counts as " } else { "" },
            number(reading.spike)
        ),
        View::Drift => {
            format!("it has been off to that side for a while, {} times as far as it usually strays over an hour", number(reading.drift))
        }
        View::Stuck => format!("it has shown the same value {} times in a row, though it usually moves", number(reading.run + 1.0)),
    };
    let again = if reading.habituation > 1.0 { "; it takes more than usual, since there was a loud deviation of late" } else { "" };
    Some(format!("{seen}; {why}{again}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, EntityId, MetricId, Number, Score, State};

    #[test]
    fn a_verdict_without_its_arithmetic_still_says_what_was_expected() {
        let number = Number(95.25);
        let aggregate = Some(Aggregate { count: 60, mean: number, min: number, max: number, stddev: Number(0.0) });
        let bucket = Bucket { entity: EntityId(1), metric: MetricId(1), start: 0, aggregate };
        let score = Some(Score { expected: Number(65.0), sigma: Number(5.0), z_score: Number(6.05) });
        let say = |score, state| sentence(&Verdict { bucket, score, state }, None);
        let anomalous = say(score, State::Anomalous).unwrap();
        assert_eq!(anomalous, "it was 95.25, 30.25 above the 65 expected for this time: more than this series usually deviates");
        assert!(say(score, State::Normal).unwrap().ends_with("nothing unusual for this series"));
        assert_eq!(say(None, State::Missing), None);
    }
}
