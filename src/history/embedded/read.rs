//! What SQLite gives back.

use super::{Fault, ledger};
use crate::history::statement::{Columns, Shape, Statement, Value};
use crate::history::{Anomaly, Position, Progress, Series, TrainingRow, anomaly, row};
use crate::series::SeriesName;
use dataflows::{EntityId, MetricId, SeriesId, State, Time, Verdict};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::BTreeSet;

/// The columns that [`anomaly_row`] reads. `->` gives the number's own text; `->>` would convert it.
pub(super) const ANOMALY: &str = "series_id, timestamp, severity, details -> '$.actual_value', details -> '$.expected_value',
    details -> '$.z_score', status, withdrawn_reason, revision";

/// A row of `anomalies` from the columns of [`ANOMALY`].
pub(super) fn anomaly_row(columns: &Row<'_>) -> Result<anomaly::Row, Fault> {
    let number = |column: usize| -> Result<f64, Fault> {
        Ok(anomaly::number_of(columns.get_ref(column)?.as_str_or_null().map_err(|error| error.to_string())?)?)
    };
    Ok(anomaly::Row {
        series: row::series_of(columns.get(0)?),
        start: columns.get(1)?,
        severity: columns.get(2)?,
        actual: number(3)?,
        expected: number(4)?,
        z_score: number(5)?,
        standing: anomaly::Standing::parse(&columns.get::<_, String>(6)?, columns.get(7)?)?,
        revision: columns.get(8)?,
    })
}

fn series_at(columns: &Row<'_>) -> Result<Series, Fault> {
    let name = SeriesName { entity_type: columns.get(0)?, entity_id: columns.get(1)?, metric: columns.get(2)? };
    let labels = row::labels_from_json(&columns.get::<_, String>(3)?)?;
    Ok(Series { name, labels, partition: columns.get(4)? })
}

pub(super) fn position(connection: &Connection, source: &str, since: Time) -> Result<Position, Fault> {
    let horizon = connection
        .prepare_cached("SELECT horizon FROM sources WHERE source = ?")?
        .query_row([source], |columns| columns.get(0))
        .optional()?
        .flatten();
    let progress = connection
        .prepare_cached("SELECT partition, next_offset, replay_offset, replay_time FROM progress WHERE source = ? ORDER BY partition")?
        .query_map([source], |columns| {
            let (partition, next_offset) = (columns.get(0)?, columns.get(1)?);
            Ok(Progress { partition, next_offset, replay_offset: columns.get(2)?, replay_time: columns.get(3)? })
        })?
        .collect::<Result<_, _>>()?;
    // Backwards from the end of each series: the first bucket that has samples is the answer.
    let mut select = connection.prepare_cached(
        "SELECT entity_type, entity_id, metric, labels, partition, last FROM (
            SELECT *, (SELECT bucket_start FROM buckets WHERE buckets.series_id = series.series_id AND bucket_start >= ?2 AND count > 0
                       ORDER BY bucket_start DESC LIMIT 1) AS last
            FROM series WHERE source = ?1)
         WHERE last IS NOT NULL ORDER BY entity_type, entity_id, metric",
    )?;
    let mut last_seen = Vec::new();
    let mut rows = select.query((source, since))?;
    while let Some(columns) = rows.next()? {
        last_seen.push((series_at(columns)?, columns.get(5)?));
    }
    let (stays, outcomes) = (ledger::stays(connection, source)?, ledger::outcomes(connection, source)?);
    Ok(Position { progress, horizon, refused: ledger::refused(connection, source)?, last_seen, stays, outcomes })
}

pub(super) fn sources(connection: &Connection) -> Result<Vec<String>, Fault> {
    let mut select = connection.prepare_cached("SELECT source FROM sources ORDER BY source")?;
    Ok(select.query_map([], |columns| columns.get(0))?.collect::<Result<_, _>>()?)
}

pub(super) fn series(connection: &Connection) -> Result<Vec<Series>, Fault> {
    let mut select = connection
        .prepare_cached("SELECT entity_type, entity_id, metric, labels, partition FROM series ORDER BY entity_type, entity_id, metric")?;
    let mut rows = select.query([])?;
    let mut series = Vec::new();
    while let Some(columns) = rows.next()? {
        series.push(series_at(columns)?);
    }
    Ok(series)
}

pub(super) fn training_rows(connection: &Connection, series: &[SeriesId], from: Time, until: Time) -> Result<Vec<TrainingRow>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT bucket_start, mean, state FROM buckets WHERE series_id = ? AND bucket_start >= ? AND bucket_start < ? AND count > 0
         ORDER BY bucket_start",
    )?;
    let mut training_rows = Vec::new();
    for series in series.iter().copied().collect::<BTreeSet<_>>() {
        let mut rows = select.query((row::key(series), from, until))?;
        while let Some(columns) = rows.next()? {
            let anomalous = columns.get_ref(2)?.as_str().ok().and_then(State::parse).is_some_and(State::is_deviant);
            training_rows.push(TrainingRow { series, start: columns.get(0)?, mean: columns.get(1)?, anomalous });
        }
    }
    Ok(training_rows)
}

/// A verdict from the columns `bucket_start` to `state`, the first of which is column `first`.
fn verdict_at(columns: &Row<'_>, first: usize, identity: (EntityId, MetricId)) -> Result<Verdict, Fault> {
    let mut numbers = [None; 7];
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = columns.get(first + 2 + i)?;
    }
    let state = columns.get_ref(first + 9)?.as_str().map_err(|error| error.to_string())?;
    Ok(row::verdict(identity, columns.get(first)?, columns.get(first + 1)?, numbers, state)?)
}

pub(super) fn verdicts_of(connection: &Connection, series: &SeriesName, from: Time, until: Time) -> Result<Vec<Verdict>, Fault> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {} FROM buckets WHERE series_id = ? AND bucket_start >= ? AND bucket_start < ? ORDER BY bucket_start",
        row::COLUMNS
    ))?;
    let mut rows = select.query((row::key(series.id()), from, until))?;
    let identity = (series.entity(), MetricId::of(&series.metric));
    let mut verdicts = Vec::new();
    while let Some(columns) = rows.next()? {
        verdicts.push(verdict_at(columns, 1, identity)?);
    }
    Ok(verdicts)
}

/// Answers a query that both stores understand.
pub(super) fn select(connection: &Connection, query: &Statement, shapes: &[Shape]) -> Result<Vec<Columns>, Fault> {
    let mut select = connection.prepare_cached(&query.sql.replace('$', "?"))?;
    let mut rows = select.query(rusqlite::params_from_iter(&query.values))?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        let column = |(place, shape): (usize, &Shape)| -> Result<Value, Fault> {
            Ok(match shape {
                Shape::Integer => Value::Integer(row.get(place)?),
                Shape::Number => Value::Number(row.get(place)?),
                Shape::Time => Value::Time(row.get(place)?),
                Shape::Text => Value::Text(row.get(place)?),
                Shape::Flag => Value::Flag(row.get(place)?),
            })
        };
        let columns = shapes.iter().enumerate().map(column).collect::<Result<Vec<_>, Fault>>()?;
        answer.push(Columns(columns.into_iter()));
    }
    Ok(answer)
}

/// Series by series: `buckets` has no index over time alone, and each series' part is one range of the tree.
pub(super) fn verdicts(connection: &Connection, from: Time, until: Time, take: &mut dyn FnMut(Verdict)) -> Result<(), Fault> {
    let mut select = connection
        .prepare_cached(&format!("SELECT {} FROM buckets WHERE series_id = ? AND bucket_start >= ? AND bucket_start < ?", row::COLUMNS))?;
    for series in series(connection)? {
        let identity = (series.name.entity(), MetricId::of(&series.name.metric));
        let mut rows = select.query((row::key(series.name.id()), from, until))?;
        while let Some(columns) = rows.next()? {
            take(verdict_at(columns, 1, identity)?);
        }
    }
    Ok(())
}

pub(super) fn anomalies(connection: &Connection, from: Time, until: Time) -> Result<Vec<Anomaly>, Fault> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {ANOMALY}, anomaly_score, entity_type, entity_id, details ->> '$.metric_name' FROM anomalies
         WHERE timestamp >= ? AND timestamp < ? ORDER BY timestamp, entity_type, entity_id, details ->> '$.metric_name'"
    ))?;
    let mut rows = select.query((from, until))?;
    let mut anomalies = Vec::new();
    while let Some(columns) = rows.next()? {
        let name = SeriesName { entity_type: columns.get(10)?, entity_id: columns.get(11)?, metric: columns.get(12)? };
        anomalies.push(anomaly::told(name, &anomaly_row(columns)?, columns.get(9)?)?);
    }
    Ok(anomalies)
}
