//! What SQLite gives back.

use super::{Fault, ledger};
use crate::history::statement::{Columns, Shape, Statement, Value};
use crate::history::{Anomaly, Position, Progress, Series, TrainingRow, anomaly, row};
use crate::series::SeriesName;
use dataflows::identity::HashedMap;
use dataflows::{EntityId, MetricId, SeriesId, State, Time, Verdict};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::{HashMap, HashSet};

/// Buckets lie in the order of time, those of one moment by their series. These are the moments that there are in `[?1, ?2)` and one more, each found from the
/// one before it: what is looked for of a series is found by two looks for a bucket.
const STARTS: &str = "WITH RECURSIVE starts (start) AS (SELECT min(bucket_start) FROM buckets WHERE bucket_start >= ?1
    UNION ALL SELECT (SELECT min(bucket_start) FROM buckets WHERE bucket_start > start) FROM starts WHERE start < ?2)";

/// Rows of other series between those that are looked for, for each of them, that are passed over rather than looked for one by one.
const OTHERS_MAX: usize = 4;

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
        .prepare_cached(
            "SELECT partition, next_offset, replay_offset, replay_time, beginning FROM progress WHERE source = ? ORDER BY partition",
        )?
        .query_map([source], |columns| {
            let (partition, next_offset) = (columns.get(0)?, columns.get(1)?);
            Ok(Progress {
                partition,
                next_offset,
                replay_offset: columns.get(2)?,
                replay_time: columns.get(3)?,
                beginning: columns.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut select = connection.prepare_cached(
        "SELECT entity_type, entity_id, metric, labels, partition FROM series WHERE source = ? ORDER BY entity_type, entity_id, metric",
    )?;
    let mut rows = select.query([source])?;
    let mut series = Vec::new();
    while let Some(columns) = rows.next()? {
        series.push(series_at(columns)?);
    }
    let last = last_buckets(connection, series.iter().map(|series| series.name.id()), since, Time::MAX)?;
    let last_seen = series.into_iter().filter_map(|series| last.get(&series.name.id()).copied().map(|last| (series, last))).collect();
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

/// So many rows of a moment are read in the time in which one is looked for.
const READ_PER_LOOK: usize = 8;

/// Backwards from the end, until the last of the series has been seen. Those that are left after the first moments, which may be gone for good, are looked
/// for one by one, since to read all the others again would take as long as to read days of history.
pub(super) fn last_buckets(
    connection: &Connection,
    series: impl Iterator<Item = SeriesId>,
    from: Time,
    until: Time,
) -> Result<HashMap<SeriesId, Time>, Fault> {
    let mut unseen: HashSet<i64> = series.map(row::key).collect();
    let mut last = HashMap::new();
    let mut start = connection.prepare_cached("SELECT max(bucket_start) FROM buckets WHERE bucket_start >= ? AND bucket_start < ?")?;
    let mut select = connection.prepare_cached("SELECT series_id FROM buckets WHERE bucket_start = ? AND count > 0")?;
    let mut look = connection.prepare_cached("SELECT 1 FROM buckets WHERE bucket_start = ? AND series_id = ? AND count > 0")?;
    let (all, mut until) = (unseen.len(), until);
    while !unseen.is_empty()
        && let Some(found) = start.query_row((from, until), |columns| columns.get::<_, Option<Time>>(0))?
    {
        let mut seen = Vec::new();
        if READ_PER_LOOK * unseen.len() < all {
            for key in &unseen {
                seen.extend(look.exists((found, key))?.then_some(*key));
            }
        } else {
            let mut rows = select.query([found])?;
            while let Some(columns) = rows.next()? {
                seen.push(columns.get(0)?);
            }
        }
        for key in seen {
            if unseen.remove(&key) {
                last.insert(row::series_of(key), found);
            }
        }
        until = found;
    }
    Ok(last)
}

/// Some series that are most of those between the first and the last of their keys are read as one range of each moment, others one by one.
pub(super) fn training_rows(connection: &Connection, series: &[SeriesId], from: Time, until: Time) -> Result<Vec<TrainingRow>, Fault> {
    let mut keys: Vec<i64> = series.iter().copied().map(row::key).collect();
    keys.sort_unstable();
    keys.dedup();
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(Vec::new()) };
    let between: u32 = connection
        .prepare_cached("SELECT count(*) FROM series WHERE series_id BETWEEN ? AND ?")?
        .query_row([first, last], |columns| columns.get(0))?;
    let ranges =
        if between as usize <= keys.len() * OTHERS_MAX { vec![(first, last)] } else { keys.iter().map(|key| (key, key)).collect() };
    let mut select = connection.prepare_cached(&format!(
        "{STARTS} SELECT series_id, bucket_start, mean, state FROM starts CROSS JOIN buckets
            ON bucket_start = start AND series_id BETWEEN ?3 AND ?4 WHERE start < ?2 AND count > 0"
    ))?;
    let (mut training_rows, mut next) = (vec![Vec::new(); keys.len()], 0);
    for (first, last) in ranges {
        let mut rows = select.query((from, until, first, last))?;
        while let Some(columns) = rows.next()? {
            let key = columns.get(0)?;
            // Those of one moment come in the order of their keys.
            let place = if keys.get(next) == Some(&key) { Ok(next) } else { keys.binary_search(&key) };
            let Ok(place) = place else { continue };
            next = place + 1;
            let anomalous = columns.get_ref(3)?.as_str().ok().and_then(State::parse).is_some_and(State::is_deviant);
            training_rows[place].push(TrainingRow {
                series: row::series_of(key),
                start: columns.get(1)?,
                mean: columns.get(2)?,
                anomalous,
            });
        }
    }
    let mut training_rows = training_rows.concat();
    training_rows.sort_by_key(|row| (row.series, row.start)); // they are in the order of signed keys
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
        "{STARTS} SELECT {} FROM starts CROSS JOIN buckets ON bucket_start = start AND series_id = ?3 WHERE start < ?2 ORDER BY bucket_start",
        row::COLUMNS
    ))?;
    let mut rows = select.query((from, until, row::key(series.id())))?;
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

/// In the order of time, row by row as they lie.
pub(super) fn verdicts(connection: &Connection, from: Time, until: Time, take: &mut dyn FnMut(Verdict)) -> Result<(), Fault> {
    let identity = |name: &SeriesName| (name.id(), (name.entity(), MetricId::of(&name.metric)));
    let identities: HashedMap<SeriesId, (EntityId, MetricId)> = series(connection)?.iter().map(|series| identity(&series.name)).collect();
    let mut select =
        connection.prepare_cached(&format!("SELECT {} FROM buckets WHERE bucket_start >= ? AND bucket_start < ?", row::COLUMNS))?;
    let mut rows = select.query((from, until))?;
    while let Some(columns) = rows.next()? {
        let key = columns.get(0)?;
        let identity = identities.get(&row::series_of(key)).ok_or_else(|| format!("table series: a bucket's series {key} is not there"))?;
        take(verdict_at(columns, 1, *identity)?);
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
