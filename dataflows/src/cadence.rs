//! When a series usually has samples: what a silence is measured by.
//!
//! Most series have some in every bucket. A job that runs by the hour, at night or on working days has not, and a bucket in which none were due says
//! nothing of it. What is usual is found in training (see `src/train/cadence.rs`) and is part of the model.

use crate::Time;
use crate::model::Model;
use serde::{Deserialize, Serialize};

/// Phases from the first of each pair on and before the second, in order.
pub type Phases = Vec<(u32, u32)>;

const HOUR: Time = 3_600_000;

/// Samples may come so many buckets early.
const EARLY_MIN: usize = 2;

/// A series is not waited for longer than so much more than one that is always there, in milliseconds: from one weekend over to the next.
pub const PATIENCE_MAX: Time = 8 * 86_400_000;

/// When a series usually has samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cadence {
    /// In every bucket, but for the odd one.
    #[default]
    Steady,
    /// In these phases, on days of either kind.
    Phases {
        /// Monday to Friday.
        weekday: Phases,
        /// Saturday, Sunday and holidays.
        weekend: Phases,
        /// The most buckets from one that is due to the next, in a week without holidays.
        longest: u32,
    },
    /// Now and then: no later than so many buckets after the last one.
    Within(u32),
    /// Nobody knows: it has come too seldom.
    Unknown,
}

impl Cadence {
    /// How much longer than one that is always there such a series may be silent before it is forgotten, in milliseconds: as long as it usually is.
    pub fn patience(&self, bucket_width: Time) -> Time {
        let buckets = match self {
            Self::Steady | Self::Unknown => 0,
            Self::Within(buckets) | Self::Phases { longest: buckets, .. } => Time::from(*buckets),
        };
        buckets.saturating_mul(bucket_width).min(PATIENCE_MAX)
    }

    /// Whether a series is missing in the bucket that starts at `start`, and was heard last in the one that starts at `heard`: samples were due since, and
    /// it is not forgotten, as one that is always there is after `forget` milliseconds.
    pub(crate) fn is_missed(&self, model: &Model, heard: Time, start: Time, forget: Time) -> bool {
        start.saturating_sub(heard) <= forget.saturating_add(self.patience(model.bucket_width)) && self.is_overdue(model, heard, start)
    }

    /// Whether samples were due since the bucket that starts at `heard`, the last one with samples, until the one that starts at `start`, both of a series
    /// with this cadence and this model.
    fn is_overdue(&self, model: &Model, heard: Time, start: Time) -> bool {
        let silent = usize::try_from((start - heard) / model.bucket_width).unwrap_or(0);
        match self {
            Self::Steady => true,
            Self::Unknown => false,
            Self::Within(buckets) => silent >= *buckets as usize,
            Self::Phases { weekday, weekend, longest } => is_overdue(silent, early(*longest as usize, model.bucket_width), |after| {
                let start = heard + Time::try_from(after).unwrap_or(0) * model.bucket_width;
                let phases = if model.calendar.is_rest(start) { weekend } else { weekday };
                let phase = model.phase_at(start);
                phases.iter().any(|(first, end)| (*first as usize..*end as usize).contains(&phase))
            }),
        }
    }

    /// What makes this cadence unusable by a model of such a period, if anything.
    pub(crate) fn defect(&self, period: usize) -> Option<&'static str> {
        let Self::Phases { weekday, weekend, .. } = self else { return None };
        let is_sound = |phases: &Phases| {
            let ends = phases.iter().flat_map(|(first, end)| [*first, *end]);
            phases.iter().all(|(first, end)| first < end && *end as usize <= period) && ends.is_sorted()
        };
        (![weekday, weekend].into_iter().all(is_sound)).then_some("the phases of its cadence are out of order, or beyond its period")
    }
}

/// Samples that come so many buckets before they are due have come, where it is so long from one time to the next at most: an eighth of that, at least two
/// buckets and at most an hour, by which a clock may be put on or back.
pub fn early(longest: usize, bucket_width: Time) -> usize {
    let hour = usize::try_from(HOUR / bucket_width.max(1)).unwrap_or(0);
    (longest / 8).min(hour).max(EARLY_MIN)
}

/// Whether samples were due in the `silent` buckets after the last one with samples; `is_due(n)` tells of the n-th bucket after that.
///
/// While a stretch lasts in which they are due, they are due in each of its buckets; those of a stretch that the series was heard in are no longer once it
/// is over. So whoever falls silent in the middle is missed until then, and whoever is done a little early for no longer. A short stretch is done with
/// samples that come up to `early` buckets before it.
pub fn is_overdue(silent: usize, early: usize, is_due: impl Fn(usize) -> bool) -> bool {
    let over = match (0..=early).find(|after| is_due(*after)) {
        // Nothing of it is to be waited for.
        Some(begin) => {
            let end = (begin..=begin.max(silent) + early).find(|after| !is_due(*after)).unwrap_or(usize::MAX);
            let is_done = begin > 0 && end - begin <= early;
            if silent < end {
                return silent >= begin && !is_done;
            }
            end
        }
        None => 0,
    };
    (over..=silent).any(is_due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, MetricType, Seasonal};
    use std::sync::Arc;

    const WIDTH: Time = 300_000;
    const HOUR: Time = 12 * WIDTH;
    /// 2026-01-19T00:00:00Z, a Monday.
    const MONDAY: Time = 1_768_780_800_000;

    fn model(cadence: Cadence) -> Model {
        Model {
            bucket_width: WIDTH,
            trained_from: 0,
            trained_until: 0,
            level: 0.0,
            sigma: 1.0,
            seasonal: Seasonal::Daily(vec![0.0; 288]),
            calendar: Arc::default(),
            method: Method::StlZscore,
            metric_type: MetricType::Gauge,
            cadence,
        }
    }

    /// The first bucket after `heard` that is missed, and the last one, in buckets after it. What is always there is forgotten after an hour.
    fn missed(cadence: &Cadence, heard: Time) -> Option<(Time, Time)> {
        let model = model(cadence.clone());
        let is_missed = |buckets: &Time| cadence.is_missed(&model, heard, heard + buckets * WIDTH, HOUR);
        let missed: Vec<Time> = (1..3_000).filter(is_missed).collect();
        let (first, last) = (*missed.first()?, *missed.last()?);
        assert_eq!(missed, (first..=last).collect::<Vec<_>>(), "once it is missed, it stays so until it is forgotten");
        Some((first, last))
    }

    fn daily(phases: Phases, longest: u32) -> Cadence {
        Cadence::Phases { weekday: phases.clone(), weekend: phases, longest }
    }

    #[test]
    fn a_series_is_missed_from_when_it_was_due_and_forgotten_later_by_as_much_as_it_usually_is_silent() {
        assert_eq!(missed(&Cadence::Steady, MONDAY), Some((1, 12)));
        assert_eq!(missed(&Cadence::Unknown, MONDAY), None);
        assert_eq!(missed(&Cadence::Within(24), MONDAY), Some((24, 36)));
        let hourly = daily((0..24).map(|hour| (12 * hour + 1, 12 * hour + 2)).collect(), 12);
        assert_eq!(missed(&hourly, MONDAY + WIDTH), Some((12, 24)));
        assert_eq!(missed(&hourly, MONDAY), Some((13, 24)), "it came early, and is due an hour later");
        assert_eq!(missed(&hourly, MONDAY + 3 * WIDTH), Some((10, 24)), "it came late");
        assert_eq!(missed(&daily(vec![(30, 31)], 288), MONDAY + 30 * WIDTH), Some((288, 300)), "once a day");
    }

    #[test]
    fn who_falls_silent_in_its_time_is_missed_until_that_is_over_and_then_by_its_next_time() {
        let nightly = daily(vec![(24, 48)], 265);
        let is_missed = |heard: Time, at: Time| {
            let model = model(nightly.clone());
            nightly.is_missed(&model, MONDAY + heard * WIDTH, MONDAY + at * WIDTH, HOUR)
        };
        let missed = |heard: Time| (heard + 1..heard + 400).filter(|at| is_missed(heard, *at)).collect::<Vec<_>>();
        assert_eq!(missed(30), (31..48).collect::<Vec<_>>(), "after that it is forgotten before it is due again");
        assert_eq!(missed(46), [47].into_iter().chain(312..=323).collect::<Vec<_>>(), "it was done a little early");
        assert_eq!(missed(47), (312..=324).collect::<Vec<_>>(), "it did not come the next night");
        assert_eq!(missed(14), (24..48).collect::<Vec<_>>(), "what comes once, some time before, is not it");
    }

    #[test]
    fn on_days_of_rest_other_hours_are_due() {
        let working = Cadence::Phases { weekday: vec![(96, 216)], weekend: vec![], longest: 62 * 12 + 1 };
        let friday = MONDAY + 4 * 24 * HOUR + 18 * HOUR - WIDTH;
        assert_eq!(missed(&working, friday), Some((62 * 12 + 1, 63 * 12 + 1)), "on Monday at eight");
        let never = Cadence::Phases { weekday: vec![], weekend: vec![], longest: 288 };
        assert_eq!(missed(&never, MONDAY), None);
    }

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let odd = daily(vec![(0, u32::MAX), (7, 3)], u32::MAX);
        assert_eq!((odd.patience(WIDTH), Cadence::Within(u32::MAX).patience(Time::MAX)), (PATIENCE_MAX, PATIENCE_MAX));
        assert!(!odd.is_missed(&model(odd.clone()), 0, MONDAY, HOUR));
    }
}
