//! What people said of incidents: useful, or not. Nothing reads it yet but the page.

use super::statement::{Shape, Statement, Value};
use super::{History, HistoryError};
use crate::instant;
use dataflows::IncidentId;
use std::collections::BTreeMap;

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
