//! A log that was read and of which nothing was ever understood: it is not what its reader takes it for.

use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError};
use dataflows::Time;

/// Why each record of a source was refused, and how many; empty where any was an event, and where none was read. A history of an older release counts
/// nothing but what was refused.
///
/// # Errors
/// A history that cannot be read.
pub fn reasons(history: &mut dyn History, source: &str) -> Result<Vec<(String, u64)>, HistoryError> {
    let sql = "SELECT outcome, CAST(sum(records) AS BIGINT) FROM outcomes WHERE source = $1
          AND NOT EXISTS (SELECT 1 FROM outcomes AS understood WHERE understood.source = $1 AND understood.outcome = 'event')
          AND NOT EXISTS (SELECT 1 FROM sources WHERE sources.source = $1 AND horizon > $2)
          AND NOT EXISTS (SELECT 1 FROM census WHERE census.source = $1)
        GROUP BY outcome ORDER BY outcome";
    let values = vec![source.into(), Value::time(Time::MIN)];
    let rows = history.select(&Statement { sql, values }, &[Shape::Text, Shape::Integer])?;
    let read = |mut columns: Columns| (columns.text().unwrap_or_default(), columns.integer().cast_unsigned());
    Ok(rows.into_iter().map(read).collect())
}

/// Whether no record of a source was ever read.
///
/// # Errors
/// A history that cannot be read.
pub fn is_unread(history: &mut dyn History, source: &str) -> Result<bool, HistoryError> {
    let sql =
        "SELECT (SELECT count(*) FROM outcomes WHERE source = $1) + (SELECT count(*) FROM sources WHERE source = $1 AND horizon > $2)";
    let rows = history.select(&Statement { sql, values: vec![source.into(), Value::time(Time::MIN)] }, &[Shape::Integer])?;
    Ok(rows.into_iter().next().is_some_and(|mut columns| columns.integer() == 0))
}

/// Forgets how far such a log was read, so that it is read by kinds that fit once somebody has mended them; whether it is one. What was refused is
/// refused anew, maybe for another reason.
///
/// # Errors
/// A history that cannot be read or written.
pub fn forget(history: &mut dyn History, source: &str) -> Result<bool, HistoryError> {
    if reasons(history, source)?.is_empty() {
        return Ok(false);
    }
    let delete = |sql| Statement { sql, values: vec![source.into()] };
    let statements = [
        "DELETE FROM progress WHERE source = $1",
        "DELETE FROM outcomes WHERE source = $1",
        "DELETE FROM refusals WHERE source = $1",
        "DELETE FROM dead_letters WHERE source = $1",
    ];
    history.execute(&statements.map(delete))?;
    Ok(true)
}
