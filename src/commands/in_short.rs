//! One sentence about a verdict, for somebody who has never heard of levels and residuals.

use crate::instant;
use crate::number::number;
use dataflows::reading::{Reading, View};
use dataflows::{Direction, Limits, Missed, State, Time, Verdict};

/// What is further off than so many scales of its series is not called usual, though nothing is said of it any more.
const OFF: f64 = 3.0;

/// Whether a bucket is far from what was expected, whatever was said of it.
pub(super) fn is_off(reading: &Reading) -> bool {
    reading.deviation().abs() > OFF
}

/// Why a bucket past its threshold is normal; `None` of any other.
pub(super) fn untold(verdict: &Verdict, limits: &Limits) -> Option<&'static str> {
    let (score, aggregate) = (verdict.score?, verdict.bucket.aggregate?);
    let (mean, expected, z_score) = (aggregate.mean.0, score.expected.0, score.z_score.0);
    if verdict.state != State::Normal || z_score.abs() <= limits.threshold {
        return None;
    }
    Some(match limits.missed(mean, expected, z_score) {
        Some(Missed::Side) if limits.direction == Direction::Above => "of this metric only what is above is to be told of",
        Some(Missed::Side) => "of this metric only what is below is to be told of",
        Some(Missed::Minimum | Missed::Threshold) => "less than the least that is to be told of",
        None => "the run that judged it had other limits",
    })
}

/// What was seen, what was expected, and why that is remarkable or not; `None` where nothing was expected. `told`: when something was last said of the
/// series before this bucket.
pub(super) fn sentence(verdict: &Verdict, reading: Option<&Reading>, limits: &Limits, told: Option<Time>) -> Option<String> {
    let (score, aggregate) = (verdict.score?, verdict.bucket.aggregate?);
    let (mean, expected) = (aggregate.mean.0, score.expected.0);
    let side = if mean >= expected { "above" } else { "below" };
    let seen =
        format!("it was {}, {} {side} the {} expected for this time", number(mean), number((mean - expected).abs()), number(expected));
    let is_deviant = verdict.state.is_deviant();
    let Some(reading) = reading.filter(|_| is_deviant) else {
        let usual = match (reading, untold(verdict, limits)) {
            _ if is_deviant => "out of the ordinary for this series".into(),
            (_, Some(why)) => format!("far off, though {why}"),
            (Some(reading), None) if is_off(reading) => match told {
                Some(told) => format!(
                    "still off, though no longer news, as it goes on much as it was; it was last told of at {}",
                    instant::format(told)
                ),
                None if reading.loudest().2 > 1.0 => "still off, though no longer news, as there was a loud deviation of late".into(),
                None => "far off, though no further than this series is now and then".into(),
            },
            _ => "nothing unusual for this series".into(),
        };
        return Some(format!("{seen}: {usual}"));
    };
    let (view, _, habituation) = reading.loudest();
    let why = match view {
        View::Spike => format!(
            "it {} by {} {}, {}{} times its usual step",
            if reading.jump >= 0.0 { "rose" } else { "fell" },
            number(reading.jump.abs()),
            match reading.buckets {
                1.0 => "from one bucket to the next".into(),
                buckets => format!("in {buckets} buckets, of which only the last has samples"),
            },
            if reading.overshoots() { "mostly back, which counts as " } else { "" },
            number(reading.spike)
        ),
        View::Shift => format!(
            "it has been {} or more {} where it was for two buckets in a row, {} times what is usual",
            number(reading.shifted.abs()),
            if reading.shifted >= 0.0 { "above" } else { "below" },
            number(reading.shift)
        ),
        View::Drift => {
            format!("it has been off to that side for a while, {} times as far as it usually strays over an hour", number(reading.drift))
        }
        View::Stuck => format!("it has shown the same value {} times in a row, though it usually moves", number(reading.run + 1.0)),
    };
    let again = if habituation > 1.0 { "; it takes more than usual, since there was a loud deviation of late" } else { "" };
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
        let say = |score, state| sentence(&Verdict { bucket, score, state }, None, &Limits::default(), None);
        let anomalous = say(score, State::Anomalous).unwrap();
        assert_eq!(anomalous, "it was 95.25, 30.25 above the 65 expected for this time: out of the ordinary for this series");
        assert!(
            say(score.map(|score: Score| Score { z_score: Number(2.0), ..score }), State::Normal)
                .unwrap()
                .ends_with("nothing unusual for this series")
        );
        assert_eq!(say(None, State::Missing), None);
        let normal = |limits| sentence(&Verdict { bucket, score, state: State::Normal }, None, &limits, None).unwrap();
        let below = Limits { direction: Direction::Below, ..Limits::default() };
        assert!(normal(below).ends_with("far off, though of this metric only what is below is to be told of"));
        assert!(normal(Limits { minimum_absolute: 40.0, ..below }).ends_with("only what is below is to be told of"));
        let least = Limits { minimum_absolute: 40.0, ..Limits::default() };
        assert!(normal(least).ends_with("far off, though less than the least that is to be told of"));
        assert!(normal(Limits::default()).ends_with("far off, though the run that judged it had other limits"));
    }
}
