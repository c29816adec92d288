//! How the series of an incident's worst bucket came to it, and how it went on.

use super::incident::IncidentRow;
use super::{History, HistoryError, span};
use crate::series::SeriesName;
use dataflows::{Time, Verdict};

/// What was so long ago is not what something has come to: an hour, in milliseconds.
const LATELY: Time = 3_600_000;

/// What began to stand still a day before it was flagged need not be told more exactly.
const DAY: Time = 86_400_000;

/// So many buckets with the same mean are no chance.
const UNMOVED_MIN: usize = 4;

/// So many times as far from what was expected as the worst bucket, another one is worth a word.
const FURTHER: f64 = 1.1;

/// The buckets around the worst one of an incident, in its series; all `None` where all evidence is silence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// The start of the first of some buckets in a row, the worst one the last of them, whose mean was the same to the last bit: a sensor that is stuck. `None`
    /// where it moved.
    pub unmoved_since: Option<Time>,
    /// The bucket after the worst one that was furthest, on the same side, from what was expected of it: its start, its mean and what was expected. `None`
    /// where it is hardly further than the worst one, which mostly is that in which it began: what goes on is less news from bucket to bucket.
    pub furthest: Option<(Time, [f64; 2])>,
    /// Of an incident that is open, what the series has come to: the start of its latest bucket that was scored, mean, and what was expected. `None` where that is
    /// the worst one, or there is none in the last hour of history.
    pub latest: Option<(Time, [f64; 2])>,
}

/// The worst bucket of an incident.
struct Worst {
    series: SeriesName,
    start: Time,
    mean: f64,
    expected: f64,
}

impl Course {
    /// What there was up to its last evidence.
    ///
    /// # Errors
    /// A history that cannot be read.
    pub fn of(history: &mut dyn History, row: &IncidentRow) -> Result<Self, HistoryError> {
        let Some(worst) = Worst::of(row) else { return Ok(Self::default()) };
        Ok(Self { unmoved_since: worst.unmoved_since(history)?, furthest: worst.furthest(history, row.last)?, latest: None })
    }

    /// The same, and what an incident that is open has come to since.
    ///
    /// # Errors
    /// A history that cannot be read.
    pub fn so_far(history: &mut dyn History, row: &IncidentRow) -> Result<Self, HistoryError> {
        let latest = match Worst::of(row).filter(|_| row.status == "open") {
            Some(worst) => worst.latest(history)?,
            None => None,
        };
        Ok(Self { latest, ..Self::of(history, row)? })
    }
}

impl Worst {
    fn of(row: &IncidentRow) -> Option<Self> {
        let (entity_id, metric, start, [mean, expected, _]) = row.peak.clone()?;
        Some(Self { series: SeriesName { entity_type: row.entity_type.clone(), entity_id, metric }, start, mean, expected })
    }

    fn unmoved_since(&self, history: &mut dyn History) -> Result<Option<Time>, HistoryError> {
        let day = history.verdicts_of(&self.series, self.start - DAY, self.start + 1)?;
        let means = day.iter().rev().filter_map(|verdict| Some((verdict.bucket.start, verdict.bucket.aggregate?.mean.0)));
        #[allow(clippy::float_cmp)] // standing still is meant
        let same: Vec<Time> = means.take_while(|(_, mean)| *mean == self.mean).map(|(start, _)| start).collect();
        Ok(same.last().copied().filter(|_| same.len() >= UNMOVED_MIN))
    }

    fn furthest(&self, history: &mut dyn History, last: Time) -> Result<Option<(Time, [f64; 2])>, HistoryError> {
        let side = (self.mean - self.expected).signum();
        let distance = |[mean, expected]: [f64; 2]| side * (mean - expected);
        let buckets = history.verdicts_of(&self.series, self.start, last + 1)?;
        let furthest = buckets.iter().filter_map(bucket).reduce(|one, other| if distance(other.1) > distance(one.1) { other } else { one });
        Ok(furthest.filter(|(_, bucket)| distance(*bucket) > FURTHER * distance([self.mean, self.expected])))
    }

    fn latest(&self, history: &mut dyn History) -> Result<Option<(Time, [f64; 2])>, HistoryError> {
        let Some((_, last)) = span::of_buckets(history, Time::MAX)? else { return Ok(None) };
        let lately = history.verdicts_of(&self.series, (self.start + 1).max(last.saturating_sub(LATELY)), last + 1)?;
        Ok(lately.iter().rev().find_map(bucket))
    }
}

/// The start of a bucket that has samples and was scored, its mean, and what was expected.
fn bucket(verdict: &Verdict) -> Option<(Time, [f64; 2])> {
    Some((verdict.bucket.start, [verdict.bucket.aggregate?.mean.0, verdict.score?.expected.0]))
}
