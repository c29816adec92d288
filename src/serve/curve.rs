//! One series over time: what was seen, what was expected, and how far apart they may be.

use super::Site;
use super::desk::{Problem, Stores};
use super::overview::Span;
use crate::history::view::{self, AnomalyRow};
use crate::instant;
use crate::models::Trained;
use crate::series::SeriesName;
use axum::Json;
use axum::extract::{Path, Query, State};
use dataflows::{MetricId, State as Standing, Time, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const HOUR: Time = 3_600_000;
const DAY: Time = 24 * HOUR;

/// The median of fewer normal buckets says little: two hours of five minutes.
const FEW: usize = 24;

/// Spans longer than this are told by the hour.
const DETAILED: Time = 2 * DAY;

/// So much before the end of a span is taken apart: the window of training.
const PARTED: Time = 14 * DAY;

/// Trend and seasonal part by the start of the bucket.
type Parts = BTreeMap<Time, [f64; 2]>;

/// Sigma by the hours since the epoch.
type Usual = BTreeMap<Time, f64>;

/// `GET /api/v1/series/{series}`: its points with what STL takes them apart to, and its anomalies whatever became of them.
///
/// # Errors
/// No such series, no span, or a history that cannot be read.
pub async fn curve(State(site): State<Arc<Site>>, Path(name): Path<String>, Query(span): Query<Span>) -> Result<Json<Value>, Problem> {
    let series: SeriesName = name.parse().map_err(Problem::Wrong)?;
    let (length, until) = (span.length("24h")?, span.until(&site)?);
    let (width, threshold) = (site.width, site.policy.limits(MetricId::of(&series.metric)).threshold);
    let (from, take_apart) = (until - length, site.take_apart);
    let step = if length > DETAILED { 3_600_000.max(width) } else { width };
    let work = move |stores: &mut Stores| {
        let model = stores.model(&series);
        let history = stores.history()?;
        if !history.series()?.iter().any(|known| known.name == series) {
            return Err(Problem::NotFound(format!("there is no series {series}")));
        }
        let all = history.verdicts_of(&series, from - DAY, until)?;
        let (usual, verdicts) = (usual(&all, from), &all[all.partition_point(|verdict| verdict.bucket.start < from)..]);
        let parts = take_apart(&history.training_rows(&[series.id()], until - PARTED, until)?, until, width);
        let anomalies: Vec<Value> = view::anomalies(history, &series, from, until)?.iter().map(anomaly).collect();
        let beside = verdicts.iter().filter(|verdict| verdict.state == Standing::Accompanying).count();
        let speakers = if beside == 0 { BTreeMap::new() } else { view::speakers(history, &series, from, until)? };
        let points: Vec<Value> = if step == width {
            verdicts.iter().map(|verdict| point(verdict, &parts, &usual)).collect()
        } else {
            verdicts.chunk_by(|one, other| hour(one, step) == hour(other, step)).map(|hour| together(hour, step, &parts, &usual)).collect()
        };
        Ok(json!({
            "series": series.to_string(), "entity_type": series.entity_type, "entity_id": series.entity_id, "metric": series.metric,
            "from": instant::format(from), "until": instant::format(until), "step_seconds": step / 1000, "threshold": threshold,
            "model": model.as_ref().map(made), "points": points, "anomalies": anomalies,
            "accompanying": { "buckets": beside, "speakers": speakers.iter().map(speaker).collect::<Vec<_>>() },
        }))
    };
    site.desk.look(format!("curve {name} {length} {until}"), work).await.map(Json)
}

/// A series that speaks for another one, and in how many buckets.
fn speaker((series, buckets): (&SeriesName, &i64)) -> Value {
    json!({ "series": series.to_string(), "metric": series.metric, "buckets": buckets })
}

/// How a model was made.
fn made(trained: &Trained) -> Value {
    json!({
        "method": trained.provenance.method, "level": trained.model.level, "sigma": trained.model.sigma, "buckets": trained.provenance.buckets,
        "trained_from": instant::format(trained.model.trained_from), "trained_until": instant::format(trained.model.trained_until),
    })
}

/// The sigma that is usual by the hour, for those after `from`: the median of the normal buckets of the hour and of the day before, of the day after as well
/// where those are few, or of all that have a score where none is normal. A method may divide by quite another sigma in each bucket, which would be no band
/// to look at.
fn usual(verdicts: &[Verdict], from: Time) -> Usual {
    let at = |time: Time| verdicts.partition_point(|verdict| verdict.bucket.start < time);
    let mut usual = Usual::new();
    for hour in verdicts[at(from)..].chunk_by(|one, other| hour(one, HOUR) == hour(other, HOUR)).map(|verdicts| hour(&verdicts[0], HOUR)) {
        let sigmas = |after: Time, wanted: &dyn Fn(Standing) -> bool| -> Vec<f64> {
            let near = verdicts[at(hour * HOUR - DAY)..at((hour + 1) * HOUR + after)].iter();
            near.filter(|verdict| wanted(verdict.state)).filter_map(|verdict| Some(verdict.score?.sigma.0)).collect()
        };
        let normal = |after: Time| sigmas(after, &|state| state == Standing::Normal);
        let mut usually = normal(0);
        if usually.len() < FEW {
            usually = normal(DAY);
        }
        if usually.is_empty() {
            usually = sigmas(0, &|_| true);
        }
        usually.sort_unstable_by(f64::total_cmp);
        usual.extend(usually.get(usually.len() / 2).map(|sigma| (hour, *sigma)));
    }
    usual
}

/// One bucket.
fn point(verdict: &Verdict, parts: &Parts, usual: &Usual) -> Value {
    let (start, aggregate, score) = (verdict.bucket.start, verdict.bucket.aggregate, verdict.score);
    let parts = parts.get(&start);
    json!({
        "timestamp": instant::format(start), "state": verdict.state.as_str(), "count": aggregate.map_or(0, |aggregate| aggregate.count),
        "mean": aggregate.map(|aggregate| aggregate.mean.0), "min": aggregate.map(|aggregate| aggregate.min.0),
        "max": aggregate.map(|aggregate| aggregate.max.0), "expected": score.map(|score| score.expected.0),
        "sigma": score.map(|score| score.sigma.0), "usual_sigma": usual.get(&hour(verdict, HOUR)), "z_score": score.map(|score| score.z_score.0),
        "trend": parts.map(|parts| parts[0]), "seasonal": parts.map(|parts| parts[1]),
    })
}

fn hour(verdict: &Verdict, step: Time) -> Time {
    verdict.bucket.start.div_euclid(step)
}

/// The buckets of one hour as one point: means weighted by samples, the extremes, and the z_score that is furthest from 0.
#[allow(clippy::cast_precision_loss)] // samples of an hour
fn together(verdicts: &[Verdict], step: Time, parts: &Parts, usual: &Usual) -> Value {
    let aggregates = || verdicts.iter().filter_map(|verdict| verdict.bucket.aggregate);
    let scores = || verdicts.iter().filter_map(|verdict| verdict.score);
    let count: u64 = aggregates().map(|aggregate| aggregate.count).sum();
    let mean = aggregates().map(|aggregate| aggregate.mean.0 * aggregate.count as f64).sum::<f64>() / count as f64;
    let scored = scores().count() as f64;
    let average = |sum: f64| (scored > 0.0).then(|| sum / scored);
    let z_score = scores().map(|score| score.z_score.0).max_by(|one, other| one.abs().total_cmp(&other.abs()));
    let known: Vec<[f64; 2]> = verdicts.iter().filter_map(|verdict| parts.get(&verdict.bucket.start).copied()).collect();
    let part = |i: usize| (!known.is_empty()).then(|| known.iter().map(|parts| parts[i]).sum::<f64>() / known.len() as f64);
    let is = |state: Standing| verdicts.iter().any(|verdict| verdict.state == state);
    let state = [Standing::Anomalous, Standing::Accompanying, Standing::Missing, Standing::Silenced].into_iter().find(|state| is(*state));
    json!({
        "timestamp": verdicts.first().map(|verdict| instant::format(hour(verdict, step) * step)),
        "state": state.or(verdicts.last().map(|verdict| verdict.state)).map(Standing::as_str), "count": count,
        "mean": (count > 0).then_some(mean),
        "min": aggregates().map(|aggregate| aggregate.min.0).min_by(f64::total_cmp),
        "max": aggregates().map(|aggregate| aggregate.max.0).max_by(f64::total_cmp),
        "expected": average(scores().map(|score| score.expected.0).sum()), "sigma": average(scores().map(|score| score.sigma.0).sum()),
        "usual_sigma": verdicts.first().and_then(|verdict| usual.get(&hour(verdict, HOUR))), "z_score": z_score, "trend": part(0), "seasonal": part(1),
    })
}

/// An anomaly as it is told.
pub fn anomaly(row: &AnomalyRow) -> Value {
    let [actual, expected, z_score] = row.details;
    json!({
        "series": row.name.to_string(), "timestamp": instant::format(row.start), "severity": row.severity, "status": row.status,
        "withdrawn_reason": row.withdrawn_reason, "revision": row.revision, "actual_value": actual, "expected_value": expected,
        "z_score": z_score,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, EntityId, Number, Score};

    fn verdict(start: Time, count: u64, mean: f64, z_score: f64) -> Verdict {
        let aggregate = Aggregate { count, mean: Number(mean), min: Number(mean - 1.0), max: Number(mean + 1.0), stddev: Number(1.0) };
        let bucket = Bucket { entity: EntityId(1), metric: MetricId(2), start, aggregate: Some(aggregate) };
        let score = Score { expected: Number(10.0), sigma: Number(2.0), z_score: Number(z_score) };
        Verdict { bucket, score: Some(score), state: if z_score.abs() > 3.0 { Standing::Anomalous } else { Standing::Normal } }
    }

    #[test]
    fn an_hour_weighs_its_buckets_and_keeps_the_worst_of_them() {
        let hour = together(
            &[verdict(3_600_000, 10, 10.0, 0.5), verdict(3_900_000, 30, 14.0, -4.0), verdict(4_200_000, 0, 0.0, 1.0)],
            3_600_000,
            &Parts::new(),
            &Usual::new(),
        );
        assert_eq!(hour["timestamp"], "1970-01-01T01:00:00Z");
        assert_eq!((hour["mean"].as_f64(), hour["z_score"].as_f64()), (Some(13.0), Some(-4.0)));
        assert_eq!((hour["state"].as_str(), hour["count"].as_u64()), (Some("anomalous"), Some(40)));
        assert_eq!((hour["expected"].as_f64(), hour["sigma"].as_f64()), (Some(10.0), Some(2.0)));
    }

    #[test]
    fn the_usual_sigma_is_that_of_normal_buckets_about_then() {
        let with = |hour: Time, sigma: f64, z_score: f64| {
            let verdict = verdict(hour * HOUR, 10, 10.0, z_score);
            Verdict { score: verdict.score.map(|score| Score { sigma: Number(sigma), ..score }), ..verdict }
        };
        let verdicts =
            [with(1, 9.0, 0.0), with(30, 2.0, 0.0), with(31, 4.0, 0.0), with(32, 3.0, 0.0), with(33, 50.0, 9.0), with(90, 7.0, 9.0)];
        let usual = usual(&verdicts, 32 * HOUR);
        assert_eq!(usual, Usual::from([(32, 3.0), (33, 3.0), (90, 7.0)]), "an anomaly counts only where there is nothing else");
    }
}
