//! How the promises of models were kept, as rows by day and series, the same in both stores.

use super::statement::{Columns, Shape, Statement, Value};
use super::{Batch, History, HistoryError, row};
use crate::series::SeriesName;
use dataflows::{SeriesId, Time, Watch};
use std::collections::HashMap;

const DAY: Time = 86_400_000;

/// Days older than this are removed.
const KEPT: Time = 400 * DAY;

/// A series whose last count is so much older than the newest of all is silent, and no model is to blame.
const SILENT: Time = 2 * DAY;

/// The columns of the table, in the order in which they are written.
pub(super) const COLUMNS: &str = "day, series_id, scored, alarms, beyond, squares, products, recent_square, promised_square, promised_high,
    promised_beyond, promised_alarms, promised_autocorrelation, drifting_since, broken_at";

/// What becomes of the count that was there.
pub(super) const ON_CONFLICT: &str = "(day, series_id) DO UPDATE SET scored = excluded.scored, alarms = excluded.alarms, beyond = excluded.beyond,
    squares = excluded.squares, products = excluded.products, recent_square = excluded.recent_square, promised_square = excluded.promised_square,
    promised_high = excluded.promised_high, promised_beyond = excluded.promised_beyond, promised_alarms = excluded.promised_alarms,
    promised_autocorrelation = excluded.promised_autocorrelation, drifting_since = excluded.drifting_since, broken_at = excluded.broken_at";

const UPSERT: &str = "INSERT INTO calibration (day, series_id, scored, alarms, beyond, squares, products, recent_square, promised_square,
        promised_high, promised_beyond, promised_alarms, promised_autocorrelation, drifting_since, broken_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT (day, series_id) DO UPDATE SET scored = excluded.scored, alarms = excluded.alarms, beyond = excluded.beyond,
        squares = excluded.squares, products = excluded.products, recent_square = excluded.recent_square,
        promised_square = excluded.promised_square, promised_high = excluded.promised_high, promised_beyond = excluded.promised_beyond,
        promised_alarms = excluded.promised_alarms, promised_autocorrelation = excluded.promised_autocorrelation,
        drifting_since = excluded.drifting_since, broken_at = excluded.broken_at";

/// A series whose model's promise is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drifting {
    /// Which.
    pub name: SeriesName,
    /// The start of the bucket at which that was found.
    pub since: Time,
}

/// The columns of a row, in the order of [`COLUMNS`].
pub(super) fn values(series: SeriesId, watch: &Watch) -> [Value; 15] {
    let (tally, promise) = (&watch.tally, watch.promise.as_deref());
    let promised = |number: Option<f64>| Value::from(number);
    [
        Value::time(tally.day),
        row::key(series).into(),
        tally.scored.into(),
        tally.alarms.into(),
        tally.beyond.into(),
        tally.squares.into(),
        tally.products.into(),
        Some(watch.square).into(),
        promised(promise.map(|promise| promise.mean_square)),
        promised(promise.map(|promise| promise.high)),
        promised(promise.map(|promise| promise.beyond)),
        promised(promise.map(|promise| promise.alarms)),
        promised(promise.map(|promise| promise.autocorrelation)),
        Value::some_time(watch.drifting_since),
        Value::some_time(watch.broken_at),
    ]
}

/// What a batch writes, statement by statement.
pub(super) fn statements(batch: &Batch) -> Vec<Statement> {
    let row = |((_, series), watch): (&(Time, SeriesId), &Watch)| Statement { sql: UPSERT, values: values(*series, watch).to_vec() };
    batch.calibration.iter().map(row).chain(sweep(batch)).collect()
}

/// What makes room for the days of a batch.
pub(super) fn sweep(batch: &Batch) -> Option<Statement> {
    let newest = batch.calibration.last_key_value()?.0.0;
    Some(Statement { sql: "DELETE FROM calibration WHERE day < $1", values: vec![Value::time(newest.saturating_sub(KEPT))] })
}

/// The series that drift, by name, as far as they are still heard of.
///
/// # Errors
/// A history that cannot be read.
pub fn drifting(history: &mut dyn History) -> Result<Vec<Drifting>, HistoryError> {
    let newest = history.select(&Statement { sql: "SELECT max(day) FROM calibration", values: Vec::new() }, &[Shape::Time])?;
    let Some(newest) = newest.into_iter().next().and_then(|mut columns| columns.time()) else { return Ok(Vec::new()) };
    let sql = "SELECT series.entity_type, series.entity_id, series.metric, latest.drifting_since
        FROM calibration AS latest JOIN series ON series.series_id = latest.series_id
        WHERE latest.day > $1 AND latest.drifting_since IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM calibration AS later WHERE later.day > latest.day AND later.series_id = latest.series_id)";
    let query = Statement { sql, values: vec![Value::time(newest - SILENT)] };
    let read = |mut columns: Columns| {
        let mut text = || columns.text().unwrap_or_default();
        let name = SeriesName { entity_type: text(), entity_id: text(), metric: text() };
        Drifting { name, since: columns.time().unwrap_or(Time::MIN) }
    };
    let rows = history.select(&query, &[Shape::Text, Shape::Text, Shape::Text, Shape::Time])?;
    let mut drifting: Vec<Drifting> = rows.into_iter().map(read).collect();
    drifting.sort_unstable();
    Ok(drifting)
}

/// When the promise of each series was broken last, as far as that was in `[from, until)`: what came before it is another series, as it were.
///
/// # Errors
/// A history that cannot be read.
pub fn breaks(history: &mut dyn History, from: Time, until: Time) -> Result<HashMap<SeriesId, Time>, HistoryError> {
    let sql = "SELECT series_id, max(broken_at) FROM calibration WHERE day > $1 AND broken_at >= $2 AND broken_at < $3
        GROUP BY series_id";
    let query = Statement { sql, values: vec![Value::time(from - DAY), Value::time(from), Value::time(until)] };
    let rows = history.select(&query, &[Shape::Integer, Shape::Time])?;
    let read = |mut columns: Columns| (row::series_of(columns.integer()), columns.time().unwrap_or(Time::MIN));
    Ok(rows.into_iter().map(read).collect())
}
