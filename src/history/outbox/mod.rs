//! The outbox: what is to be sent about incidents, written in the transaction that changed them, and what became of it.

mod news;

use super::incident::{self, IncidentRow};
use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError, row};
use crate::instant;
use dataflows::{IncidentId, SeriesId, Time};
use std::sync::LazyLock;

pub use news::{APART, Subscription};
pub(super) use news::{statements, tell_withdrawn};

/// Rows are removed so long after they were written, unless their incident is still open: 14 days.
const KEPT: Time = 14 * 86_400_000;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to be sent.
    Pending,
    /// The receiver has it.
    Delivered,
    /// The receiver had enough in this hour.
    HeldBack,
    /// It was over before the receiver heard of its beginning.
    Overtaken,
    /// The receiver refused it, or could not be reached for too long.
    Failed,
}

impl State {
    /// One word, as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::HeldBack => "held_back",
            Self::Overtaken => "overtaken",
            Self::Failed => "failed",
        }
    }
}

/// A row of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Rows are sent in this order.
    pub id: i64,
    /// The name of the receiver.
    pub receiver: String,
    /// `opened`, `escalated`, `spread`, `closed`, `reopened` or `withdrawn`.
    pub change: String,
    /// The incident as it was then; `known_at` is when the row was written.
    pub incident: IncidentRow,
    /// See [`State`].
    pub state: String,
    /// Attempts to send it, those under way included.
    pub attempts: u32,
    /// Not before this.
    pub next_try_at: Time,
    /// When it was not pending any more.
    pub ended_at: Option<Time>,
    /// Why the last attempt failed.
    pub problem: Option<String>,
    /// The series of another metric that is why the row was written, where that is why.
    pub added: Option<SeriesId>,
}

/// What is kept of an incident, in the order in which [`incident::incident_at`] reads it.
const SNAPSHOT: &str =
    "incident_id, scope, entity_type, entity_id, zone, rack, opened, last, status, settled, severity, entities, peers, metrics,
    anomalous, missing, peak_entity_id, peak_metric, peak_start, peak_mean, peak_expected, peak_z_score, withdrawn_reason, joined_id,
    revision";

/// Rows, as [`read`] reads them.
fn rows(condition: &str) -> String {
    format!(
        "SELECT outbox_id, receiver, change, {SNAPSHOT}, created_at, state, attempts, next_try_at, ended_at, problem, added_series_id FROM outbox {condition}"
    )
}

static NEXT: LazyLock<String> =
    LazyLock::new(|| rows("WHERE source = $1 AND receiver = $2 AND state = 'pending' ORDER BY outbox_id LIMIT 1"));

static LAST_DELIVERED: LazyLock<String> = LazyLock::new(|| {
    rows("WHERE source = $1 AND receiver = $2 AND state = 'delivered' AND incident_id = $3 ORDER BY outbox_id DESC LIMIT 1")
});

static OPEN: LazyLock<String> = LazyLock::new(|| {
    rows(
        "WHERE status = 'open'
            AND (scope = 'source' AND NOT EXISTS (SELECT 1 FROM outbox AS over
                    WHERE over.incident_id = outbox.incident_id AND over.receiver = outbox.receiver AND over.outbox_id > outbox.outbox_id)
                OR EXISTS (SELECT 1 FROM incidents WHERE incidents.incident_id = outbox.incident_id AND incidents.status = 'open'))
            AND outbox_id IN
                (SELECT max(outbox_id) FROM outbox WHERE source = $1 AND receiver = $2 AND state = 'delivered' GROUP BY incident_id)
        ORDER BY outbox_id",
    )
});

static LATEST: LazyLock<String> = LazyLock::new(|| rows("ORDER BY outbox_id DESC LIMIT $1"));

/// One receiver's part of the outbox of one source.
#[derive(Clone, Debug)]
pub struct Part {
    /// The identity of the source.
    pub source: String,
    /// The name of the receiver.
    pub receiver: String,
}

const ROW: [Shape; 35] = {
    use Shape::{Flag, Integer, Number, Text, Time as T};
    [
        Integer, Text, Text, Integer, Text, Text, Text, Text, Text, T, T, Text, Flag, Text, Integer, Integer, Text, Integer, Integer, Text,
        Text, T, Number, Number, Number, Text, Integer, Integer, T, Text, Integer, T, T, Text, Integer,
    ]
};

fn read(mut columns: Columns) -> OutboxRow {
    let (id, receiver, change) = (columns.integer(), columns.text().unwrap_or_default(), columns.text().unwrap_or_default());
    let incident = incident::incident_at(&mut columns);
    OutboxRow {
        id,
        receiver,
        change,
        incident,
        state: columns.text().unwrap_or_default(),
        attempts: columns.count(),
        next_try_at: columns.time().unwrap_or_default(),
        ended_at: columns.time(),
        problem: columns.text(),
        added: columns.some_integer().map(row::series_of),
    }
}

impl Part {
    fn values(&self) -> Vec<Value> {
        vec![self.source.as_str().into(), self.receiver.as_str().into()]
    }

    fn with(&self, more: impl IntoIterator<Item = Value>) -> Vec<Value> {
        self.values().into_iter().chain(more).collect()
    }

    /// The row that is to be sent next, be it due or not.
    ///
    /// # Errors
    /// A history that cannot be read, as in all that follows.
    pub fn next(&self, history: &mut dyn History) -> Result<Option<OutboxRow>, HistoryError> {
        Ok(history.select(&Statement { sql: &NEXT, values: self.values() }, &ROW)?.pop().map(read))
    }

    /// What the receiver was last told of an incident; `None` where it has heard nothing.
    pub fn last_delivered(&self, history: &mut dyn History, incident: IncidentId) -> Result<Option<OutboxRow>, HistoryError> {
        let values = self.with([incident.0.cast_signed().into()]);
        Ok(history.select(&Statement { sql: &LAST_DELIVERED, values }, &ROW)?.pop().map(read))
    }

    /// The incidents that the receiver believes to be open, each as it was last told.
    pub fn open(&self, history: &mut dyn History) -> Result<Vec<OutboxRow>, HistoryError> {
        Ok(history.select(&Statement { sql: &OPEN, values: self.values() }, &ROW)?.into_iter().map(read).collect())
    }

    /// Whether an incident is withdrawn by a row that is still to be sent.
    pub fn is_to_be_withdrawn(&self, history: &mut dyn History, incident: IncidentId) -> Result<bool, HistoryError> {
        let sql = "SELECT count(*) FROM outbox
            WHERE source = $1 AND receiver = $2 AND incident_id = $3 AND state = 'pending' AND change = 'withdrawn'";
        Ok(self.count(history, sql, [incident.0.cast_signed().into()])? > 0)
    }

    /// Whether nothing was written of an incident after a row of it.
    pub fn is_latest(&self, history: &mut dyn History, row: &OutboxRow) -> Result<bool, HistoryError> {
        let sql = "SELECT count(*) FROM outbox WHERE source = $1 AND receiver = $2 AND incident_id = $3 AND outbox_id > $4";
        Ok(self.count(history, sql, [row.incident.id.0.cast_signed().into(), row.id.into()])? == 0)
    }

    /// How many messages the receiver has had since a time, ends of incidents left out.
    pub fn delivered_since(&self, history: &mut dyn History, since: Time) -> Result<u64, HistoryError> {
        let sql = "SELECT count(*) FROM outbox WHERE source = $1 AND receiver = $2 AND ended_at > $3 AND state = 'delivered'
            AND change NOT IN ('closed', 'withdrawn')";
        self.count(history, sql, [Value::time(since)])
    }

    /// How many incidents were held back since the receiver was last told of anything.
    pub fn held_back(&self, history: &mut dyn History) -> Result<u64, HistoryError> {
        let sql =
            "SELECT count(DISTINCT incident_id) FROM outbox WHERE source = $1 AND receiver = $2 AND state = 'held_back' AND outbox_id >
            (SELECT coalesce(max(outbox_id), 0) FROM outbox WHERE source = $1 AND receiver = $2 AND state = 'delivered')";
        self.count(history, sql, [])
    }

    fn count<const N: usize>(&self, history: &mut dyn History, sql: &'static str, more: [Value; N]) -> Result<u64, HistoryError> {
        let rows = history.select(&Statement { sql, values: self.with(more) }, &[Shape::Integer])?;
        Ok(rows.into_iter().next().map_or(0, |mut columns| columns.integer().cast_unsigned()))
    }
}

/// Who may commit for a source, and so may send what comes of it; empty where nobody ever did.
///
/// # Errors
/// A history that cannot be read.
pub fn writer(history: &mut dyn History, source: &str) -> Result<String, HistoryError> {
    let query = Statement { sql: "SELECT writer FROM sources WHERE source = $1", values: vec![source.into()] };
    Ok(history.select(&query, &[Shape::Text])?.first_mut().and_then(Columns::text).unwrap_or_default())
}

/// Notes that a row is about to be sent; `false` where it must not be: `writer` may not commit for the source any more, or the row has ended.
///
/// # Errors
/// A history that cannot be written.
pub fn begin(history: &mut dyn History, id: i64, writer: &str) -> Result<bool, HistoryError> {
    let sql = "UPDATE outbox SET attempts = attempts + 1 WHERE outbox_id = $1 AND state = 'pending'
        AND EXISTS (SELECT 1 FROM sources WHERE sources.source = outbox.source AND sources.writer = $2)";
    Ok(history.execute(&[Statement { sql, values: vec![id.into(), writer.into()] }])? > 0)
}

/// Notes that a row is pending no more, and why where it was not delivered.
///
/// # Errors
/// A history that cannot be written.
pub fn end(history: &mut dyn History, id: i64, state: State, problem: Option<&str>) -> Result<(), HistoryError> {
    let sql = "UPDATE outbox SET state = $2, ended_at = $3, problem = $4 WHERE outbox_id = $1 AND state = 'pending'";
    let values = vec![id.into(), state.as_str().into(), Value::time(instant::now()), problem.into()];
    history.execute(&[Statement { sql, values }]).map(|_| ())
}

/// Notes why a row was not sent, and when to try again.
///
/// # Errors
/// A history that cannot be written.
pub fn postpone(history: &mut dyn History, id: i64, until: Time, problem: &str) -> Result<(), HistoryError> {
    let sql = "UPDATE outbox SET next_try_at = $2, problem = $3 WHERE outbox_id = $1 AND state = 'pending'";
    history.execute(&[Statement { sql, values: vec![id.into(), Value::time(until), problem.into()] }]).map(|_| ())
}

/// Removes what is old. Of an incident that is open all is kept: it would be told of once more. So is that a source brings nothing, until it does.
///
/// # Errors
/// A history that cannot be written.
pub fn sweep(history: &mut dyn History) -> Result<(), HistoryError> {
    let sql = "DELETE FROM outbox WHERE created_at < $1
        AND NOT EXISTS (SELECT 1 FROM incidents WHERE incidents.incident_id = outbox.incident_id AND incidents.status = 'open')
        AND (scope <> 'source' OR status <> 'open' OR EXISTS (SELECT 1 FROM outbox AS over
            WHERE over.incident_id = outbox.incident_id AND over.receiver = outbox.receiver AND over.outbox_id > outbox.outbox_id
                AND over.state <> 'pending'))";
    history.execute(&[Statement { sql, values: vec![Value::time(instant::now() - KEPT)] }]).map(|_| ())
}

/// The newest rows of all sources and receivers, at most `limit`, oldest first.
///
/// # Errors
/// A history that cannot be read.
pub fn latest(history: &mut dyn History, limit: u32) -> Result<Vec<OutboxRow>, HistoryError> {
    let mut rows: Vec<OutboxRow> =
        history.select(&Statement { sql: &LATEST, values: vec![limit.into()] }, &ROW)?.into_iter().map(read).collect();
    rows.reverse();
    Ok(rows)
}

/// How many rows there are of each receiver and state.
///
/// # Errors
/// A history that cannot be read.
pub fn counts(history: &mut dyn History) -> Result<Vec<(String, String, u64)>, HistoryError> {
    let sql = "SELECT receiver, state, count(*) FROM outbox GROUP BY receiver, state ORDER BY receiver, state";
    let rows = history.select(&Statement { sql, values: Vec::new() }, &[Shape::Text, Shape::Text, Shape::Integer])?;
    let read =
        |mut columns: Columns| (columns.text().unwrap_or_default(), columns.text().unwrap_or_default(), columns.integer().cast_unsigned());
    Ok(rows.into_iter().map(read).collect())
}
