//! Files of verdicts: one row per bucket, or per row of an input that was a table itself.

mod csv;
mod parquet;

pub use self::csv::{Csv, add_fields};
pub use self::parquet::Parquet;

use crate::source::table::COLUMNS;
use dataflows::{Aggregate, Policy, Score, Severity, State, Time, Verdict, anomaly_score};
use std::io::{self, Write};
use std::path::Path;

/// What follows the four columns of the input. `z_score` is what counts, `own_z_score` that of the series alone: they differ where the bucket accompanies one
/// of another metric of its entity.
const SCORES: [&str; 14] = [
    "expected",
    "z_score",
    "is_anomaly",
    "bucket_start",
    "mean",
    "sigma",
    "state",
    "severity",
    "anomaly_score",
    "own_z_score",
    "count",
    "min",
    "max",
    "stddev",
];

/// The names of all columns.
pub fn columns() -> impl Iterator<Item = &'static str> {
    COLUMNS.into_iter().chain(SCORES)
}

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
pub fn sheet(path: &Path, out: Box<dyn Write + Send>, policy: Policy) -> io::Result<Box<dyn Sheet>> {
    let is_parquet = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
    Ok(if is_parquet { Box::new(Parquet::new(out, policy)?) } else { Box::new(Csv::new(out, policy)?) })
}

/// One row.
pub struct Row<'a> {
    /// When it was measured, in milliseconds since the epoch, and as it is written.
    pub time: (Time, &'a str),
    /// The entity and the metric.
    pub name: Name<'a>,
    /// The value that the input gave; `None`: the mean of the bucket.
    pub value: Option<&'a str>,
    /// What was said of the bucket, if it was, and its start as it is written.
    pub verdict: Option<(&'a Verdict, &'a str)>,
}

/// The names of a series.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    pub entity: &'a str,
    pub metric: &'a str,
    /// Both as [`add_fields`] writes them.
    pub fields: &'a str,
}

/// The z_score as it counts: that of a bucket which accompanies another ends at its threshold, since only what is past it is an anomaly.
pub fn spoken(verdict: &Verdict, policy: &Policy) -> Option<f64> {
    let (z_score, threshold) = (verdict.score?.z_score.0, policy.limits(verdict.bucket.metric).threshold);
    Some(if verdict.state == State::Accompanying { z_score.clamp(-threshold, threshold) } else { z_score })
}

/// What is to be written of a verdict besides the bucket.
struct Said {
    score: Option<Score>,
    aggregate: Option<Aggregate>,
    /// See [`spoken`].
    z_score: Option<f64>,
    is_anomaly: bool,
    state: &'static str,
    severity: Option<&'static str>,
    anomaly_score: Option<f64>,
}

impl Said {
    /// Of a row of the input without a verdict: it was refused.
    const REFUSED: Self = Self {
        score: None,
        aggregate: None,
        z_score: None,
        is_anomaly: false,
        state: "unscored(refused)",
        severity: None,
        anomaly_score: None,
    };

    fn of(verdict: &Verdict, policy: &Policy) -> Self {
        let is_anomaly = verdict.state == State::Anomalous;
        let severity = |score: Score| Severity::of(score.z_score.0, policy.limits(verdict.bucket.metric).threshold).as_str();
        let z_score = spoken(verdict, policy);
        Self {
            score: verdict.score,
            aggregate: verdict.bucket.aggregate,
            z_score,
            is_anomaly,
            state: verdict.state.as_str(),
            severity: verdict.score.filter(|_| is_anomaly).map(severity),
            anomaly_score: z_score.map(anomaly_score),
        }
    }
}
