//! Files of verdicts: one row per bucket, or per row of an input that was a table itself.

mod column;
mod csv;
mod parquet;

pub use self::column::{Column, spoken};
pub use self::csv::Csv;
pub use self::parquet::Parquet;

use dataflows::{Policy, Time, Verdict};
use std::io::{self, Write};
use std::path::Path;

/// Where rows go.
pub trait Sheet: Send {
    /// Adds a row.
    ///
    /// # Errors
    /// Those of what it writes to.
    fn add(&mut self, row: &Row<'_>) -> io::Result<()>;

    /// Writes what is left.
    ///
    /// # Errors
    /// Those of what it writes to.
    fn finish(&mut self) -> io::Result<()>;
}

/// A sheet of the kind that the name of a file asks for: Parquet for `.parquet`, CSV for any other.
///
/// # Errors
/// Those of `out`.
pub fn sheet(path: &Path, out: Box<dyn Write + Send>, columns: &[Column], policy: Policy) -> io::Result<Box<dyn Sheet>> {
    let is_parquet = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
    Ok(if is_parquet { Box::new(Parquet::new(out, columns, policy)?) } else { Box::new(Csv::new(out, columns, policy)?) })
}

/// One row.
pub struct Row<'a> {
    /// When it was measured, in milliseconds since the epoch, and as it is written.
    pub time: (Time, &'a str),
    /// The entity.
    pub entity: &'a str,
    /// The metric.
    pub metric: &'a str,
    /// The value that the input gave; `None`: the mean of the bucket.
    pub value: Option<&'a str>,
    /// What was said of the bucket, if it was, and its start as it is written.
    pub verdict: Option<(&'a Verdict, &'a str)>,
}
