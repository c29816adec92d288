//! Runs the graph over a small log, as the application does, and the oracle over the same log: two loops over a `BTreeMap`.

pub mod incidents;
pub mod verdicts;

use dataflows::{
    Acquaintance, Activity, Admission, Aggregate, Bucket, EntityId, Episode, EpisodePolicy, Event, Fact, Incident, IncidentPolicy,
    MetricId, Model, Number, PartitionClock, Placement, Policy, Report, SeriesId, Silence, Time, Timing, Verdict, bucket_samples,
    collect_epochs, group_episodes, score_buckets,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concatenate, Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

pub const WIDTH: Time = 300;
pub const TIMING: Timing =
    Timing { bucket_width: WIDTH, out_of_orderness: 60, lateness: 900, skew: 600, forget: 1_500, patience: 2_000, floor: Time::MIN };
/// The clock that the future is measured from.
pub const NOW: Time = 1_000_000;

pub fn policy() -> Policy {
    Policy {
        bucket_width: WIDTH,
        lateness: TIMING.lateness,
        forget: TIMING.forget,
        episode: EpisodePolicy { calm_min: 2, ..EpisodePolicy::default() },
        incident: IncidentPolicy { gap: 4, onset_window: 1, entities_min: 2, ..IncidentPolicy::default() },
        ..Policy::default()
    }
}

/// Entities stand in racks of three, racks in zones of two.
pub fn placement(number: u64) -> Placement {
    let (zone, rack) = (format!("zone-{}", number % 6 / 3), format!("rack-{}", number % 3));
    Placement { since: 0, entity: entity(number), entity_type: "server".into(), zone, rack }
}

/// What the graph ends with.
#[derive(Debug, PartialEq)]
pub struct Relation {
    pub verdicts: BTreeMap<(SeriesId, Time), Verdict>,
    pub episodes: BTreeSet<Episode>,
    pub incidents: BTreeSet<Incident>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
enum Said {
    Verdict(Verdict),
    Episode(Episode),
    Incident(Box<Incident>),
}

/// One record: entity, time, and samples of metrics.
#[derive(Clone, Debug)]
pub struct Line {
    pub entity: u64,
    pub time: Time,
    pub samples: Vec<(u32, f64)>,
}

pub type Log = Vec<Vec<Line>>;
pub type Models = Vec<(u64, MetricId, Arc<Model>)>;

pub fn entity(number: u64) -> EntityId {
    EntityId::of("server", &number.to_string())
}

/// How the same log is read: on how many workers, and in what pieces.
#[derive(Clone, Debug)]
pub struct Reading {
    pub workers: usize,
    /// Records of each partition per epoch, in turn.
    pub batches: Vec<usize>,
    /// Models and silences come in this epoch.
    pub models_epoch: u64,
}

/// Everything besides the log.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub models: Models,
    pub silences: Vec<Silence>,
}

fn event(line: &Line, partition: u32) -> Event {
    let mut event = Event::empty(entity(line.entity), line.time, partition);
    for (metric, value) in &line.samples {
        assert!(event.push(MetricId(*metric), *value));
    }
    event
}

/// The relation that the graph ends with: all changes added up.
pub fn graph(log: &Log, facts: &Facts, reading: &Reading, known: &[Acquaintance]) -> Relation {
    let net: Arc<Mutex<BTreeMap<Said, isize>>> = Arc::default();
    let (log, facts, reading, known, result) = (Arc::new(log.clone()), facts.clone(), reading.clone(), known.to_vec(), Arc::clone(&net));
    let entities: BTreeSet<u64> = log.iter().flatten().map(|line| line.entity).collect();
    let guards = timely::execute(timely::Config::process(reading.workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let (mut events, mut reports, mut acquaintances) = (InputHandle::new(), InputHandle::new(), InputHandle::new());
        let (mut fact_input, mut placements) = (InputHandle::new(), InputHandle::new());
        let probe = ProbeHandle::new();
        let queue = worker.dataflow::<u64, _, _>(|scope| {
            let (events, reports) = (scope.input_from(&mut events), scope.input_from(&mut reports));
            let (acquaintances, facts) = (scope.input_from(&mut acquaintances), scope.input_from(&mut fact_input));
            let sampled = bucket_samples(events, reports, acquaintances, TIMING, Time::MIN, 0);
            let scored = score_buckets(sampled.buckets, sampled.opens, sampled.horizons.clone(), facts, policy());
            let horizons = sampled.horizons.map(|_| None);
            let incidents = group_episodes(scored.episodes.clone(), scope.input_from(&mut placements), &policy());
            let verdicts = scored.verdicts.inner.map(|(verdict, _, sign)| Some((Said::Verdict(verdict), sign)));
            let episodes = scored.episodes.inner.map(|(episode, _, sign)| Some((Said::Episode(episode), sign)));
            let incidents = incidents.inner.map(|(incident, _, sign)| Some((Said::Incident(Box::new(incident)), sign)));
            let (durable, queue) = collect_epochs(scope.concatenate([verdicts, episodes, incidents, horizons]));
            durable.probe_with(&probe);
            queue
        });
        let partitions: Vec<usize> = (0..log.len()).filter(|partition| partition % peers == index).collect();
        let mut clocks: Vec<PartitionClock> = vec![PartitionClock::new(Time::MIN); log.len()];
        let mut places = vec![0; log.len()];
        if index == 0 {
            known.iter().for_each(|known| acquaintances.send(*known));
            for number in &entities {
                fact_input.send((entity(*number).0, Fact::Name(entity(*number), number.to_string())));
                placements.send((placement(*number), 0, 1));
            }
        }
        for partition in &partitions {
            reports.send(Report::Watermark { partition: *partition as u32, watermark: Time::MIN, activity: Activity::Active });
        }
        for epoch in 0u64.. {
            if index == 0 && epoch == reading.models_epoch {
                // A store names the newest last.
                let models = facts
                    .models
                    .iter()
                    .rev()
                    .map(|(entity, metric, model)| (*entity, Fact::Model(SeriesId::of(EntityId(*entity), *metric), Arc::clone(model))));
                let silences = (0..peers as u64).map(|peer| (peer, Fact::Silences(facts.silences.clone())));
                models.chain(silences).for_each(|fact| fact_input.send(fact));
                for (entity, metric, model) in &facts.models {
                    let series = (EntityId(*entity), *metric);
                    acquaintances.send(Acquaintance::Patience { series, patience: model.cadence.patience(WIDTH) });
                }
            }
            for partition in &partitions {
                let batch = reading.batches[(epoch as usize + partition) % reading.batches.len()];
                let lines = &log[*partition][places[*partition]..];
                for line in lines.iter().take(batch) {
                    if clocks[*partition].admit(line.time, NOW, &TIMING) == Admission::Accepted {
                        events.send(event(line, *partition as u32));
                        reports.send(Report::Alive { partition: *partition as u32, start: TIMING.start(line.time) });
                    }
                }
                places[*partition] += batch.min(lines.len());
                let activity = if places[*partition] == log[*partition].len() { Activity::Ended } else { Activity::Active };
                let watermark = clocks[*partition].watermark(&TIMING);
                reports.send(Report::Watermark { partition: *partition as u32, watermark, activity });
            }
            events.advance_to(epoch + 1);
            reports.advance_to(epoch + 1);
            acquaintances.advance_to(epoch + 1);
            fact_input.advance_to(epoch + 1);
            placements.advance_to(epoch + 1);
            worker.step();
            let ended = partitions.iter().all(|partition| places[*partition] == log[*partition].len());
            if ended && epoch >= reading.models_epoch {
                break;
            }
        }
        drop((events, reports, acquaintances, fact_input, placements));
        while worker.step_or_park(Some(std::time::Duration::from_millis(1))) || !probe.done() {
            while let Some((epoch, changes)) = { queue.borrow_mut().take() } {
                for (said, sign) in changes.into_iter().flatten().flatten() {
                    *result.lock().unwrap().entry(said).or_default() += sign;
                }
                queue.borrow_mut().release(epoch);
            }
        }
    });
    guards.unwrap().join().into_iter().for_each(|outcome| outcome.unwrap());
    let net = net.lock().unwrap();
    let mut relation = Relation { verdicts: BTreeMap::new(), episodes: BTreeSet::new(), incidents: BTreeSet::new() };
    for (said, count) in net.iter().filter(|entry| *entry.1 != 0) {
        assert_eq!(*count, 1, "what is said is said once: {said:?}");
        match said {
            Said::Verdict(verdict) => {
                let key = (verdict.bucket.series(), verdict.bucket.start);
                assert!(relation.verdicts.insert(key, *verdict).is_none(), "a bucket has one verdict: {verdict:?}");
            }
            Said::Episode(episode) => _ = relation.episodes.insert(*episode),
            Said::Incident(incident) => _ = relation.incidents.insert((**incident).clone()),
        }
    }
    relation
}

/// The same from scratch: collect the samples that count, bucket by bucket, then look for silences.
pub fn oracle(log: &Log, facts: &Facts) -> Relation {
    let Facts { models, silences } = facts;
    let mut samples: BTreeMap<(u64, u32), BTreeMap<Time, Vec<f64>>> = BTreeMap::new();
    let mut homes: BTreeMap<u64, usize> = BTreeMap::new();
    let mut alive: BTreeSet<(usize, Time)> = BTreeSet::new();
    let mut ends = Vec::new();
    for (partition, lines) in log.iter().enumerate() {
        let mut latest = Time::MIN;
        for line in lines {
            let start = line.time.div_euclid(WIDTH) * WIDTH;
            let late = start + WIDTH + TIMING.lateness <= latest.saturating_sub(TIMING.out_of_orderness);
            if line.time > NOW + TIMING.skew || late {
                continue;
            }
            latest = latest.max(line.time);
            let home = homes.entry(line.entity).or_insert(partition);
            *home = (*home).min(partition);
            alive.insert((partition, start));
            for (metric, value) in &line.samples {
                samples.entry((line.entity, *metric)).or_default().entry(start).or_default().push(*value);
            }
        }
        ends.push(latest.saturating_sub(TIMING.out_of_orderness));
    }
    let mut relation = BTreeMap::new();
    for ((number, metric), buckets) in &samples {
        let mut all: BTreeMap<Time, Bucket> = BTreeMap::new();
        let mut say = |start: Time, aggregate: Option<Aggregate>| {
            all.insert(start, Bucket { entity: entity(*number), metric: MetricId(*metric), start, aggregate });
        };
        buckets.iter().for_each(|(start, values)| say(*start, Some(aggregate(values))));
        let home = homes[number];
        for (_, start) in alive.iter().filter(|(partition, start)| *partition == home && start + WIDTH <= ends[home]) {
            let before = buckets.range(..*start).next_back();
            if !buckets.contains_key(start) && before.is_some() {
                say(*start, None);
            }
        }
        let series = SeriesId::of(entity(*number), MetricId(*metric));
        let of_series = models.iter().filter(|model| SeriesId::of(EntityId(model.0), model.1) == series);
        let models: Vec<Arc<Model>> = of_series.map(|model| Arc::clone(&model.2)).collect();
        let silenced = |bucket: &Bucket| silences.iter().any(|silence| silence.covers(&number.to_string(), bucket.metric, bucket.start));
        let all: Vec<Bucket> = all.into_values().collect();
        let said = verdicts::verdicts(&all, &models, &silenced);
        relation.extend(said.into_iter().map(|verdict| ((series, verdict.bucket.start), verdict)));
    }
    // In the end all buckets are closed, the last one too.
    let last = alive.iter().map(|(_, start)| start + WIDTH);
    let heard = ends.into_iter().chain(last).max().unwrap_or(Time::MIN);
    let entities: BTreeSet<u64> = log.iter().flatten().map(|line| line.entity).collect();
    let placements: Vec<Placement> = entities.into_iter().map(placement).collect();
    incidents::relation(relation, &placements, heard, &policy())
}

/// Test values are multiples of 1/4 and small, so that float sums of them are exact in any order.
fn aggregate(values: &[f64]) -> Aggregate {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread = n * values.iter().map(|value| value * value).sum::<f64>() - values.iter().sum::<f64>().powi(2);
    let stddev = if values.len() < 2 { 0.0 } else { (spread / (n * (n - 1.0))).sqrt() };
    let (min, max) = values.iter().fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(*value), max.max(*value)));
    Aggregate { count: values.len() as u64, mean: Number(mean), min: Number(min), max: Number(max), stddev: Number(stddev) }
}
