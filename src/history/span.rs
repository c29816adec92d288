//! How far a history reaches.

use super::statement::{Shape, Statement, Value};
use super::{History, HistoryError};
use dataflows::Time;

/// The starts of the first and of the last bucket with samples that begins before `until`; `None` where there is none.
///
/// # Errors
/// A history that cannot be read.
pub fn of_buckets(history: &mut dyn History, until: Time) -> Result<Option<(Time, Time)>, HistoryError> {
    let sql = "SELECT min(bucket_start), max(bucket_start) FROM buckets WHERE count > 0 AND bucket_start < $1";
    let rows = history.select(&Statement { sql, values: vec![Value::time(until)] }, &[Shape::Time, Shape::Time])?;
    Ok(rows.into_iter().next().and_then(|mut columns| columns.time().zip(columns.time())))
}
