//! What people said of incidents: useful, or not; and what the trainer learns from it.

use super::statement::{Columns, Shape, Statement, Value};
use super::{History, HistoryError, TrainingRow, row};
use crate::instant;
use dataflows::{IncidentId, SeriesId, Time};
use std::collections::{BTreeMap, HashMap};

/// The words there are.
pub const LABELS: [&str; 2] = ["useful", "not_useful"];

/// All labels, by incident.
///
/// # Errors
/// A history that cannot be read.
pub fn all(history: &mut dyn History) -> Result<BTreeMap<u64, String>, HistoryError> {
    let sql = "SELECT incident_id, label FROM incident_labels";
    let rows = history.select(&Statement { sql, values: Vec::new() }, &[Shape::Integer, Shape::Text])?;
    Ok(rows.into_iter().map(|mut columns| (columns.integer().cast_unsigned(), columns.text().unwrap_or_default())).collect())
}

/// Stores one of [`LABELS`] in the place of an earlier one.
///
/// # Errors
/// A history that cannot be written, or a word that is not among them.
pub fn set(history: &mut dyn History, id: IncidentId, label: &str) -> Result<(), HistoryError> {
    let sql = "INSERT INTO incident_labels (incident_id, label, labelled_at) VALUES ($1, $2, $3)
        ON CONFLICT (incident_id) DO UPDATE SET label = excluded.label, labelled_at = excluded.labelled_at";
    let values = vec![id.0.cast_signed().into(), label.into(), Value::time(instant::now())];
    history.execute(&[Statement { sql, values }]).map(drop)
}

/// Takes a label back.
///
/// # Errors
/// A history that cannot be written.
pub fn clear(history: &mut dyn History, id: IncidentId) -> Result<(), HistoryError> {
    let sql = "DELETE FROM incident_labels WHERE incident_id = $1";
    history.execute(&[Statement { sql, values: vec![id.0.cast_signed().into()] }]).map(drop)
}

/// What the labels of incidents say of the buckets of one series, from one bucket of evidence to another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lesson {
    series: SeriesId,
    opened: Time,
    last: Time,
    /// Whether something was wrong then.
    useful: bool,
}

/// What people have said of the incidents of a window, for the trainer.
#[derive(Debug)]
pub struct Lessons(HashMap<SeriesId, Vec<Lesson>>);

impl Lessons {
    /// Of the incidents whose episodes reach into `[from, until)`.
    ///
    /// # Errors
    /// A history that cannot be read.
    pub fn of(history: &mut dyn History, from: Time, until: Time) -> Result<Self, HistoryError> {
        let mut lessons: HashMap<SeriesId, Vec<Lesson>> = HashMap::new();
        for lesson in lessons_within(history, from, until)? {
            lessons.entry(lesson.series).or_default().push(lesson);
        }
        Ok(Self(lessons))
    }

    /// Tells training rows of the episodes they lie in. The buckets of a useful incident are left out: however many they are, they are no behaviour to be
    /// learned. Those of one that was not useful are no anomalies: where the series does so again, that is to be expected.
    pub fn teach(&self, rows: &mut Vec<TrainingRow>) {
        if self.0.is_empty() {
            return;
        }
        let of = |row: &TrainingRow, useful: bool| {
            let covers = |lesson: &Lesson| lesson.opened <= row.start && row.start <= lesson.last;
            self.0.get(&row.series).is_some_and(|own| own.iter().any(|lesson| lesson.useful == useful && covers(lesson)))
        };
        rows.retain(|row| !of(row, true));
        rows.iter_mut().filter(|row| row.anomalous && of(row, false)).for_each(|row| row.anomalous = false);
    }
}

fn lessons_within(history: &mut dyn History, from: Time, until: Time) -> Result<Vec<Lesson>, HistoryError> {
    let sql = "SELECT episodes.series_id, episodes.opened, episodes.last, label = 'useful'
        FROM incident_labels JOIN episodes ON episodes.incident_id = incident_labels.incident_id
        WHERE episodes.status <> 'withdrawn' AND episodes.opened < $2 AND episodes.last >= $1";
    let values = vec![Value::time(from), Value::time(until)];
    let rows = history.select(&Statement { sql, values }, &[Shape::Integer, Shape::Time, Shape::Time, Shape::Flag])?;
    let read = |mut columns: Columns| Lesson {
        series: row::series_of(columns.integer()),
        opened: columns.time().unwrap_or(Time::MAX),
        last: columns.time().unwrap_or(Time::MIN),
        useful: columns.flag(),
    };
    Ok(rows.into_iter().map(read).collect())
}
