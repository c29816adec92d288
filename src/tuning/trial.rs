//! One pass over a series, and what each policy makes of it.

use super::grid::Candidate;
use crate::quality::{Stretch, watched};
use crate::series::SeriesName;
use dataflows::episode::Fold;
use dataflows::judge::{Given, judge, judge_by};
use dataflows::{Bucket, Limits, Model, Policy, Silence, State, Time, Verdict};
use std::sync::Arc;

/// A series that was scored: its verdicts in order, and what is labelled of it.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Which.
    pub series: SeriesName,
    /// By the policy that holds now.
    pub verdicts: Vec<Verdict>,
    /// Labelled stretches, in order.
    pub labelled: Vec<Stretch>,
    /// What need not be found, and may be alarmed of.
    pub asides: Vec<Stretch>,
}

/// What a policy makes of some series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Episodes with an anomalous bucket. Those of mere silence are the same for every threshold.
    pub alarms: u64,
    /// Those among them that meet no labelled stretch.
    pub false_alarms: u64,
    /// Labelled stretches that one of them meets.
    pub found: u64,
}

/// What each candidate makes of the series of one metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trials {
    /// How many.
    pub series: u64,
    /// The days from their first scored bucket to their last, added up.
    pub series_days: f64,
    /// Labelled stretches.
    pub labelled: u64,
    /// One tally for each candidate, in the same order.
    pub tallies: Vec<Tally>,
}

/// Scores the buckets of a series in order, by the same function as a run. What a silence covers is calm, whatever it would be.
pub fn score(series: &SeriesName, buckets: &[Bucket], models: &[Arc<Model>], silences: &[Silence], policy: &Policy) -> Vec<Verdict> {
    let (mut track, mut heard) = (None, Some(0));
    let judged = buckets.iter().map(|bucket| {
        let silenced = silences.iter().any(|silence| silence.covers(&series.entity_id, bucket.metric, bucket.start));
        let given = Given { models, track: track.as_deref(), heard, known: None, silenced, is_recalled: false };
        let (verdict, after) = judge(*bucket, given, policy);
        (track, heard) = (after, if bucket.aggregate.is_some() { Some(bucket.start) } else { heard });
        if silenced { Verdict { state: State::Silenced, ..verdict } } else { verdict }
    });
    judged.filter(|verdict| verdict.state != State::NotDue).collect()
}

impl Scored {
    /// What each candidate makes of it; `limits` are what holds for its metric now.
    pub fn trials(&self, candidates: &[Candidate], limits: &Limits, policy: &Policy) -> Trials {
        let scored = self.verdicts.iter().filter(|verdict| verdict.score.is_some()).map(|verdict| verdict.bucket.start);
        let ends = self.verdicts.first().zip(self.verdicts.last()).map(|(first, last)| (first.bucket.start, last.bucket.start));
        let is_seen = |stretch: &&Stretch| ends.is_some_and(|(first, last)| stretch.first <= last && stretch.last >= first);
        let labelled: Vec<Stretch> = self.labelled.iter().filter(is_seen).copied().collect();
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let series_days = watched(scored, policy.bucket_width) as f64 * policy.bucket_width as f64 / 86_400_000.0;
        let tallies = candidates.iter().map(|candidate| self.tally(&labelled, &candidate.policy(limits, policy))).collect();
        Trials { series: 1, series_days, labelled: labelled.len() as u64, tallies }
    }

    fn tally(&self, labelled: &[Stretch], policy: &Policy) -> Tally {
        let (mut fold, mut episodes) = (Fold::default(), Vec::new());
        for verdict in &self.verdicts {
            episodes.extend(fold.step(&judge_by(verdict, policy), policy).map(|closed| *closed));
        }
        episodes.extend(fold.open().copied());
        let alarms: Vec<(Time, Time)> =
            episodes.iter().filter(|episode| episode.peak.is_some()).map(|episode| (episode.id.opened, episode.last)).collect();
        let meets = |stretch: &Stretch, (first, last): (Time, Time)| stretch.is_met(first, last, policy.bucket_width);
        Tally {
            alarms: alarms.len() as u64,
            false_alarms: alarms.iter().filter(|alarm| !labelled.iter().chain(&self.asides).any(|stretch| meets(stretch, **alarm))).count()
                as u64,
            found: labelled.iter().filter(|stretch| alarms.iter().any(|alarm| meets(stretch, *alarm))).count() as u64,
        }
    }
}

impl Trials {
    /// Adds those of another series of the metric.
    pub fn add(&mut self, other: &Self) {
        self.series += other.series;
        self.series_days += other.series_days;
        self.labelled += other.labelled;
        self.tallies.resize(other.tallies.len(), Tally::default());
        for (sum, more) in self.tallies.iter_mut().zip(&other.tallies) {
            sum.alarms += more.alarms;
            sum.false_alarms += more.false_alarms;
            sum.found += more.found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Number, Score};

    const WIDTH: Time = 300_000;

    /// A series whose z-scores are these, in units of a sigma of 1 around 100.
    fn scored(z_scores: &[f64], labelled: &[(Time, Time)]) -> Scored {
        let series = SeriesName::new("server", "a", "cpu");
        let verdict = |(n, z): (i64, &f64)| {
            let (mean, one) = (Number(100.0 + z), Number(1.0));
            let aggregate = Some(Aggregate { count: 1, mean, min: mean, max: mean, stddev: Number(0.0) });
            let metric = dataflows::MetricId::of(&series.metric);
            let bucket = Bucket { entity: series.entity(), metric, start: n * WIDTH, aggregate };
            Verdict { bucket, score: Some(Score { expected: Number(100.0), sigma: one, z_score: Number(*z) }), state: State::Normal }
        };
        let verdicts = (0..).zip(z_scores).map(verdict).collect();
        let labelled = labelled.iter().map(|(first, last)| Stretch { first: first * WIDTH, last: last * WIDTH }).collect();
        Scored { series: series.clone(), verdicts, labelled, asides: Vec::new() }
    }

    #[test]
    fn each_policy_finds_what_it_would_have_found() {
        let mut z_scores = vec![0.0; 60];
        z_scores[10..13].copy_from_slice(&[4.5, 4.5, 4.5]);
        z_scores[30] = 4.5;
        z_scores[50..52].copy_from_slice(&[7.0, 7.0]);
        let series = scored(&z_scores, &[(12, 14), (31, 32), (80, 90)]);
        let policy = Policy { bucket_width: WIDTH, ..Policy::default() };
        let candidate = |threshold, minimum, open_after| Candidate { threshold, minimum, open_after };
        let tried = [candidate(4.0, 0.0, (2, 3)), candidate(4.0, 0.0, (1, 1)), candidate(5.0, 0.0, (1, 1)), candidate(4.0, 0.05, (1, 1))];
        let trials = series.trials(&tried, &policy.limits, &policy);
        assert_eq!((trials.series, trials.labelled), (1, 2), "nothing was measured at the third stretch");
        let tally = |alarms, false_alarms, found| Tally { alarms, false_alarms, found };
        assert_eq!(trials.tallies, [tally(2, 1, 1), tally(3, 1, 2), tally(1, 1, 0), tally(1, 1, 0)]);
        assert!((trials.series_days - 60.0 / 288.0).abs() < 1e-12);
    }

    #[test]
    fn a_series_that_comes_by_the_hour_is_watched_for_as_many_days_as_any() {
        let mut hourly = scored(&[0.0; 48], &[]);
        (0..).zip(&mut hourly.verdicts).for_each(|(hour, verdict)| verdict.bucket.start = hour * 12 * WIDTH);
        let days =
            |series: &Scored| series.trials(&[], &Limits::default(), &Policy { bucket_width: WIDTH, ..Policy::default() }).series_days;
        assert!((days(&hourly) - (47.0 * 12.0 + 1.0) / 288.0).abs() < 1e-12);
        hourly.verdicts.truncate(1);
        assert!((days(&hourly) - 1.0 / 288.0).abs() < 1e-12);
        assert_eq!(days(&scored(&[], &[])), 0.0);
    }
}
