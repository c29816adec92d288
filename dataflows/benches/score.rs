//! What a scored bucket costs: the arithmetic of each method alone, and the whole scorer with episodes.
//!
//! `cargo bench -p dataflows --bench score` measures; `cargo test` runs the same on a little input, to see that it works.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a measurement looks at clocks

use dataflows::model::{Method, MetricType, Model, Seasonal};
use dataflows::scorer::{Scorer, TOGETHER};
use dataflows::{Aggregate, Bucket, EntityId, MetricId, Number, Policy, Time, Track, Tracker};
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

const WIDTH: Time = 300_000;
/// Measurements of which the best counts: other work on the machine only ever adds.
const TRIES: usize = 5;

/// A day-shaped value that is never twice the same.
fn value(i: i64, series: u64) -> f64 {
    let noise = (i.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(series) >> 40) as f64 / f64::from(1_u32 << 24);
    50.0 + 10.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin() + noise
}

fn model(method: Method) -> Arc<Model> {
    let profile = (0..288).map(|i| 10.0 * (f64::from(i) / 288.0 * std::f64::consts::TAU).sin()).collect();
    Arc::new(Model {
        bucket_width: WIDTH,
        trained_from: 0,
        trained_until: 0,
        level: 50.5,
        sigma: 0.3,
        seasonal: Seasonal::Daily(profile),
        calendar: Arc::default(),
        method,
        metric_type: MetricType::Gauge,
        cadence: dataflows::Cadence::Steady,
    })
}

fn follows() -> Method {
    let primed = Track::fresh(0, WIDTH, 50.5, 50.5);
    Method::SeasonalLevel(Box::new(Tracker {
        slow_scale: 0.3,
        fast_scale: 0.3,
        shift_scale: Some(0.3),
        drift_scale: 0.3,
        stuck_after: None,
        rare_spike: 4.75,
        metrics: 6,
        primed,
    }))
}

/// Nanoseconds a bucket of one series after another, by the model alone.
fn arithmetic(model: &Model, buckets: i64) -> f64 {
    let started = Instant::now();
    let mut track = None;
    for i in 0..buckets {
        let (score, after) = model.score(track.as_deref(), i * WIDTH, value(i, 1), 30);
        black_box(score);
        track = after;
    }
    started.elapsed().as_secs_f64() * 1e9 / buckets as f64
}

/// Nanoseconds a bucket of many series, side by side as they come, with verdicts and episodes.
fn scorer(method: &Method, series: u64, buckets: i64) -> f64 {
    let mut scorer = Scorer::new(Policy { bucket_width: WIDTH, lateness: 12 * WIDTH, ..Policy::default() });
    let model = model(method.clone());
    let bucket = |entity: u64, start: Time, mean: f64| {
        let mean = Number(mean);
        let aggregate = Some(Aggregate { count: 60, mean, min: mean, max: mean, stddev: Number(0.1) });
        Bucket { entity: EntityId(entity), metric: MetricId(1), start, aggregate }
    };
    for entity in 0..series {
        scorer.learn(bucket(entity, 0, 0.0).series(), Arc::clone(&model), &mut |_, _| ());
    }
    let started = Instant::now();
    let mut said = 0_u64;
    for i in 0..buckets {
        let moment: Vec<Bucket> = (0..series).map(|entity| bucket(entity, i * WIDTH, value(i, entity))).collect();
        moment.chunks(TOGETHER).for_each(|some| scorer.score(some.iter(), &mut |_, _| said += 1));
        scorer.finish(Some(i * WIDTH), &mut |_, _| said += 1, &mut |_, _| (), &mut |_, _| ());
    }
    assert!(said >= series * buckets.cast_unsigned(), "every bucket has a verdict");
    started.elapsed().as_secs_f64() * 1e9 / (series as f64 * buckets as f64)
}

fn main() {
    let (series, buckets) = if std::env::args().any(|argument| argument == "--bench") { (10_000, 100) } else { (20, 20) };
    let best = |measure: &dyn Fn() -> f64| (0..TRIES).map(|_| measure()).fold(f64::INFINITY, f64::min);
    for (name, method) in [("seasonal_level", follows()), ("stl_zscore", Method::StlZscore)] {
        let alone = best(&|| arithmetic(&model(method.clone()), 1_000 * buckets));
        let whole = best(&|| scorer(&method, series, buckets));
        let line = format!("{name:<15}  arithmetic {alone:8.1} ns a bucket   scorer, {series} series {whole:8.1} ns a bucket");
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
