//! The graph against the oracle, over random logs with late, early and out-of-order records.

mod harness;

use dataflows::{
    Cadence, Calibration, Method, MetricId, MetricType, Model, Seasonal, Silence, Stage, State, Time, Track, Tracker, Warming,
};
use harness::{Facts, Line, Log, Models, NOW, Reading, WIDTH, graph, oracle};
use proptest::prelude::*;
use std::collections::BTreeSet;
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

/// A small history: scales such that some buckets are anomalous, and a block of peaks that is soon full.
fn tracker(last_start: Time) -> Tracker {
    let mut calibration = Calibration::default();
    calibration.spike.add(4.0, 1.0);
    calibration.spike_divisor = calibration.spike.divisor(1.5, 4.75);
    calibration.shift.add(3.0, 1.0);
    calibration.shift_divisor = calibration.shift.divisor(0.8, 4.0).max(dataflows::Number(calibration.spike_divisor.0 / 2.0));
    let primed = Track { last: 3.0, block: 71_996.0, calibration: Arc::new(calibration), ..Track::fresh(last_start, 0, 1.0, 2.0) };
    Tracker {
        slow_scale: 12.0,
        fast_scale: 9.0,
        shift_scale: Some(9.0),
        drift_scale: 0.5,
        stuck_after: Some(3.0),
        rare_spike: 4.75,
        metrics: 4,
        primed,
    }
}

/// Models of some series, with training that ended in the middle of the log.
fn models(entities: impl Iterator<Item = u64>) -> Models {
    let mut models = Models::new();
    for number in entities.collect::<BTreeSet<_>>() {
        let owner = harness::entity(number);
        // The last training of metric 2 ends long after what it has seen: what is followed live knows more.
        let follows = |last_start| Method::SeasonalLevel(Box::new(tracker(last_start)));
        let warming = Method::Warming(Warming { seen: 3, needed: 288, as_of: 102_000 });
        let all = [
            (1, 90_000, 5.0, Method::StlZscore),
            (1, 102_000, 50.0, follows(101_700)),
            (2, 90_000, 0.0, follows(89_700)),
            (2, 102_000, 1.0, follows(95_000)),
            (0, 103_000, 0.0, Method::StlZscore),
            (0, 101_900, 0.0, warming.clone()),
            (0, 101_000, 0.0, warming.clone()),
            (1, 50_000, 0.0, warming.clone()),
            (2, 101_500, 0.0, warming),
        ];
        for (metric, trained_until, level, method) in all {
            let seasonal = Seasonal::Daily(vec![0.0, 1.0, 2.0, 3.0 + level]);
            // Of some entities, metric 2 is a counter: at first, always, or from the last training on.
            let counts = metric == 2 && (number % 3 == 0 || number % 3 == u64::from(trained_until > 100_000));
            let model = Model {
                bucket_width: WIDTH,
                trained_from: 0,
                trained_until,
                level,
                sigma: 12.0,
                seasonal,
                calendar: Arc::default(),
                method,
                metric_type: if counts { MetricType::Counter } else { MetricType::Gauge },
                cadence: cadence(metric, trained_until),
            };
            models.push((owner.0, MetricId(metric), Arc::new(model)));
        }
    }
    // As the graph keeps them: newest training first.
    models.sort_by_key(|model| std::cmp::Reverse(model.2.trained_until));
    models
}

/// Some series have samples now and then, or in the last of four phases, from one of their trainings on.
fn cadence(metric: u32, trained_until: Time) -> Cadence {
    match (metric, trained_until) {
        (1, 90_000) => Cadence::Within(3),
        (2, 102_000) => Cadence::Phases { weekday: vec![(0, 1), (3, 4)], weekend: vec![], longest: 3 },
        (0, 103_000) => Cadence::Unknown,
        _ => Cadence::Steady,
    }
}

/// Now and then, a silence over a few buckets of some entities.
fn silences() -> impl Strategy<Value = Option<Silence>> {
    let silence = (prop_oneof![Just("*"), Just("10?"), Just("201")], 100_000i64..105_000, 0i64..5_000);
    let silence =
        silence.prop_map(|(entity, from, length)| Silence { id: 1, entity: entity.into(), metric: None, from, until: from + length });
    prop::option::of(silence)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, .. ProptestConfig::default() })]

    /// Any workers, any batches: always what the oracle says, bit for bit.
    #[test]
    fn the_graph_says_what_the_oracle_says(log in logs(), reading in readings(), silence in silences()) {
        // A series in several partitions is judged by where its peers are at that moment; alone it is a function of the log.
        let log: Log = log.into_iter().enumerate().map(|(number, lines)| {
            lines.into_iter().map(|line| Line { entity: line.entity + 100 * number as u64, ..line }).collect()
        }).collect();
        let facts = Facts { models: models(log.iter().flatten().map(|line| line.entity)), silences: silence.into_iter().collect() };
        let (said, wanted) = (graph(&log, &facts, &reading, &[]), oracle(&log, &facts));
        prop_assert_eq!(&said.verdicts, &wanted.verdicts);
        prop_assert_eq!(&said.episodes, &wanted.episodes);
        prop_assert_eq!(&said.incidents, &wanted.incidents);
    }

    /// Partitions that share entities: the aggregates and scores are the oracle's.
    #[test]
    fn shared_entities_are_merged_over_partitions(log in logs(), reading in readings()) {
        let facts = Facts { models: models(log.iter().flatten().map(|line| line.entity)), silences: Vec::new() };
        let seen = |relation: harness::Relation| {
            relation.verdicts.into_iter().filter(|entry| entry.1.state != State::Missing).collect::<Vec<_>>()
        };
        prop_assert_eq!(seen(graph(&log, &facts, &reading, &[])), seen(oracle(&log, &facts)));
    }
}

/// Failed: the oracle took an episode for settled that a series had fallen silent in and that a late sample could still have prolonged, where another bucket
/// of the series, long after it, had come already.
#[test]
fn an_episode_before_a_long_silence_is_settled_once_nothing_can_prolong_it() {
    let reading = Reading { workers: 1, batches: vec![1], models_epoch: 0 };
    // Series 14/2 is missed in two buckets and is not due for long then; it comes back, and its partition goes on for a while.
    let steady = |until: Time| (99_899..until).step_by(60).map(|time| Line { entity: 10, time, samples: vec![(0, 0.0)] });
    let once = |time: Time| Line { entity: 14, time, samples: vec![(2, 0.0)] };
    let stages: Vec<Stage> = (103_800..107_000)
        .step_by(100)
        .map(|back| {
            let mut log: Vec<Line> = std::iter::once(once(98_697)).chain(steady(back)).chain([once(back)]).collect();
            log.extend(steady(back + 900).skip_while(|line| line.time < back));
            let facts = Facts { models: models([10, 14].into_iter()), silences: Vec::new() };
            let log = vec![log];
            let (said, wanted) = (graph(&log, &facts, &reading, &[]), oracle(&log, &facts));
            assert_eq!(said.episodes, wanted.episodes, "it comes back at {back}");
            said.episodes.iter().find(|episode| episode.id.opened == 99_600).unwrap().stage
        })
        .collect();
    assert!(stages.is_sorted() && stages.first() != stages.last(), "{stages:?}");
}
