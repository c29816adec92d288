//! How far a history reaches, and who is in it.

use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError};
use dataflows::{EntityId, Time};
use std::collections::HashMap;

/// The starts of the first and of the last bucket with samples that begins before `until`; `None` where there is none.
///
/// # Errors
/// A history that cannot be read.
pub fn of_buckets(history: &mut dyn History, until: Time) -> Result<Option<(Time, Time)>, HistoryError> {
    let sql = "SELECT min(bucket_start), max(bucket_start) FROM buckets WHERE count > 0 AND bucket_start < $1";
    let rows = history.select(&Statement { sql, values: vec![Value::time(until)] }, &[Shape::Time, Shape::Time])?;
    Ok(rows.into_iter().next().and_then(|mut columns| columns.time().zip(columns.time())))
}

/// How many metrics of each entity have samples in a bucket that begins in `[from, until)`; an entity without any is left out.
///
/// # Errors
/// A history that cannot be read.
pub fn metrics(history: &mut dyn History, from: Time, until: Time) -> Result<HashMap<EntityId, u32>, HistoryError> {
    let sql = "SELECT entity_type, entity_id, count(*) FROM series
        WHERE EXISTS (SELECT 1 FROM buckets WHERE buckets.series_id = series.series_id AND bucket_start >= $1 AND bucket_start < $2 AND count > 0)
        GROUP BY entity_type, entity_id";
    let values = vec![Value::time(from), Value::time(until)];
    let read = |mut columns: Columns| {
        let (entity_type, entity_id) = (columns.text().unwrap_or_default(), columns.text().unwrap_or_default());
        (EntityId::of(&entity_type, &entity_id), u32::try_from(columns.integer()).unwrap_or(u32::MAX))
    };
    let rows = history.select(&Statement { sql, values }, &[Shape::Text, Shape::Text, Shape::Integer])?;
    Ok(rows.into_iter().map(read).collect())
}
