//! The graph against the oracle, over random logs with late, early and out-of-order records.

mod harness;

use dataflows::{MetricId, Model, Seasonal, SeriesId, State};
use harness::{Line, Log, Models, NOW, Reading, WIDTH, graph, oracle};
use proptest::prelude::*;
use std::sync::Arc;

/// Entity, jitter, samples.
type Draw = (u64, i64, Vec<(u32, f64)>);

/// A record a little before or after where its partition has come to; now and then far off.
fn line(steps: usize) -> impl Strategy<Value = Draw> {
    let jitter = prop_oneof![12 => -200i64..60, 3 => -1_500i64..0, 1 => Just(NOW * 2)];
    let samples = prop::collection::vec((0u32..3, (-400i32..400).prop_map(|quarter| f64::from(quarter) / 4.0)), 1..4);
    (0..(2 + steps as u64 % 4), jitter, samples)
}

/// Up to four partitions of up to eighty records that go forward by about a minute each.
fn logs() -> impl Strategy<Value = Log> {
    let partition = (prop::collection::vec((line(3), 0i64..120), 0..80), any::<bool>());
    prop::collection::vec(partition, 1..5).prop_map(|partitions| {
        let lines = |(number, (lines, shared)): (usize, (Vec<(Draw, i64)>, bool))| {
            let mut time = 100_000;
            let place = |((entity, jitter, samples), step): (Draw, i64)| {
                time += step;
                let entity = if shared { entity } else { entity + 10 * (number as u64 + 1) };
                let mut samples = samples;
                samples.sort_by_key(|sample| sample.0);
                samples.dedup_by_key(|sample| sample.0);
                Line { entity, time: time + jitter, samples }
            };
            lines.into_iter().map(place).collect()
        };
        partitions.into_iter().enumerate().map(lines).collect()
    })
}

fn readings() -> impl Strategy<Value = Reading> {
    let workers = prop_oneof![Just(1usize), Just(2), Just(4), Just(8)];
    (workers, prop::collection::vec(1usize..30, 1..5)).prop_map(|(workers, batches)| Reading { workers, batches, models_epoch: 0 })
}

/// Models of some series, with training that ended in the middle of the log.
fn models() -> Models {
    let mut models = Models::new();
    for number in (0..6).chain(10..16).chain(20..26) {
        let owner = harness::entity(number);
        for (trained_until, level) in [(90_000, 5.0), (102_000, 50.0)] {
            let seasonal = Seasonal::Daily(vec![0.0, 1.0, 2.0, 3.0]);
            let model = Model { bucket_width: WIDTH, trained_from: 0, trained_until, level, sigma: 7.0, seasonal };
            models.push((owner.0, SeriesId::of(owner, MetricId(1)), Arc::new(model)));
        }
    }
    // As the graph keeps them: newest training first.
    models.sort_by_key(|model| std::cmp::Reverse(model.2.trained_until));
    models
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, .. ProptestConfig::default() })]

    /// Any workers, any batches: always what the oracle says, bit for bit.
    #[test]
    fn the_graph_says_what_the_oracle_says(log in logs(), reading in readings()) {
        // A series in several partitions is judged by where its peers are at that moment; alone it is a function of the log.
        let log: Log = log.into_iter().enumerate().map(|(number, lines)| {
            lines.into_iter().map(|line| Line { entity: line.entity + 100 * number as u64, ..line }).collect()
        }).collect();
        let models = models();
        prop_assert_eq!(graph(&log, &models, &reading, &[]), oracle(&log, &models));
    }

    /// Partitions that share entities: the aggregates and scores are the oracle's.
    #[test]
    fn shared_entities_are_merged_over_partitions(log in logs(), reading in readings()) {
        let models = models();
        let seen = |relation: std::collections::BTreeMap<_, dataflows::Verdict>| {
            relation.into_iter().filter(|entry| entry.1.state != State::Missing).collect::<Vec<_>>()
        };
        prop_assert_eq!(seen(graph(&log, &models, &reading, &[])), seen(oracle(&log, &models)));
    }
}
