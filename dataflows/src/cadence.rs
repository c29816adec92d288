//! When a series usually has samples: what a silence is measured by.
//!
//! Most series have some in every bucket. A job that runs by the hour, at night or on working days has not, and a bucket in which none were due says
//! nothing of it. What is usual is found in training (see `src/train/cadence.rs`) and is part of the model.

use crate::Time;
use crate::model::Model;
use serde::{Deserialize, Serialize};

/// Phases from the first of each pair on and before the second, in order.
pub type Phases = Vec<(u32, u32)>;

/// So many periods back it is looked for a phase in which samples were due: there is none, or it comes again within a week.
const PERIODS_MAX: usize = 8;

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
    },
    /// Now and then: no later than so many buckets after the last one.
    Within(u32),
    /// Nobody knows: it has come too seldom.
    Unknown,
}

impl Cadence {
    /// Whether samples were due since the bucket that starts at `heard`, the last one with samples, until the one that starts at `start`, both of a series
    /// with this cadence and this model. Where it was heard longer ago than anybody remembers, `heard` is 0.
    pub(crate) fn is_overdue(&self, model: &Model, heard: Time, start: Time) -> bool {
        match self {
            Self::Steady => true,
            Self::Unknown => false,
            Self::Within(buckets) => start.saturating_sub(heard) / model.bucket_width >= Time::from(*buckets),
            Self::Phases { .. } => {
                let most = PERIODS_MAX * model.period();
                let since = (0..most).map_while(|back| Some(start - model.bucket_width * Time::try_from(back).ok()?));
                since.take_while(|at| *at > heard).any(|at| self.is_due(model, at))
            }
        }
    }

    /// Whether samples are due in the very bucket that starts at `start`.
    fn is_due(&self, model: &Model, start: Time) -> bool {
        let Self::Phases { weekday, weekend } = self else { return *self == Self::Steady };
        let phases = if model.calendar.is_rest(start) { weekend } else { weekday };
        let phase = model.phase_at(start);
        phases.iter().any(|(first, end)| (*first as usize..*end as usize).contains(&phase))
    }
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

    /// The first bucket after `heard` that is missed, in buckets after it.
    fn missed(cadence: &Cadence, heard: Time) -> Option<Time> {
        let model = model(cadence.clone());
        let missed = (1..3_000).find(|buckets| cadence.is_overdue(&model, heard, heard + buckets * WIDTH));
        // Once it is overdue, it stays so.
        assert!(missed.is_none_or(|first| (first..first + 500).all(|buckets| cadence.is_overdue(&model, heard, heard + buckets * WIDTH))));
        missed
    }

    #[test]
    fn a_series_is_missed_when_it_was_due_and_not_before() {
        assert_eq!(missed(&Cadence::Steady, MONDAY), Some(1));
        assert_eq!(missed(&Cadence::Unknown, MONDAY), None);
        assert_eq!(missed(&Cadence::Within(24), MONDAY), Some(24));
        let hours: Phases = (0..24).map(|hour| (12 * hour + 1, 12 * hour + 2)).collect();
        let hourly = Cadence::Phases { weekday: hours.clone(), weekend: hours };
        assert_eq!(missed(&hourly, MONDAY + WIDTH), Some(12));
        let nightly = Cadence::Phases { weekday: vec![(24, 48)], weekend: vec![(24, 48)] };
        assert_eq!(missed(&nightly, MONDAY + 2 * HOUR + WIDTH), Some(1), "in the middle of its time");
        assert_eq!(missed(&nightly, MONDAY + 4 * HOUR - WIDTH), Some(22 * 12 + 1), "at its end");
    }

    #[test]
    fn on_days_of_rest_other_hours_are_due() {
        let working = Cadence::Phases { weekday: vec![(96, 216)], weekend: vec![] };
        let friday = MONDAY + 4 * 24 * HOUR + 18 * HOUR - WIDTH;
        assert_eq!(missed(&working, friday), Some((6 + 48 + 8) * 12 + 1), "on Monday at eight");
        let model = model(working.clone());
        assert!(working.is_overdue(&model, 0, friday + WIDTH), "it was due since it was heard of, whenever that was");
        let never = Cadence::Phases { weekday: vec![], weekend: vec![] };
        assert!(!never.is_overdue(&model, 0, MONDAY));
    }
}
