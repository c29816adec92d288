//! A source that goes on by another name: the same log, or more of it.

use super::statement::Statement;
use super::{History, HistoryError};

/// One for each table that says which source a row is of.
pub const RENAMES: [&str; 11] = [
    "UPDATE sources SET source = $2 WHERE source = $1",
    "UPDATE progress SET source = $2 WHERE source = $1",
    "UPDATE series SET source = $2 WHERE source = $1",
    "UPDATE placements SET source = $2 WHERE source = $1",
    "UPDATE incidents SET source = $2 WHERE source = $1",
    "UPDATE census SET source = $2 WHERE source = $1",
    "UPDATE outcomes SET source = $2 WHERE source = $1",
    "UPDATE refusals SET source = $2 WHERE source = $1",
    "UPDATE dead_letters SET source = $2 WHERE source = $1",
    "UPDATE commits SET source = $2 WHERE source = $1",
    "UPDATE outbox SET source = $2 WHERE source = $1",
];

/// Gives all that is stored of a source to another, of which nothing is stored yet. Whoever asks has claimed the first.
///
/// # Errors
/// A history that cannot be written.
pub fn rename(history: &mut dyn History, source: &str, name: &str) -> Result<(), HistoryError> {
    history.execute(&RENAMES.map(|sql| Statement { sql, values: vec![source.into(), name.into()] })).map(|_| ())
}
