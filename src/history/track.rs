//! The states that the method of a series goes on from after a restart, as rows, the same in both stores.

use super::statement::{Columns, Shape, Statement, Value};
use super::{Batch, History, HistoryError, row};
use crate::series::SeriesName;
use dataflows::{SeriesId, State, Time, Track, Unscored, Verdict};
use std::collections::HashMap;

/// The state of a series, and the settled verdicts that it does not hold yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    /// Which.
    pub name: SeriesName,
    /// Its state after the buckets up to [`Track::last_seen`]; `None` where none was stored yet.
    pub track: Option<Track>,
    /// The verdicts on the settled buckets after it, in order.
    pub verdicts: Vec<Verdict>,
}

/// The columns of the table, in the order in which they are written.
pub(super) const COLUMNS: &str = "series_id, last_start, track";

/// What becomes of the state that was there.
pub(super) const ON_CONFLICT: &str = "(series_id) DO UPDATE SET last_start = excluded.last_start, track = excluded.track";

const UPSERT: &str = "INSERT INTO tracks (series_id, last_start, track) VALUES ($1, $2, $3)
    ON CONFLICT (series_id) DO UPDATE SET last_start = excluded.last_start, track = excluded.track";

/// A state as text. Its numbers are finite, so that it can be written and comes back bit for bit.
pub(super) fn document(track: &Track) -> String {
    serde_json::to_string(track).unwrap_or_default()
}

/// What a batch writes, statement by statement.
pub(super) fn statements(batch: &Batch) -> Vec<Statement> {
    let row = |(series, track): (&SeriesId, &Track)| {
        let values = vec![row::key(*series).into(), Value::time(track.last_start), document(track).as_str().into()];
        Statement { sql: UPSERT, values }
    };
    batch.tracks.iter().map(row).collect()
}

/// The states of the series of a source, given that buckets before `boundary` are settled and that those before `from` are part of every state.
///
/// # Errors
/// A history that cannot be read.
pub fn tracked(history: &mut dyn History, source: &str, from: Time, boundary: Time) -> Result<Vec<Tracked>, HistoryError> {
    let sql = "SELECT series.entity_type, series.entity_id, series.metric, tracks.track FROM series LEFT JOIN tracks ON tracks.series_id = series.series_id
        WHERE series.source = $1 ORDER BY series.entity_type, series.entity_id, series.metric";
    let rows = history.select(&Statement { sql, values: vec![source.into()] }, &[Shape::Text; 4])?;
    let read = |mut columns: Columns| {
        let mut text = || columns.text().unwrap_or_default();
        let name = SeriesName { entity_type: text(), entity_id: text(), metric: text() };
        Tracked { name, track: serde_json::from_str(&text()).ok(), verdicts: Vec::new() }
    };
    let mut tracked: Vec<Tracked> = rows.into_iter().map(read).collect();
    let places: HashMap<SeriesId, usize> = tracked.iter().enumerate().map(|(place, one)| (one.name.id(), place)).collect();
    history.verdicts(from, boundary, &mut |verdict| {
        let Some(place) = places.get(&verdict.bucket.series()) else { return };
        let one = &mut tracked[*place];
        let is_part = verdict.score.is_some() || verdict.state == State::Unscored(Unscored::Reset);
        if is_part && one.track.as_ref().is_none_or(|track| verdict.bucket.start > track.last_start) {
            one.verdicts.push(verdict);
        }
    })?;
    tracked.retain(|one| one.track.is_some() || !one.verdicts.is_empty());
    tracked.iter_mut().for_each(|one| one.verdicts.sort_unstable_by_key(|verdict| verdict.bucket.start));
    Ok(tracked)
}
