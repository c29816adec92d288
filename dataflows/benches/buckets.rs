//! What an event costs to add to its buckets: six samples each of many entities, side by side as they come.
//!
//! `cargo bench -p dataflows --bench buckets` measures; `cargo test` runs the same on a little input, to see that it works.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a measurement looks at clocks

use dataflows::accumulator::Accumulator;
use dataflows::buckets::Buckets;
use dataflows::{Activity, EVENT_WIDTH, EntityId, Event, MetricId, Report, Time, Timing};
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

const TIMING: Timing =
    Timing { bucket_width: 300_000, out_of_orderness: 120_000, lateness: 0, skew: 0, forget: 86_400_000, patience: 0, floor: Time::MIN };
/// Between two events of an entity, in milliseconds.
const INTERVAL: Time = 10_000;
/// Measurements of which the best counts: other work on the machine only ever adds.
const TRIES: usize = 5;

fn value(i: i64, entity: u64) -> f64 {
    ((i.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(entity) >> 40) % 50_000) as f64 / 100.0
}

fn event(round: i64, entity: u64) -> Event {
    let mut event = Event::empty(EntityId::of("server", &entity.to_string()), round * INTERVAL, 0);
    for metric in 0..EVENT_WIDTH as u32 {
        event.push(MetricId(metric), value(round + i64::from(metric), entity));
    }
    event
}

/// Nanoseconds a sample, added to one bucket.
fn accumulate(samples: i64) -> f64 {
    let started = Instant::now();
    let mut accumulator = Accumulator::default();
    (0..samples).for_each(|i| accumulator.add(black_box(value(i, 1))));
    assert!(accumulator.aggregate().is_some_and(|aggregate| aggregate.count == samples.cast_unsigned()));
    started.elapsed().as_secs_f64() * 1e9 / samples as f64
}

/// Nanoseconds an event, with the closing of its buckets.
fn add(entities: u64, rounds: i64) -> f64 {
    let events: Vec<Event> = (0..30).flat_map(|round| (0..entities).map(move |entity| event(round, entity))).collect();
    let mut buckets = Buckets::new(TIMING, Time::MIN, false);
    let (mut said, started) = (0_u64, Instant::now());
    for round in 0..rounds {
        // Thirty rounds are a bucket: the same events again, one bucket later.
        let later = round / 30 * TIMING.bucket_width;
        let first = (round % 30).unsigned_abs() as usize * entities as usize;
        for event in &events[first..first + entities as usize] {
            buckets.add(&Event { time: event.time + later, ..*event });
        }
        let watermark = round * INTERVAL - TIMING.out_of_orderness;
        buckets.finish(&[Report::Watermark { partition: 0, watermark, activity: Activity::Active }], &mut |_, _| said += 1);
    }
    buckets.finish(&[Report::Watermark { partition: 0, watermark: Time::MAX, activity: Activity::Ended }], &mut |_, _| said += 1);
    assert_eq!(said, entities * EVENT_WIDTH as u64 * rounds.unsigned_abs().div_ceil(30), "each bucket is said once");
    started.elapsed().as_secs_f64() * 1e9 / (entities as f64 * rounds as f64)
}

fn main() {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let best = |measure: &dyn Fn() -> f64| (0..TRIES).map(|_| measure()).fold(f64::INFINITY, f64::min);
    let alone = best(&|| accumulate(if measured { 3_000_000 } else { 1_000 }));
    let _ = writeln!(std::io::stdout(), "accumulator  {alone:6.1} ns a sample");
    for entities in if measured { [167, 1_667, 16_667] } else { [1, 2, 3] } {
        let whole = best(&|| {
            add(entities, if measured { 2_400_000 / i64::try_from(entities).unwrap_or(1) / 30 * 30 } else { 60 }.clamp(60, 3_000))
        });
        let series = entities * EVENT_WIDTH as u64;
        let _ = writeln!(std::io::stdout(), "buckets      {whole:6.1} ns an event of {EVENT_WIDTH} samples, {series} series");
    }
}
