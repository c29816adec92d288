//! How far a history reaches, and who is in it.

use super::statement::{Shape, Statement, Value};
use super::view::{self, EpisodeRow};
use super::{History, HistoryError};
use crate::instant;
use dataflows::{EntityId, IncidentId, SeriesId, Time};
use std::collections::HashMap;

/// The starts of the first and of the last bucket with samples that begins before `until`; `None` where there is none.
///
/// # Errors
/// A history that cannot be read.
pub fn of_buckets(history: &mut dyn History, until: Time) -> Result<Option<(Time, Time)>, HistoryError> {
    let sql = "SELECT (SELECT bucket_start FROM buckets WHERE count > 0 AND bucket_start < $1 ORDER BY bucket_start LIMIT 1),
        (SELECT bucket_start FROM buckets WHERE count > 0 AND bucket_start < $1 ORDER BY bucket_start DESC LIMIT 1)";
    let rows = history.select(&Statement { sql, values: vec![Value::time(until)] }, &[Shape::Time, Shape::Time])?;
    Ok(rows.into_iter().next().and_then(|mut columns| columns.time().zip(columns.time())))
}

/// How far event time has come, of the source that has come furthest; `None` where nothing was read yet.
///
/// # Errors
/// A history that cannot be read.
pub fn horizon(history: &mut dyn History) -> Result<Option<Time>, HistoryError> {
    let sql = "SELECT max(horizon) FROM sources";
    let rows = history.select(&Statement { sql, values: Vec::new() }, &[Shape::Time])?;
    Ok(rows.into_iter().next().and_then(|mut columns| columns.time()).filter(|horizon| *horizon > Time::MIN))
}

/// How wide the buckets of a history are, in milliseconds; `None` where there are none, or those of several widths.
///
/// # Errors
/// A history that cannot be read.
pub fn width(history: &mut dyn History) -> Result<Option<Time>, HistoryError> {
    let sql = "SELECT min(bucket_width), max(bucket_width) FROM sources";
    let rows = history.select(&Statement { sql, values: Vec::new() }, &[Shape::Integer; 2])?;
    let widths = rows.into_iter().next().and_then(|mut columns| columns.some_integer().zip(columns.some_integer()));
    Ok(widths.and_then(|(least, most)| (least == most).then_some(least)))
}

/// Why buckets of this width are not to be looked for in a history: all that it holds are of another one.
///
/// # Errors
/// A history that cannot be read.
pub fn other_width(history: &mut dyn History, asked: Time) -> Result<Option<String>, HistoryError> {
    let other = width(history)?.filter(|width| *width != asked);
    let said = |width| {
        let (held, asked) = (instant::format_span(width), instant::format_span(asked));
        format!("history holds buckets of {held}, and --bucket says {asked}: give --bucket {held}")
    };
    Ok(other.map(said))
}

/// How many metrics of each entity have samples in a bucket that begins in `[from, until)`; an entity without any is left out.
///
/// # Errors
/// A history that cannot be read.
pub fn metrics(history: &mut dyn History, from: Time, until: Time) -> Result<HashMap<EntityId, u32>, HistoryError> {
    let last = history.last_buckets(from, until)?;
    let mut metrics = HashMap::new();
    for series in history.series()?.iter().filter(|series| last.contains_key(&series.name.id())) {
        *metrics.entry(series.name.entity()).or_default() += 1;
    }
    Ok(metrics)
}

/// Whether an entity had no samples after a moment: it was not missed any more because it was forgotten.
///
/// # Errors
/// A history that cannot be read.
pub fn is_silent_since(history: &mut dyn History, (entity_type, entity_id): (&str, &str), after: Time) -> Result<bool, HistoryError> {
    let sql = "SELECT count(*) FROM buckets JOIN series ON series.series_id = buckets.series_id
        WHERE bucket_start > $1 AND entity_id = $2 AND entity_type = $3 AND count > 0";
    let values = vec![Value::time(after), entity_id.into(), entity_type.into()];
    let rows = history.select(&Statement { sql, values }, &[Shape::Integer])?;
    Ok(rows.into_iter().next().is_some_and(|mut columns| columns.integer() == 0))
}

/// The names of the entities that an incident hit, in order, and no more than so many.
///
/// # Errors
/// A history that cannot be read.
pub fn hit(history: &mut dyn History, incident: IncidentId, most: usize) -> Result<Vec<String>, HistoryError> {
    let sql = "SELECT DISTINCT series.entity_id FROM episodes JOIN series ON series.series_id = episodes.series_id
        WHERE episodes.incident_id = $1 AND episodes.status <> 'withdrawn' ORDER BY series.entity_id LIMIT $2";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = history.select(&Statement { sql, values: vec![incident.0.cast_signed().into(), most.into()] }, &[Shape::Text])?;
    Ok(rows.into_iter().filter_map(|mut columns| columns.text()).collect())
}

/// The latest episode of a series in an incident; `None` where there is none that holds.
///
/// # Errors
/// A history that cannot be read.
pub fn episode(history: &mut dyn History, incident: IncidentId, series: SeriesId) -> Result<Option<EpisodeRow>, HistoryError> {
    let episodes = view::episodes(history, incident)?;
    Ok(episodes.into_iter().rfind(|episode| episode.status != "withdrawn" && episode.name.id() == series))
}
