//! How the series of an incident's worst bucket came to it, and how it went on.

use super::incident::IncidentRow;
use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError, row, span};
use crate::series::SeriesName;
use dataflows::{SeriesId, Time};

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
    /// The bucket of the incident that was furthest, on the side of the worst one, from what was expected of it: its start, its mean and what was expected. `None`
    /// where it is hardly further than the worst one, which mostly is that in which it began: what goes on is less news from bucket to bucket.
    pub furthest: Option<(Time, [f64; 2])>,
    /// Of an incident that is open, what the series has come to: the start of its latest bucket that was scored, mean, and what was expected. `None` where that is
    /// the worst one, or there is none in the last hour of history.
    pub latest: Option<(Time, [f64; 2])>,
}

/// The worst bucket of an incident.
struct Worst {
    key: Value,
    start: Time,
    mean: f64,
    expected: f64,
}

impl Course {
    /// Reads it.
    ///
    /// # Errors
    /// A history that cannot be read.
    pub fn of(history: &mut dyn History, row: &IncidentRow) -> Result<Self, HistoryError> {
        let Some((entity_id, metric, start, [mean, expected, _])) = row.peak.clone() else { return Ok(Self::default()) };
        let series: SeriesId = SeriesName { entity_type: row.entity_type.clone(), entity_id, metric }.id();
        let worst = Worst { key: row::key(series).into(), start, mean, expected };
        Ok(Self {
            unmoved_since: worst.unmoved_since(history)?,
            furthest: worst.furthest(history, (row.opened, row.last))?,
            latest: if row.status == "open" { worst.latest(history)? } else { None },
        })
    }
}

impl Worst {
    fn unmoved_since(&self, history: &mut dyn History) -> Result<Option<Time>, HistoryError> {
        let sql = "SELECT bucket_start, mean FROM buckets WHERE series_id = $1 AND bucket_start >= $2 AND bucket_start <= $3 AND count > 0
            ORDER BY bucket_start DESC";
        let values = vec![self.key.clone(), Value::time(self.start - DAY), Value::time(self.start)];
        let rows = history.select(&Statement { sql, values }, &[Shape::Time, Shape::Number])?;
        let means = rows.into_iter().filter_map(|mut columns| columns.time().zip(columns.number()));
        #[allow(clippy::float_cmp)] // standing still is meant
        let same: Vec<Time> = means.take_while(|(_, mean)| *mean == self.mean).map(|(start, _)| start).collect();
        Ok(same.last().copied().filter(|_| same.len() >= UNMOVED_MIN))
    }

    fn furthest(&self, history: &mut dyn History, (from, to): (Time, Time)) -> Result<Option<(Time, [f64; 2])>, HistoryError> {
        let sql = "SELECT bucket_start, mean, expected FROM buckets
            WHERE series_id = $1 AND bucket_start >= $2 AND bucket_start <= $3 AND expected IS NOT NULL ORDER BY bucket_start";
        let values = vec![self.key.clone(), Value::time(from), Value::time(to)];
        let buckets = history.select(&Statement { sql, values }, &BUCKET)?.into_iter().filter_map(read);
        let side = (self.mean - self.expected).signum();
        let distance = |[mean, expected]: [f64; 2]| side * (mean - expected);
        let furthest = buckets.reduce(|one, other| if distance(other.1) > distance(one.1) { other } else { one });
        Ok(furthest.filter(|(_, bucket)| distance(*bucket) > FURTHER * distance([self.mean, self.expected])))
    }

    fn latest(&self, history: &mut dyn History) -> Result<Option<(Time, [f64; 2])>, HistoryError> {
        let Some((_, last)) = span::of_buckets(history, Time::MAX)? else { return Ok(None) };
        // Buckets lie by their time in one of the stores: of a series that fell silent long ago all would be looked at.
        let sql = "SELECT bucket_start, mean, expected FROM buckets
            WHERE series_id = $1 AND bucket_start > $2 AND expected IS NOT NULL ORDER BY bucket_start DESC LIMIT 1";
        let values = vec![self.key.clone(), Value::time(self.start.max(last.saturating_sub(LATELY)))];
        Ok(history.select(&Statement { sql, values }, &BUCKET)?.pop().and_then(read))
    }
}

const BUCKET: [Shape; 3] = [Shape::Time, Shape::Number, Shape::Number];

fn read(mut columns: Columns) -> Option<(Time, [f64; 2])> {
    Some((columns.time()?, [columns.number()?, columns.number()?]))
}
