//! What was injected: the answers that detection is measured against.

use super::anomaly::{self, Anomaly};
use super::effect::{self, Effect, Envelope};
use super::entity::{BUCKET_MS, Entity, EntityType};
use super::outage::Outage;
use super::world::World;
use crate::instant;
use dataflows::Time;
use serde::Serialize;
use std::io::{self, Write};

/// An injected anomaly in one metric that it is about. A kind that is about two metrics makes two of them, an outage one for each metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Injection {
    /// `cpu_spike`, `memory_leak`, `temperature_high`, `power_surge`, `network_saturation`, `disk_io_bottleneck`, `latency_spike` or
    /// `error_burst`; or `outage`, which shifts nothing, so that its magnitude and sigmas are 0.
    pub kind: &'static str,
    /// `server` or `application`.
    pub entity_type: &'static str,
    /// The entity it happened to.
    pub entity_id: String,
    /// The metric it is about.
    pub metric: &'static str,
    /// Its first moment, in milliseconds since the epoch; as text in JSON.
    #[serde(serialize_with = "as_text")]
    pub start: Time,
    /// The moment after its last.
    #[serde(serialize_with = "as_text")]
    pub end: Time,
    /// The largest shift of a five-minute mean, in the unit of the metric.
    pub magnitude: f64,
    /// `magnitude` over the standard deviation of the series' five-minute means around the shape of its days. The simulator knows that
    /// scale from its own constants: the noise of buckets, and that of samples divided by the root of how many a bucket has.
    pub sigmas: f64,
    /// What else it moved: metrics of the same entity by name, those of services that run there as `application:checkout:latency_p99_ms`.
    pub side_effects: Vec<String>,
}

fn as_text<S: serde::Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&instant::format(*time))
}

/// Writes injections as JSON lines.
///
/// # Errors
/// Those of the output.
pub fn write_truth(injections: &[Injection], out: &mut dyn Write) -> io::Result<()> {
    for injection in injections {
        serde_json::to_writer(&mut *out, injection)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

impl World {
    /// All injections that begin in `from..until`, ordered by start, entity and metric.
    pub(super) fn truth(&self, from: Time, until: Time) -> Vec<Injection> {
        if from >= until {
            return Vec::new();
        }
        let slots = anomaly::slot_of(from)..=anomaly::slot_of(until - 1);
        let mut begun: Vec<(Time, usize, Anomaly)> = slots
            .flat_map(|slot| (0..self.fleet.len()).filter_map(move |entity| Some((entity, self.anomaly(entity, slot)?))))
            .filter(|(_, anomaly)| (from..until).contains(&anomaly.start))
            .map(|(entity, anomaly)| (anomaly.start, entity, anomaly))
            .collect();
        begun.sort_by_key(|(start, entity, _)| (*start, *entity));
        let mut injections: Vec<Injection> = begun.iter().flat_map(|(_, entity, anomaly)| self.injections(*entity, anomaly)).collect();
        injections.extend(self.silences(from, until));
        // Stable: what was in order stays so.
        injections.sort_by_key(|injection| injection.start);
        injections
    }

    /// The outages that begin in `from..until`, one by metric of who is silent.
    fn silences(&self, from: Time, until: Time) -> Vec<Injection> {
        let begun = self.outages.iter().filter(|outage| (from..until).contains(&outage.start));
        let mut silences = Vec::new();
        for outage in begun {
            for entity in self.fleet.iter().filter(|entity| outage.is_of(&entity.id)) {
                let metrics = entity.entity_type.metrics().iter();
                silences.extend(metrics.map(|metric| silence(outage, entity, metric)));
            }
        }
        silences
    }

    fn injections(&self, index: usize, anomaly: &Anomaly) -> Vec<Injection> {
        let entity = &self.fleet[index];
        let effects = effect::own(entity, anomaly, self.samples);
        let metrics = entity.entity_type.metrics();
        let side_effects = self.side_effects(index, anomaly, &effects);
        let primary = effects.iter().filter(|effect| effect.primary);
        let injection = |effect: &Effect| {
            let magnitude = effect.shift * peak(&effect.envelope, anomaly);
            Injection {
                kind: anomaly.kind.name(),
                entity_type: entity.entity_type.name(),
                entity_id: entity.id.clone(),
                metric: metrics[effect.channel],
                start: anomaly.start,
                end: anomaly.end,
                magnitude: rounded(magnitude),
                sigmas: rounded(magnitude / entity.scale(effect.channel, self.samples)),
                side_effects: side_effects.clone(),
            }
        };
        primary.map(injection).collect()
    }

    fn side_effects(&self, index: usize, anomaly: &Anomaly, effects: &[Effect]) -> Vec<String> {
        let entity = &self.fleet[index];
        let metrics = entity.entity_type.metrics();
        let own = effects.iter().filter(|effect| !effect.primary).map(|effect| metrics[effect.channel].to_owned());
        let services = entity.neighbours.iter().filter(|_| entity.entity_type == EntityType::Server);
        let elsewhere = services.flat_map(|service| {
            let service = &self.fleet[*service];
            let name = |effect: Effect| format!("application:{}:{}", service.id, EntityType::Service.metrics()[effect.channel]);
            effect::hosted(service, anomaly, self.samples).into_iter().map(name)
        });
        own.chain(elsewhere).collect()
    }
}

/// An outage in one metric.
fn silence(outage: &Outage, entity: &Entity, metric: &'static str) -> Injection {
    Injection {
        kind: "outage",
        entity_type: entity.entity_type.name(),
        entity_id: entity.id.clone(),
        metric,
        start: outage.start,
        end: outage.end,
        magnitude: 0.0,
        sigmas: 0.0,
        side_effects: Vec::new(),
    }
}

/// The largest mean of a whole bucket under an envelope.
fn peak(envelope: &Envelope, anomaly: &Anomaly) -> f64 {
    let buckets = anomaly.start.div_euclid(BUCKET_MS)..=(anomaly.end - 1).div_euclid(BUCKET_MS);
    buckets.map(|bucket| envelope.mean(bucket * BUCKET_MS, (bucket + 1) * BUCKET_MS)).fold(0.0, f64::max)
}

/// Down to three decimals, so that a stated shift is never more than the real one.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).floor() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::preset::find;
    use super::super::timeline::Timeline;
    use super::super::world::Cursor;
    use super::*;
    use std::collections::HashMap;

    const DAY: i64 = 86_400_000;

    fn world(quiet: bool) -> World {
        let timeline = Timeline::new(1_768_780_800_000, 14 * DAY, 5000, None);
        World { quiet, ..World::new(find("chaos").unwrap(), 7, timeline) }
    }

    /// The mean over a bucket of what the log holds: its one backfill record, or its sixty samples.
    fn mean(world: &World, entity: usize, metric: usize, bucket: Time, cursor: &mut Cursor) -> f64 {
        if bucket < world.timeline.start {
            return world.bucket_mean(entity, bucket, cursor)[metric];
        }
        (0..60).map(|i| world.sample(entity, bucket + i * 5000, cursor)[metric]).sum::<f64>() / 60.0
    }

    #[test]
    fn every_injection_moves_its_series_by_what_it_says() {
        let (loud, quiet) = (world(false), world(true));
        let indices: HashMap<&str, usize> = loud.fleet.iter().enumerate().map(|(i, entity)| (entity.id.as_str(), i)).collect();
        let start = loud.timeline.start;
        let truth = loud.truth(start - DAY, start + DAY);
        assert!(truth.len() > 200, "{}", truth.len());
        for injection in &truth {
            let entity = indices[injection.entity_id.as_str()];
            let metric = loud.fleet[entity].entity_type.metrics().iter().position(|name| *name == injection.metric).unwrap();
            let (mut with, mut without) = (Cursor::default(), Cursor::default());
            let buckets = injection.start.div_euclid(BUCKET_MS)..=injection.end.div_euclid(BUCKET_MS);
            let shifts = buckets.map(|bucket| {
                let bucket = bucket * BUCKET_MS;
                mean(&loud, entity, metric, bucket, &mut with) - mean(&quiet, entity, metric, bucket, &mut without)
            });
            let largest = shifts.fold(f64::NEG_INFINITY, f64::max);
            // Samples stand at the beginning of their five seconds, so a ramp comes half an interval late.
            assert!(largest >= 0.98 * injection.magnitude, "{injection:?} moved by {largest}");
        }
        for (from, until) in [(start - DAY, start), (start, start + DAY)] {
            let part = truth.iter().filter(|injection| (from..until).contains(&injection.start));
            assert!(part.count() > 5);
        }
    }

    #[test]
    fn most_injections_are_strong_and_some_are_weak() {
        let start = 1_768_780_800_000;
        let truth = world(false).truth(start, start + 14 * DAY);
        let weak = truth.iter().filter(|injection| injection.sigmas < 5.0).count() as f64 / truth.len() as f64;
        assert!((0.05..0.3).contains(&weak), "{weak}");
        assert!(
            truth.iter().all(|injection| injection.sigmas > 1.5),
            "{:?}",
            truth.iter().map(|injection| injection.sigmas).reduce(f64::min)
        );
        let mut line = Vec::new();
        write_truth(&truth[..1], &mut line).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        for field in ["kind", "entity_type", "entity_id", "metric", "start", "end", "magnitude", "sigmas", "side_effects"] {
            assert!(value.get(field).is_some(), "{field} in {value}");
        }
    }

    #[test]
    fn the_truth_of_two_spans_is_that_of_both() {
        let world = world(false);
        let (from, middle, until) = (world.timeline.start, world.timeline.start + 12_345_000, world.timeline.start + DAY);
        let mut both = world.truth(from, middle);
        both.extend(world.truth(middle, until));
        assert_eq!(both, world.truth(from, until));
    }
}
