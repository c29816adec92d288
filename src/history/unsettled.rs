//! What of the stored episodes and incidents may still change: what a restart goes on from, and a run once a silence has changed history.

use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError};
use crate::series::SeriesName;
use dataflows::{EpisodeId, IncidentId, MetricId, Past, Time};
use std::collections::{BTreeMap, BTreeSet};

/// What an earlier run left that may still change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unsettled {
    /// Of each series whose episodes go on.
    pub pasts: Vec<Past>,
    /// Stored episodes that may still change.
    pub episodes: BTreeSet<EpisodeId>,
    /// Stored incidents that may still change.
    pub incidents: BTreeSet<IncidentId>,
}

/// What may still change of what is stored for a source, given that buckets before `boundary` are settled and that an episode opens over `window`
/// milliseconds. The past of a series begins with the first evidence of its oldest episode that counts, since an episode remembers nothing from before.
///
/// # Errors
/// A history that cannot be read.
pub fn unsettled(history: &mut dyn History, source: &str, boundary: Time, window: Time) -> Result<Unsettled, HistoryError> {
    let mut unsettled = Unsettled::default();
    let sql = "SELECT incident_id FROM incidents WHERE source = $1 AND NOT settled AND status <> 'withdrawn'";
    for mut columns in history.select(&Statement { sql, values: vec![source.into()] }, &[Shape::Integer])? {
        unsettled.incidents.insert(IncidentId(columns.integer().cast_unsigned()));
    }
    // An episode that is settled by itself goes on counting while its incident lives.
    let sql = "SELECT series.entity_type, series.entity_id, series.metric, episodes.opened
        FROM episodes JOIN series ON series.series_id = episodes.series_id JOIN incidents ON incidents.incident_id = episodes.incident_id
        WHERE incidents.source = $1 AND NOT incidents.settled AND episodes.status <> 'withdrawn'";
    let shapes = [Shape::Text, Shape::Text, Shape::Text, Shape::Time];
    let mut since: BTreeMap<SeriesName, Time> = BTreeMap::new();
    for mut columns in history.select(&Statement { sql, values: vec![source.into()] }, &shapes)? {
        let name = series_name(&mut columns);
        let opened = columns.time().unwrap_or(Time::MIN);
        unsettled.episodes.insert(EpisodeId { opened, entity: name.entity(), metric: MetricId::of(&name.metric) });
        earliest(&mut since, name, opened);
    }
    // Evidence that an episode may yet open from: what comes after the last one that there was.
    let sql = "SELECT series.entity_type, series.entity_id, series.metric, min(bucket_start)
        FROM buckets CROSS JOIN series
        WHERE series.series_id = buckets.series_id AND source = $1 AND bucket_start >= $2 AND bucket_start < $3 AND state IN ('anomalous', 'accompanying', 'missing')
          AND NOT EXISTS (SELECT 1 FROM episodes WHERE episodes.series_id = series.series_id AND status <> 'withdrawn'
                          AND episodes.opened <= bucket_start AND episodes.last >= bucket_start)
        GROUP BY series.entity_type, series.entity_id, series.metric";
    let values = vec![source.into(), Value::time(boundary.saturating_sub(window)), Value::time(boundary)];
    for mut columns in history.select(&Statement { sql, values }, &shapes)? {
        let name = series_name(&mut columns);
        let first = columns.time().unwrap_or(boundary);
        earliest(&mut since, name, first);
    }
    unsettled.pasts = pasts(history, source, &since, boundary)?;
    Ok(unsettled)
}

fn earliest(since: &mut BTreeMap<SeriesName, Time>, name: SeriesName, time: Time) {
    let known = since.entry(name).or_insert(time);
    *known = time.min(*known);
}

/// What the episodes of some series go on from, each from its time on and before `until`.
///
/// # Errors
/// A history that cannot be read.
pub fn pasts(history: &mut dyn History, source: &str, since: &BTreeMap<SeriesName, Time>, until: Time) -> Result<Vec<Past>, HistoryError> {
    let Some(oldest) = since.values().min() else { return Ok(Vec::new()) };
    let sql = "SELECT series.entity_type, series.entity_id, series.metric, episodes.opened
        FROM episodes JOIN series ON series.series_id = episodes.series_id JOIN incidents ON incidents.incident_id = episodes.incident_id
        WHERE incidents.source = $1 AND incidents.settled AND episodes.status <> 'withdrawn' AND episodes.opened >= $2";
    let shapes = [Shape::Text, Shape::Text, Shape::Text, Shape::Time];
    let mut retired: BTreeMap<SeriesName, Vec<EpisodeId>> = BTreeMap::new();
    for mut columns in history.select(&Statement { sql, values: vec![source.into(), Value::time(*oldest)] }, &shapes)? {
        let name = series_name(&mut columns);
        let opened = columns.time().unwrap_or(Time::MIN);
        let id = EpisodeId { opened, entity: name.entity(), metric: MetricId::of(&name.metric) };
        retired.entry(name).or_default().push(id);
    }
    let mut pasts = Vec::new();
    for (name, from) in since {
        let verdicts = history.verdicts_of(name, *from, until)?;
        let retired = retired.remove(name).unwrap_or_default();
        pasts.extend((!verdicts.is_empty()).then_some(Past { verdicts, retired }));
    }
    Ok(pasts)
}

fn series_name(columns: &mut Columns) -> SeriesName {
    let mut text = || columns.text().unwrap_or_default();
    SeriesName { entity_type: text(), entity_id: text(), metric: text() }
}
