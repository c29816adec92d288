//! What a batch does to the anomalies that are stored: some appear, some are revised, some are withdrawn.
//!
//! The rows already stored decide, not [`Change::old`]: after a restart the graph rebuilds the buckets that may still change and
//! offers them as new, though an earlier commit has stored them.

use super::row;
use super::{Anomaly, Batch, Change};
use crate::series::SeriesName;
use dataflows::verdict::anomaly_score;
use dataflows::{SeriesId, Severity, State, Time, Unscored, Verdict};
use std::collections::HashMap;

/// A row of `anomalies`, without the names and the wall clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The series.
    pub series: SeriesId,
    /// The start of the bucket.
    pub start: Time,
    /// How loud.
    pub severity: String,
    /// The bucket's mean.
    pub actual: f64,
    /// Trend + seasonal.
    pub expected: f64,
    /// Residual / sigma.
    pub z_score: f64,
    /// A sentence where the anomaly was withdrawn; `None` while it is open.
    pub withdrawn: Option<String>,
    /// 1 when first stored, one more with every change after that.
    pub revision: i64,
}

impl Row {
    /// The anomaly that a verdict says; `None` where it says none.
    fn of(verdict: &Verdict, threshold: f64) -> Option<Self> {
        let (State::Anomalous, Some(score), Some(aggregate)) = (verdict.state, verdict.score, verdict.bucket.aggregate) else {
            return None;
        };
        Some(Self {
            series: verdict.bucket.series(),
            start: verdict.bucket.start,
            severity: Severity::of(score.z_score.0, threshold).as_str().to_string(),
            actual: finite(aggregate.mean.0),
            expected: finite(score.expected.0),
            z_score: finite(score.z_score.0),
            withdrawn: None,
            revision: 1,
        })
    }

    /// 0..1, monotonic in |z|.
    pub fn anomaly_score(&self) -> f64 {
        anomaly_score(self.z_score)
    }

    /// The column `status`.
    pub fn status(&self) -> &'static str {
        if self.withdrawn.is_some() { "withdrawn" } else { "open" }
    }

    /// The column `details`.
    pub fn details(&self, metric: &str) -> String {
        serde_json::json!({
            "metric_name": row::text(metric),
            "actual_value": self.actual,
            "expected_value": self.expected,
            "z_score": self.z_score,
            "residual": finite(self.actual - self.expected),
        })
        .to_string()
    }

    /// Whether two rows say the same, whatever their revisions.
    fn says_the_same(&self, other: &Self) -> bool {
        Self { revision: 0, ..self.clone() } == Self { revision: 0, ..other.clone() }
    }
}

/// JSON has no infinity.
fn finite(number: f64) -> f64 {
    number.clamp(f64::MIN, f64::MAX)
}

/// The rows of `anomalies` that a batch changes, given those that are stored for its buckets.
pub(super) fn changes(batch: &Batch, stored: &HashMap<(SeriesId, Time), Row>) -> Vec<Row> {
    batch.changes.iter().filter_map(|change| next(change, batch.threshold, stored)).collect()
}

fn next(change: &Change, threshold: f64, stored: &HashMap<(SeriesId, Time), Row>) -> Option<Row> {
    let bucket = change.new.or(change.old)?.bucket;
    // Most batches meet no stored anomaly at all; they need no key.
    let before = if stored.is_empty() { None } else { stored.get(&(bucket.series(), bucket.start)) };
    let after = match (change.new.and_then(|verdict| Row::of(&verdict, threshold)), before) {
        (Some(row), _) => row,
        (None, Some(before)) if before.withdrawn.is_none() => {
            Row { withdrawn: Some(reason(change.new.as_ref(), threshold)), ..before.clone() }
        }
        (None, _) => return None,
    };
    match before {
        Some(before) if before.says_the_same(&after) => None,
        Some(before) => Some(Row { revision: before.revision + 1, ..after }),
        None => Some(after),
    }
}

/// Why an anomaly no longer holds, for a person.
fn reason(verdict: Option<&Verdict>, threshold: f64) -> String {
    let Some(verdict) = verdict else { return "the bucket no longer exists".to_string() };
    match (verdict.state, verdict.score) {
        (State::Missing, _) => "the bucket has no samples any more".to_string(),
        (State::Unscored(Unscored::NoModel), _) => "no model scores the bucket any more".to_string(),
        (_, Some(score)) => format!("revised: z_score {:.2} is within the threshold of {threshold}", score.z_score.0),
        (_, None) => "revised: the bucket is normal".to_string(),
    }
}

/// An anomaly as it is told, from the names and the columns of its row.
pub(super) fn told(name: SeriesName, row: &Row, anomaly_score: f64) -> Result<Anomaly, String> {
    let severity = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
        .into_iter()
        .find(|severity| severity.as_str() == row.severity)
        .ok_or_else(|| format!("table anomalies: '{}' is no severity", row.severity))?;
    Ok(Anomaly {
        name,
        start: row.start,
        severity,
        anomaly_score,
        actual_value: row.actual,
        expected_value: row.expected,
        z_score: row.z_score,
        status: row.status().to_string(),
    })
}

/// A number of `details` from its JSON text, which the stores keep digit for digit; their own conversion may be a bit off.
pub(super) fn number(json: Option<&str>) -> Result<f64, String> {
    json.and_then(|text| text.parse().ok()).ok_or_else(|| "table anomalies: a number is missing from details".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, EntityId, MetricId, Number, Score};

    fn verdict(z_score: f64) -> Verdict {
        let aggregate = Aggregate { count: 60, mean: Number(z_score), min: Number(0.0), max: Number(9.0), stddev: Number(1.0) };
        let bucket = Bucket { entity: EntityId(1), metric: MetricId(2), start: 300_000, aggregate: Some(aggregate) };
        let score = Score { expected: Number(0.0), sigma: Number(1.0), z_score: Number(z_score) };
        let state = if z_score.abs() > 3.0 { State::Anomalous } else { State::Normal };
        Verdict { bucket, score: Some(score), state }
    }

    fn batch(new: Option<Verdict>) -> Batch {
        Batch { threshold: 3.0, changes: vec![Change { old: Some(verdict(0.0)), new }], ..Batch::default() }
    }

    fn stored(rows: &[Row]) -> HashMap<(SeriesId, Time), Row> {
        rows.iter().map(|row| ((row.series, row.start), row.clone())).collect()
    }

    #[test]
    fn an_anomaly_appears_once_and_is_revised_only_by_other_numbers() {
        let first = changes(&batch(Some(verdict(4.2))), &HashMap::new());
        assert_eq!((first.len(), first[0].revision, first[0].severity.as_str()), (1, 1, "high"));
        assert_eq!(changes(&batch(Some(verdict(4.2))), &stored(&first)), []);
        let second = changes(&batch(Some(verdict(7.0))), &stored(&first));
        assert_eq!((second[0].revision, second[0].severity.as_str()), (2, "critical"));
    }

    #[test]
    fn what_no_longer_holds_is_withdrawn_with_a_reason_and_may_come_back() {
        let open = changes(&batch(Some(verdict(4.2))), &HashMap::new());
        let withdrawn = changes(&batch(Some(verdict(1.0))), &stored(&open));
        assert_eq!((withdrawn[0].status(), withdrawn[0].revision, withdrawn[0].z_score), ("withdrawn", 2, 4.2));
        assert_eq!(withdrawn[0].withdrawn.as_deref(), Some("revised: z_score 1.00 is within the threshold of 3"));
        assert_eq!(changes(&batch(Some(verdict(1.0))), &stored(&withdrawn)), []);
        let again = changes(&batch(Some(verdict(4.2))), &stored(&withdrawn));
        assert_eq!((again[0].status(), again[0].revision), ("open", 3));
        assert!(changes(&batch(None), &stored(&open))[0].withdrawn.is_some());
    }

    #[test]
    fn a_score_beyond_all_bounds_is_still_json() {
        let row = Row::of(&verdict(f64::INFINITY), 3.0).unwrap();
        assert!(row.details("m").contains("e+308") || row.details("m").contains("e308"));
        assert_eq!(row.anomaly_score(), 1.0);
    }
}
