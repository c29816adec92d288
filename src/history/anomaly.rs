//! What a batch does to the anomalies that are stored: some appear, some are revised, some are withdrawn.
//!
//! The rows already stored decide, not [`Change::old`]: after a restart the graph rebuilds the buckets that may still change and
//! offers them as new, though an earlier commit has stored them.

use super::row;
use super::statement::{Statement, Value};
use super::{Anomaly, Batch, Change};
use crate::instant;
use crate::number::number;
use crate::series::SeriesName;
use dataflows::verdict::anomaly_score;
use dataflows::{Missed, Policy, Provisional, SeriesId, State, Time, Unscored, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// Whether it holds.
    pub standing: Standing,
    /// 0 while provisional, 1 when its bucket is closed, one more with every change after that.
    pub revision: i64,
}

/// Whether an anomaly holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// Its bucket is open.
    Provisional,
    /// It does.
    Open,
    /// It does not, and why.
    Withdrawn(String),
}

impl Standing {
    /// The standing that the columns `status` and `withdrawn_reason` hold.
    pub fn parse(status: &str, reason: Option<String>) -> Result<Self, String> {
        match status {
            "provisional" => Ok(Self::Provisional),
            "open" => Ok(Self::Open),
            "withdrawn" => Ok(Self::Withdrawn(reason.unwrap_or_default())),
            other => Err(format!("table anomalies: '{other}' is no status")),
        }
    }
}

impl Row {
    /// The anomaly that a verdict says; `None` where it says none.
    fn of(verdict: &Verdict, policy: &Policy) -> Option<Self> {
        let (State::Anomalous, Some(score), Some(aggregate)) = (verdict.state, verdict.score, verdict.bucket.aggregate) else {
            return None;
        };
        Some(Self {
            series: verdict.bucket.series(),
            start: verdict.bucket.start,
            severity: policy.severity(verdict.bucket.metric, score.z_score.0).as_str().to_string(),
            actual: finite(aggregate.mean.0),
            expected: finite(score.expected.0),
            z_score: finite(score.z_score.0),
            standing: Standing::Open,
            revision: 1,
        })
    }

    /// An anomaly of an open bucket.
    fn provisional(provisional: &Provisional) -> Self {
        Self {
            series: provisional.series(),
            start: provisional.start,
            severity: provisional.severity.as_str().to_string(),
            actual: finite(provisional.value.0),
            expected: finite(provisional.score.expected.0),
            z_score: finite(provisional.score.z_score.0),
            standing: Standing::Provisional,
            revision: 0,
        }
    }

    /// 0..1, monotonic in |z|.
    pub fn anomaly_score(&self) -> f64 {
        anomaly_score(self.z_score)
    }

    /// The column `status`.
    pub fn status(&self) -> &'static str {
        match self.standing {
            Standing::Provisional => "provisional",
            Standing::Open => "open",
            Standing::Withdrawn(_) => "withdrawn",
        }
    }

    /// The column `withdrawn_reason`.
    pub fn withdrawn_reason(&self) -> Option<&str> {
        match &self.standing {
            Standing::Withdrawn(reason) => Some(reason),
            _ => None,
        }
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

/// The buckets whose anomalies a batch may change, by start.
pub(super) fn starts(batch: &Batch) -> BTreeSet<Time> {
    // Those of one moment follow one another: few of them are asked for a place in the set.
    let moments = batch.changes.chunk_by(|one, next| one.start() == next.start()).map(|changes| changes[0].start());
    let gone = batch.provisionals_withdrawn.iter().map(|(provisional, _)| provisional.start);
    moments.flatten().chain(gone).chain(batch.provisionals.iter().map(|provisional| provisional.start)).collect()
}

/// Provisional rows of buckets that have closed meanwhile: left by a run that was killed before it could say more.
const SWEEP: &str =
    "UPDATE anomalies SET status = 'withdrawn', withdrawn_reason = 'nothing was heard of the rest of the bucket', revised_at = $2
    WHERE status = 'provisional' AND timestamp < $1 AND series_id IN (SELECT series_id FROM series WHERE source = $3)";

/// Takes back what is still provisional once the common watermark has passed it.
pub(super) fn sweep(batch: &Batch) -> Option<Statement> {
    let horizon = batch.horizon?.saturating_sub(batch.bucket_width).saturating_add(1);
    Some(Statement { sql: SWEEP, values: vec![Value::time(horizon), Value::time(instant::now()), batch.source.as_str().into()] })
}

/// The rows of `anomalies` that a batch changes, given those that are stored for its buckets.
pub(super) fn changes(batch: &Batch, stored: &HashMap<(SeriesId, Time), Row>) -> Vec<Row> {
    let final_rows = batch.changes.iter().filter_map(|change| next(change, &batch.policy, stored));
    let mut rows: BTreeMap<(SeriesId, Time), Row> = BTreeMap::new();
    for provisional in &batch.provisionals {
        let row = Row::provisional(provisional);
        // What is final is not provisional any more; a run that was killed may not know.
        if stored.get(&(row.series, row.start)).is_none_or(|before| before.revision == 0) {
            rows.insert((row.series, row.start), row);
        }
    }
    for (provisional, reason) in &batch.provisionals_withdrawn {
        let key = &(provisional.series(), provisional.start);
        if let Some(before) = stored.get(key).filter(|before| before.standing == Standing::Provisional) {
            rows.insert(*key, Row { standing: Standing::Withdrawn(reason.clone()), ..before.clone() });
        }
    }
    rows.extend(final_rows.map(|row| ((row.series, row.start), row)));
    rows.into_values().collect()
}

fn next(change: &Change, policy: &Policy, stored: &HashMap<(SeriesId, Time), Row>) -> Option<Row> {
    let bucket = change.latest()?.bucket;
    // Most batches meet no stored anomaly at all; they need no key.
    let before = if stored.is_empty() { None } else { stored.get(&(bucket.series(), bucket.start)) };
    let after = match (change.new.and_then(|verdict| Row::of(&verdict, policy)), before) {
        (Some(row), _) => row,
        (None, Some(before)) if !matches!(before.standing, Standing::Withdrawn(_)) => {
            Row { standing: Standing::Withdrawn(reason(change, before, policy)), ..before.clone() }
        }
        (None, _) => return None,
    };
    match before {
        Some(before) if before.says_the_same(&after) => None,
        Some(before) => Some(Row { revision: before.revision + 1, ..after }),
        None => Some(after),
    }
}

/// Whether a stored number is that of a verdict.
fn is_same(stored: f64, said: f64) -> bool {
    stored.to_bits() == finite(said).to_bits()
}

/// Why an anomaly no longer holds, for a person.
fn reason(change: &Change, before: &Row, policy: &Policy) -> String {
    let Some(verdict) = change.new else { return "the bucket no longer exists".to_string() };
    let (state, score) = (verdict.state, verdict.score);
    match (state, score, verdict.bucket.aggregate) {
        (State::Silenced, ..) => "a silence covers the bucket".to_string(),
        (State::Accompanying, ..) => "another metric of the entity is further from what is expected of it, and speaks for both".to_string(),
        (State::Missing, ..) => "the bucket has no samples any more".to_string(),
        (State::Unscored(Unscored::NoModel | Unscored::Warming), ..) => "no model scores the bucket any more".to_string(),
        (State::Unscored(Unscored::Reset), ..) => "the counter began anew in the bucket".to_string(),
        (_, Some(score), Some(aggregate)) => {
            let limits = policy.limits(verdict.bucket.metric);
            let within = match limits.missed(aggregate.mean.0, score.expected.0, score.z_score.0) {
                Some(Missed::Side) => "it is off to the side that is not told of".to_string(),
                Some(Missed::Minimum) => "the deviation is below the minimum".to_string(),
                Some(Missed::Threshold) | None => {
                    format!("z_score {:.2} is within the threshold of {}", score.z_score.0, limits.threshold)
                }
            };
            let (was, is) = (number(before.actual), number(aggregate.mean.0));
            let known = change.old.as_ref().and_then(|old| old.bucket.aggregate).map(|old| aggregate.count.saturating_sub(old.count));
            match known {
                _ if before.standing == Standing::Provisional => format!("the complete bucket has a mean of {is}, not {was}: {within}"),
                _ if is_same(before.actual, aggregate.mean.0) && is_same(before.z_score, score.z_score.0) => {
                    format!("the limits are others now: {within}")
                }
                _ if is_same(before.actual, aggregate.mean.0) => {
                    format!("another model expects {} instead of {}: {within}", number(score.expected.0), number(before.expected))
                }
                Some(1) => format!("a late sample moved the mean from {was} to {is}: {within}"),
                Some(late) if late > 1 => format!("{late} late samples moved the mean from {was} to {is}: {within}"),
                _ => format!("late samples moved the mean from {was} to {is}: {within}"),
            }
        }
        _ => "the bucket is normal".to_string(),
    }
}

/// An anomaly as it is told, from the names and the columns of its row.
pub(super) fn told(name: SeriesName, row: &Row, anomaly_score: f64) -> Result<Anomaly, String> {
    let severity = super::incident::severity(&row.severity).ok_or_else(|| format!("table anomalies: '{}' is no severity", row.severity))?;
    Ok(Anomaly {
        name,
        start: row.start,
        severity,
        anomaly_score,
        actual_value: row.actual,
        expected_value: row.expected,
        z_score: row.z_score,
        status: row.status().to_string(),
        withdrawn_reason: row.withdrawn_reason().map(ToString::to_string),
    })
}

/// A number of `details` from its JSON text, which the stores keep digit for digit; their own conversion may be a bit off.
pub(super) fn number_of(json: Option<&str>) -> Result<f64, String> {
    json.and_then(|text| text.parse().ok()).ok_or_else(|| "table anomalies: a number is missing from details".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, Direction, EntityId, Limits, MetricId, Number, Score, Severity};

    fn verdict(z_score: f64) -> Verdict {
        let aggregate = Aggregate { count: 60, mean: Number(z_score), min: Number(0.0), max: Number(9.0), stddev: Number(1.0) };
        let bucket = Bucket { entity: EntityId(1), metric: MetricId(2), start: 300_000, aggregate: Some(aggregate) };
        let score = Score { expected: Number(0.0), sigma: Number(1.0), z_score: Number(z_score) };
        let state = if z_score.abs() > 3.0 { State::Anomalous } else { State::Normal };
        Verdict { bucket, score: Some(score), state }
    }

    fn batch(new: Option<Verdict>) -> Batch {
        Batch { changes: vec![Change { old: Some(Box::new(verdict(0.0))), new }], ..Batch::default() }
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
        let reason = "late samples moved the mean from 4.2 to 1: z_score 1.00 is within the threshold of 3";
        assert_eq!(withdrawn[0].withdrawn_reason(), Some(reason));
        assert_eq!(changes(&batch(Some(verdict(1.0))), &stored(&withdrawn)), []);
        let again = changes(&batch(Some(verdict(4.2))), &stored(&withdrawn));
        assert_eq!((again[0].status(), again[0].revision), ("open", 3));
        assert!(changes(&batch(None), &stored(&open))[0].withdrawn_reason().is_some());
    }

    #[test]
    fn what_other_limits_take_back_is_said_to_be_taken_back_by_them() {
        let open = changes(&batch(Some(verdict(4.2))), &HashMap::new());
        let normal = Verdict { state: State::Normal, ..verdict(4.2) };
        let told = |limits: Limits| {
            let policy = Policy { limits, ..Policy::default() };
            Batch { policy, ..batch(Some(normal)) }
        };
        let because = |limits| changes(&told(limits), &stored(&open))[0].withdrawn_reason().unwrap().to_owned();
        let limits = Limits::default();
        assert_eq!(
            because(Limits { direction: Direction::Below, ..limits }),
            "the limits are others now: it is off to the side that is not told of"
        );
        assert_eq!(because(Limits { minimum_absolute: 9.0, ..limits }), "the limits are others now: the deviation is below the minimum");
        assert_eq!(because(Limits { threshold: 5.0, ..limits }), "the limits are others now: z_score 4.20 is within the threshold of 5");
    }

    #[test]
    fn the_number_of_late_samples_is_told_where_it_is_known() {
        let open = changes(&batch(Some(verdict(4.2))), &HashMap::new());
        let mut more = verdict(1.0);
        more.bucket.aggregate.iter_mut().for_each(|aggregate| aggregate.count += 14);
        let change = Change { old: Some(Box::new(verdict(4.2))), new: Some(more) };
        let told = changes(&Batch { changes: vec![change], ..Batch::default() }, &stored(&open));
        assert!(told[0].withdrawn_reason().unwrap().starts_with("14 late samples moved the mean from 4.2 to 1"), "{told:?}");
    }

    #[test]
    fn a_provisional_anomaly_is_confirmed_or_withdrawn_by_its_bucket_and_never_the_other_way() {
        let (seen, score) = (verdict(9.0).bucket, verdict(9.0).score.unwrap());
        let provisional = Provisional {
            entity: seen.entity,
            metric: seen.metric,
            start: seen.start,
            value: Number(9.0),
            score,
            severity: Severity::Critical,
        };
        let early = Batch { provisionals: vec![provisional], ..Batch::default() };
        let first = changes(&early, &HashMap::new());
        assert_eq!((first[0].status(), first[0].revision), ("provisional", 0));
        let confirmed = changes(&batch(Some(verdict(4.2))), &stored(&first));
        assert_eq!((confirmed[0].status(), confirmed[0].revision), ("open", 1));
        let withdrawn = changes(&batch(Some(verdict(1.0))), &stored(&first));
        assert!(withdrawn[0].withdrawn_reason().unwrap().starts_with("the complete bucket has a mean of 1, not 9"));
        assert_eq!(changes(&early, &stored(&confirmed)), []);
        let calmed = Batch { provisionals_withdrawn: vec![(provisional, "calm".into())], ..Batch::default() };
        assert_eq!(changes(&calmed, &stored(&first))[0].withdrawn_reason(), Some("calm"));
        assert_eq!(changes(&calmed, &stored(&confirmed)), []);
    }

    #[test]
    fn a_score_beyond_all_bounds_is_still_json() {
        let row = Row::of(&verdict(f64::INFINITY), &Policy::default()).unwrap();
        assert!(row.details("m").contains("e+308") || row.details("m").contains("e308"));
        assert_eq!(row.anomaly_score(), 1.0);
    }
}
