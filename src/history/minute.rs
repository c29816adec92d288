//! How the commits of one minute went, for people who look on: outside of what is promised, and stored on its own.

use super::statement::{Statement, Value};
use super::{History, HistoryError};
use dataflows::Time;

/// Minutes older than this are removed.
const KEPT: Time = 400 * 86_400_000;

/// What was committed in one minute of the wall clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minute {
    /// The identity of the source; with `minute_at` the natural key.
    pub source: String,
    /// When the minute began, by the wall clock.
    pub minute_at: Time,
    /// Transactions.
    pub commits: u32,
    /// Records of all partitions, whatever became of them.
    pub records: u64,
    /// Those among them that were refused.
    pub dead_letters: u64,
    /// Verdicts, revised ones included.
    pub verdicts: u64,
    /// Anomalous ones among them.
    pub anomalies: u64,
    /// Verdicts that took the place of an earlier one, and those that were taken back.
    pub revisions: u64,
    /// What all commits took together.
    pub milliseconds: f64,
    /// What the slowest took.
    pub milliseconds_max: f64,
    /// The common watermark at the end; `None` before the first.
    pub watermark: Option<Time>,
    /// The generation of the models in use.
    pub generation: u64,
    /// The models in use, one per series.
    pub models: u64,
    /// Where the training of the oldest and of the newest of them ended.
    pub trained_until: Option<(Time, Time)>,
}

const STORE: &str = "INSERT INTO commits (source, minute_at, commits, records, dead_letters, verdicts, anomalies, revisions,
        milliseconds, milliseconds_max, watermark, generation, models, oldest_model, newest_model)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT (source, minute_at) DO UPDATE SET commits = commits.commits + excluded.commits, records = commits.records + excluded.records,
        dead_letters = commits.dead_letters + excluded.dead_letters, verdicts = commits.verdicts + excluded.verdicts,
        anomalies = commits.anomalies + excluded.anomalies, revisions = commits.revisions + excluded.revisions,
        milliseconds = commits.milliseconds + excluded.milliseconds,
        milliseconds_max = CASE WHEN commits.milliseconds_max > excluded.milliseconds_max THEN commits.milliseconds_max
                                ELSE excluded.milliseconds_max END,
        watermark = excluded.watermark, generation = excluded.generation, models = excluded.models,
        oldest_model = excluded.oldest_model, newest_model = excluded.newest_model";

/// Adds a minute to what is stored of it: a process that ended within the same minute may have stored its part.
///
/// # Errors
/// A history that cannot be written.
pub fn store(history: &mut dyn History, minute: &Minute) -> Result<(), HistoryError> {
    let count = |count: u64| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    let values = vec![
        minute.source.as_str().into(),
        Value::time(minute.minute_at),
        minute.commits.into(),
        count(minute.records),
        count(minute.dead_letters),
        count(minute.verdicts),
        count(minute.anomalies),
        count(minute.revisions),
        Some(minute.milliseconds).into(),
        Some(minute.milliseconds_max).into(),
        Value::some_time(minute.watermark),
        count(minute.generation),
        count(minute.models),
        Value::some_time(minute.trained_until.map(|ends| ends.0)),
        Value::some_time(minute.trained_until.map(|ends| ends.1)),
    ];
    let sql = "DELETE FROM commits WHERE source = $1 AND minute_at < $2";
    let remove = Statement { sql, values: vec![minute.source.as_str().into(), Value::time(minute.minute_at - KEPT)] };
    history.execute(&[Statement { sql: STORE, values }, remove]).map(|_| ())
}
