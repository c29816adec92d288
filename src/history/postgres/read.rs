//! What PostgreSQL gives back.

use super::copy::Instant;
use super::{Fault, Session, ledger};
use crate::history::statement::{Columns, Shape, Statement, Value};
use crate::history::{Anomaly, Position, Progress, Series, anomaly, row};
use crate::series::SeriesName;
use dataflows::{EntityId, MetricId, SeriesId, Time, Verdict};
use postgres::Row;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use std::collections::HashMap;

/// The columns that [`anomaly_row`] reads. JSONB keeps a number's digits; they are read here.
pub(super) const ANOMALY: &str = "series_id, timestamp, severity, details ->> 'actual_value', details ->> 'expected_value',
    details ->> 'z_score', status, withdrawn_reason, revision";

/// A row of `anomalies` from the columns of [`ANOMALY`].
pub(super) fn anomaly_row(columns: &Row) -> Result<anomaly::Row, Fault> {
    let number = |column: usize| -> Result<f64, Fault> { Ok(anomaly::number_of(columns.try_get(column)?)?) };
    Ok(anomaly::Row {
        series: row::series_of(columns.try_get(0)?),
        start: columns.try_get::<_, Instant>(1)?.0,
        severity: columns.try_get(2)?,
        actual: number(3)?,
        expected: number(4)?,
        z_score: number(5)?,
        standing: anomaly::Standing::parse(columns.try_get(6)?, columns.try_get(7)?)?,
        revision: columns.try_get(8)?,
    })
}

fn series_at(columns: &Row) -> Result<Series, Fault> {
    let name = SeriesName { entity_type: columns.try_get(0)?, entity_id: columns.try_get(1)?, metric: columns.try_get(2)? };
    let labels = row::labels_from_json(columns.try_get(3)?)?;
    Ok(Series { name, labels, partition: columns.try_get(4)? })
}

pub(super) fn query(session: &mut Session, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Fault> {
    let select = session.statements.get(&mut session.client, sql)?;
    Ok(session.client.query(&select, parameters)?)
}

pub(super) fn position(session: &mut Session, source: &str, since: Time) -> Result<Position, Fault> {
    let horizon = query(session, "SELECT horizon FROM sources WHERE source = $1", &[&source])?;
    let horizon = horizon.first().map(|columns| columns.try_get::<_, Option<Instant>>(0)).transpose()?.flatten();
    let sql = r#"SELECT partition, next_offset, replay_offset, replay_time, beginning FROM progress WHERE source = $1 ORDER BY partition COLLATE "C""#;
    let mut progress = Vec::new();
    for columns in query(session, sql, &[&source])? {
        progress.push(Progress {
            partition: columns.try_get(0)?,
            next_offset: columns.try_get(1)?,
            replay_offset: columns.try_get(2)?,
            replay_time: columns.try_get::<_, Instant>(3)?.0,
            beginning: columns.try_get(4)?,
        });
    }
    // Backwards from the end of each series: the first bucket that has samples is the answer.
    let sql = r#"SELECT entity_type, entity_id, metric, labels::text, partition, bucket_start FROM series CROSS JOIN LATERAL (
            SELECT bucket_start FROM buckets WHERE buckets.series_id = series.series_id AND bucket_start >= $2 AND count > 0
            ORDER BY bucket_start DESC LIMIT 1) AS last
        WHERE source = $1 ORDER BY entity_type COLLATE "C", entity_id COLLATE "C", metric COLLATE "C""#;
    let mut last_seen = Vec::new();
    for columns in query(session, sql, &[&source, &Instant(since)])? {
        last_seen.push((series_at(&columns)?, columns.try_get::<_, Instant>(5)?.0));
    }
    let (stays, outcomes) = (ledger::stays(session, source)?, ledger::outcomes(session, source)?);
    let horizon = horizon.map(|horizon| horizon.0);
    Ok(Position { progress, horizon, refused: ledger::refused(session, source)?, last_seen, stays, outcomes })
}

pub(super) fn sources(session: &mut Session) -> Result<Vec<String>, Fault> {
    let rows = query(session, r#"SELECT source FROM sources ORDER BY source COLLATE "C""#, &[])?;
    rows.iter().map(|columns| Ok(columns.try_get(0)?)).collect()
}

/// Ordered by bytes, as in Rust and SQLite, whatever the collation of the database.
pub(super) fn series(session: &mut Session) -> Result<Vec<Series>, Fault> {
    let sql = r#"SELECT entity_type, entity_id, metric, labels::text, partition FROM series
        ORDER BY entity_type COLLATE "C", entity_id COLLATE "C", metric COLLATE "C""#;
    query(session, sql, &[])?.iter().map(series_at).collect()
}

/// Backwards from the end of each series: the first bucket that has samples is the answer.
pub(super) fn last_buckets(session: &mut Session, from: Time, until: Time) -> Result<HashMap<SeriesId, Time>, Fault> {
    let sql = "SELECT series_id, start FROM series CROSS JOIN LATERAL (
            SELECT bucket_start AS start FROM buckets
            WHERE buckets.series_id = series.series_id AND bucket_start >= $1 AND bucket_start < $2 AND count > 0
            ORDER BY bucket_start DESC LIMIT 1) AS last";
    let last = |columns: &Row| Ok((row::series_of(columns.try_get(0)?), columns.try_get::<_, Instant>(1)?.0));
    query(session, sql, &[&Instant(from), &Instant(until)])?.iter().map(last).collect()
}

/// A verdict from the columns of [`row::COLUMNS`].
fn verdict_at(columns: &Row, identity: (EntityId, MetricId)) -> Result<Verdict, Fault> {
    let mut numbers = [None; 7];
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = columns.try_get(3 + i)?;
    }
    let start = columns.try_get::<_, Instant>(1)?.0;
    Ok(row::verdict(identity, start, columns.try_get(2)?, numbers, columns.try_get(10)?)?)
}

pub(super) fn verdicts_of(session: &mut Session, series: &SeriesName, from: Time, until: Time) -> Result<Vec<Verdict>, Fault> {
    let sql = format!(
        "SELECT {} FROM buckets WHERE series_id = $1 AND bucket_start >= $2 AND bucket_start < $3 ORDER BY bucket_start",
        row::COLUMNS
    );
    let rows = query(session, &sql, &[&row::key(series.id()), &Instant(from), &Instant(until)])?;
    let identity = (series.entity(), MetricId::of(&series.metric));
    rows.iter().map(|columns| verdict_at(columns, identity)).collect()
}

/// Answers a query that both stores understand.
pub(super) fn select(session: &mut Session, statement: &Statement, shapes: &[Shape]) -> Result<Vec<Columns>, Fault> {
    let parameters: Vec<&(dyn ToSql + Sync)> = statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let mut answer = Vec::new();
    for row in query(session, statement.sql, &parameters)? {
        let column = |(place, shape): (usize, &Shape)| -> Result<Value, Fault> {
            Ok(match shape {
                Shape::Integer => Value::Integer(row.try_get(place)?),
                Shape::Number => Value::Number(row.try_get(place)?),
                Shape::Time => Value::Time(row.try_get::<_, Option<Instant>>(place)?.map(|instant| instant.0)),
                Shape::Text => Value::Text(row.try_get(place)?),
                Shape::Flag => Value::Flag(row.try_get(place)?),
            })
        };
        let columns = shapes.iter().enumerate().map(column).collect::<Result<Vec<_>, Fault>>()?;
        answer.push(Columns(columns.into_iter()));
    }
    Ok(answer)
}

/// Row by row as they come: a year of buckets need not fit in memory.
pub(super) fn verdicts(session: &mut Session, from: Time, until: Time, take: &mut dyn FnMut(Verdict)) -> Result<(), Fault> {
    let identities: HashMap<i64, (EntityId, MetricId)> = series(session)?
        .iter()
        .map(|series| (row::key(series.name.id()), (series.name.entity(), MetricId::of(&series.name.metric))))
        .collect();
    let sql = format!("SELECT {} FROM buckets WHERE bucket_start >= $1 AND bucket_start < $2", row::COLUMNS);
    let select = session.statements.get(&mut session.client, &sql)?;
    let parameters: [&(dyn ToSql + Sync); 2] = [&Instant(from), &Instant(until)];
    let mut rows = session.client.query_raw(&select, parameters)?;
    while let Some(columns) = rows.next()? {
        let key: i64 = columns.try_get(0)?;
        let identity = identities.get(&key).ok_or_else(|| format!("table series: a bucket's series {key} is not there"))?;
        take(verdict_at(&columns, *identity)?);
    }
    Ok(())
}

pub(super) fn anomalies(session: &mut Session, from: Time, until: Time) -> Result<Vec<Anomaly>, Fault> {
    let sql = format!(
        r#"SELECT {ANOMALY}, anomaly_score, entity_type, entity_id, details ->> 'metric_name' FROM anomalies
           WHERE timestamp >= $1 AND timestamp < $2
           ORDER BY timestamp, entity_type COLLATE "C", entity_id COLLATE "C", details ->> 'metric_name' COLLATE "C""#
    );
    let mut anomalies = Vec::new();
    for columns in query(session, &sql, &[&Instant(from), &Instant(until)])? {
        let name = SeriesName { entity_type: columns.try_get(10)?, entity_id: columns.try_get(11)?, metric: columns.try_get(12)? };
        anomalies.push(anomaly::told(name, &anomaly_row(&columns)?, columns.try_get(9)?)?);
    }
    Ok(anomalies)
}
