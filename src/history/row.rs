//! A verdict as a row of `buckets`, the same in both stores.

use dataflows::{Aggregate, EntityId, MetricId, Number, Score, SeriesId, State, Time, Verdict};
use std::collections::BTreeMap;

/// The columns of `buckets`, in the order in which they are written and read.
pub(super) const COLUMNS: &str = "series_id, bucket_start, count, mean, min, max, stddev, expected, sigma, z_score, state";

/// A series as its column holds it: SQL has no unsigned integers.
pub(super) fn key(series: SeriesId) -> i64 {
    series.0.cast_signed()
}

/// The series that [`key`] wrote.
pub(super) fn series_of(key: i64) -> SeriesId {
    SeriesId(key.cast_unsigned())
}

/// Where a verdict stands in `buckets`: its key, in the order in which a batch that is stored has its changes, and SQLite its rows.
pub fn place_of(verdict: &Verdict) -> (Time, i64) {
    (verdict.bucket.start, key(verdict.bucket.series()))
}

/// The columns `mean` to `z_score` of a verdict: no aggregate for a missing bucket, no score for an unscored one.
pub(super) fn numbers(verdict: &Verdict) -> [Option<f64>; 7] {
    let aggregate = verdict.bucket.aggregate;
    let score = verdict.score;
    [
        aggregate.map(|aggregate| aggregate.mean.0),
        aggregate.map(|aggregate| aggregate.min.0),
        aggregate.map(|aggregate| aggregate.max.0),
        aggregate.map(|aggregate| aggregate.stddev.0),
        score.map(|score| score.expected.0),
        score.map(|score| score.sigma.0),
        score.map(|score| score.z_score.0),
    ]
}

/// The column `count` of a verdict: 0 for a missing bucket.
pub(super) fn count(verdict: &Verdict) -> i64 {
    verdict.bucket.aggregate.map_or(0, |aggregate| aggregate.count.cast_signed())
}

/// The verdict that a row holds; a sentence where it holds none.
pub(super) fn verdict(
    (entity, metric): (EntityId, MetricId),
    start: Time,
    count: i64,
    numbers: [Option<f64>; 7],
    state: &str,
) -> Result<Verdict, String> {
    let [mean, min, max, stddev, expected, sigma, z_score] = numbers.map(|number| number.map(Number));
    let state = State::parse(state).ok_or_else(|| format!("table buckets: '{state}' is no state"))?;
    let aggregate = match (count, mean, min, max, stddev) {
        (0, ..) => None,
        (count, Some(mean), Some(min), Some(max), Some(stddev)) => Some(Aggregate { count: count.cast_unsigned(), mean, min, max, stddev }),
        _ => return Err(format!("table buckets: a bucket at {start} has samples and no aggregate")),
    };
    let score = match (expected, sigma, z_score) {
        (Some(expected), Some(sigma), Some(z_score)) => Some(Score { expected, sigma, z_score }),
        _ => None,
    };
    Ok(Verdict { bucket: dataflows::Bucket { entity, metric, start, aggregate }, score, state })
}

/// Labels as JSON. No store takes NUL inside a text (see [`text`]).
pub(super) fn labels_to_json(labels: &BTreeMap<String, String>) -> String {
    let object = labels.iter().map(|(name, value)| (text(name).into_owned(), text(value).into_owned().into()));
    serde_json::Value::Object(object.collect()).to_string()
}

/// The labels that [`labels_to_json`] wrote.
pub(super) fn labels_from_json(json: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(json).map_err(|error| format!("table series: labels are not an object of texts: {error}"))
}

/// A text that every store takes: PostgreSQL refuses NUL, and one hostile name must not stop every later commit.
pub(super) fn text(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// Buckets of two widths in one relation would overlap.
pub(super) fn check_width(known: Time, wanted: Time) -> Result<(), String> {
    if known == wanted {
        return Ok(());
    }
    let seconds = |width: Time| std::time::Duration::from_millis(width.unsigned_abs());
    Err(format!(
        "this source was watched with buckets of {:?}, not {:?}: give --bucket {:?}, or another history",
        seconds(known),
        seconds(wanted),
        seconds(known)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_survives_the_sign_of_its_column() {
        for id in [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1] {
            assert_eq!(series_of(key(SeriesId(id))), SeriesId(id));
        }
    }

    #[test]
    fn labels_survive_and_lose_only_their_nuls() {
        let labels = BTreeMap::from([("rack_id".to_string(), "rack-A \"é\" \\u0000".to_string()), ("n".into(), "a\0b".into())]);
        let read = labels_from_json(&labels_to_json(&labels)).unwrap();
        assert_eq!(read["rack_id"], labels["rack_id"]);
        assert_eq!(read["n"], "a\u{fffd}b");
    }

    #[test]
    fn a_row_that_holds_no_verdict_is_named() {
        let identity = (EntityId(1), MetricId(2));
        assert!(verdict(identity, 0, 1, [None; 7], "normal").is_err());
        assert!(verdict(identity, 0, 0, [None; 7], "quiet").unwrap_err().contains("quiet"));
    }
}
