//! The simulated datacenter: the values of any entity at any tick.

use super::anomaly::{self, Anomaly, SLOT_MS};
use super::effect::{self, Effect};
use super::entity::{BUCKET_MS, Entity, EntityType, Knot, WIDTH};
use super::fleet;
use super::hash::{draw, normal};
use super::outage::Outage;
use super::preset::Preset;
use super::timeline::Timeline;
use dataflows::Time;

/// Tells the noise of samples from that of buckets.
const SAMPLE_KEY: u64 = 0x7361_6d70;

/// Everything that determines the log.
#[derive(Debug)]
pub(super) struct World {
    pub(super) preset: &'static Preset,
    pub(super) timeline: Timeline,
    pub(super) fleet: Vec<Entity>,
    /// Samples in a five-minute mean.
    pub(super) samples: f64,
    /// Leaves all anomalies out, so that a test can see what they do.
    pub(super) quiet: bool,
    /// Who says nothing for a while.
    pub(super) outages: Vec<Outage>,
}

/// Where one entity is being read: what holds for a bucket is computed once, which changes the speed and nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    bucket: Option<(i64, Knot, Knot)>,
    slot: Option<i64>,
    /// All effects of the slot.
    scheduled: Vec<Effect>,
}

impl World {
    /// The world of a preset and a seed.
    pub(super) fn new(preset: &'static Preset, seed: u64, timeline: Timeline) -> Self {
        let samples = timeline.samples();
        Self { preset, fleet: fleet::build(preset, seed), timeline, samples, quiet: false, outages: Vec::new() }
    }

    /// Whether an entity has no record at a tick.
    pub(super) fn is_out(&self, entity: usize, tick: i64) -> bool {
        // Most worlds have no outage: this is asked of every record.
        !self.outages.is_empty() && self.outages.iter().any(|outage| outage.takes(&self.fleet[entity].id, self.timeline.time(tick)))
    }

    /// The metrics of an entity at a tick, in the order of its type; what it has no metric for is 0.
    pub(super) fn values(&self, entity: usize, tick: i64, cursor: &mut Cursor) -> [f64; WIDTH] {
        let time = self.timeline.time(tick);
        if tick < self.timeline.backfill { self.bucket_mean(entity, time, cursor) } else { self.sample(entity, time, cursor) }
    }

    /// One sample.
    pub(super) fn sample(&self, index: usize, time: Time, cursor: &mut Cursor) -> [f64; WIDTH] {
        let (from, to) = self.advance(index, time, cursor);
        let part = time.rem_euclid(BUCKET_MS) as f64 / BUCKET_MS as f64;
        let mut values = from;
        for (value, to) in values.iter_mut().zip(to) {
            *value += (to - *value) * part;
        }
        for effect in &cursor.scheduled {
            values[effect.channel] += effect.shift * effect.envelope.at(time);
        }
        self.finish(index, time, 1.0, values)
    }

    /// What the mean of a whole bucket of samples would be; `time` is the start of the bucket.
    pub(super) fn bucket_mean(&self, index: usize, time: Time, cursor: &mut Cursor) -> [f64; WIDTH] {
        let (from, to) = self.advance(index, time, cursor);
        let mut values = from;
        for (value, to) in values.iter_mut().zip(to) {
            *value = 0.5 * (*value + to);
        }
        for effect in &cursor.scheduled {
            values[effect.channel] += effect.shift * effect.envelope.mean(time, time + BUCKET_MS);
        }
        self.finish(index, time, 1.0 / self.samples.sqrt(), values)
    }

    /// Adds the noise of samples, this much of it, and keeps to the physical limits.
    fn finish(&self, index: usize, time: Time, noise: f64, mut values: [f64; WIDTH]) -> [f64; WIDTH] {
        let entity = &self.fleet[index];
        for (value, channel) in values.iter_mut().zip(&entity.channels) {
            let hash = draw(channel.key ^ SAMPLE_KEY, time);
            *value = (*value + noise * channel.sample * normal(hash)).clamp(0.0, channel.limit);
        }
        if entity.entity_type == EntityType::Service {
            super::service::order_latencies(&mut values);
        }
        values
    }

    /// Moves a cursor to the bucket of a time; gives the states at both its ends.
    fn advance(&self, index: usize, time: Time, cursor: &mut Cursor) -> ([f64; WIDTH], [f64; WIDTH]) {
        let bucket = time.div_euclid(BUCKET_MS);
        let (_, from, to) = match cursor.bucket {
            Some(here) if here.0 == bucket => here,
            before => {
                let entity = &self.fleet[index];
                let from = match before {
                    Some((old, _, to)) if old + 1 == bucket => to,
                    _ => entity.knot(bucket, None),
                };
                let here = (bucket, from, entity.knot(bucket + 1, Some(&from)));
                cursor.bucket = Some(here);
                here
            }
        };
        let slot = anomaly::slot_of(time);
        if cursor.slot != Some(slot) {
            cursor.slot = Some(slot);
            self.schedule(index, slot, &mut cursor.scheduled);
        }
        (from.values, to.values)
    }

    /// Everything that touches an entity in a slot: its own anomaly, and those of its hosts.
    fn schedule(&self, index: usize, slot: i64, effects: &mut Vec<Effect>) {
        effects.clear();
        if self.quiet {
            return;
        }
        let entity = &self.fleet[index];
        if let Some(anomaly) = self.anomaly(index, slot) {
            effects.extend(effect::own(entity, &anomaly, self.samples));
        }
        if entity.entity_type == EntityType::Service {
            let hosts = entity.neighbours.iter().filter_map(|host| self.anomaly(*host, slot));
            effects.extend(hosts.flat_map(|anomaly| effect::hosted(entity, &anomaly, self.samples)));
        }
    }

    /// The anomaly of an entity in a slot.
    pub(super) fn anomaly(&self, index: usize, slot: i64) -> Option<Anomaly> {
        anomaly::of_slot(self.preset, &self.fleet[index], slot, self.timeline.start)
    }
}

const _: () = assert!(SLOT_MS % BUCKET_MS == 0, "a bucket lies in one slot");

#[cfg(test)]
mod tests {
    use super::super::preset::find;
    use super::*;

    const DAY_BUCKETS: i64 = 288;

    fn quiet_world() -> World {
        let mut world = World::new(find("dev").unwrap(), 7, Timeline::new(1_768_780_800_000, 0, 5000, None));
        world.quiet = true;
        world
    }

    /// The shape of the days alone.
    fn silent(world: &World) -> World {
        let mut silent = World::new(world.preset, 7, world.timeline.clone());
        silent.quiet = true;
        for entity in &mut silent.fleet {
            entity.load.noise = 0.0;
            for channel in &mut entity.channels {
                (channel.noise, channel.shared, channel.sample) = (0.0, 0.0, 0.0);
            }
        }
        silent
    }

    fn deviation(values: &[f64]) -> f64 {
        (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn backfill_and_the_means_of_live_samples_scatter_alike_and_as_stated() {
        let world = quiet_world();
        let silent = silent(&world);
        for index in [0, 7, 17, 31, 36] {
            let (mut cursor, mut live, mut shape) = (Cursor::default(), Cursor::default(), Cursor::default());
            let metrics = world.fleet[index].channels.len();
            let (mut backfilled, mut averaged) = (vec![Vec::new(); metrics], vec![Vec::new(); metrics]);
            for bucket in 0..20 * DAY_BUCKETS {
                let start = world.timeline.start + bucket * BUCKET_MS;
                let expected = silent.bucket_mean(index, start, &mut shape);
                let mean = world.bucket_mean(index, start, &mut cursor);
                let samples: Vec<_> = (0..60).map(|i| world.sample(index, start + i * 5000, &mut live)).collect();
                for metric in 0..metrics {
                    backfilled[metric].push(mean[metric] - expected[metric]);
                    averaged[metric].push(samples.iter().map(|values| values[metric]).sum::<f64>() / 60.0 - expected[metric]);
                }
            }
            for metric in 0..metrics {
                let name = world.fleet[index].entity_type.metrics()[metric];
                let (backfill, live) = (deviation(&backfilled[metric]), deviation(&averaged[metric]));
                assert!((live / backfill - 1.0).abs() < 0.1, "{name}: live {live}, backfill {backfill}");
                let stated = world.fleet[index].scale(metric, 60.0);
                assert!((live / stated - 1.0).abs() < 0.1, "{name}: live {live}, stated {stated}");
            }
        }
    }

    #[test]
    fn values_stay_physical_and_latencies_in_order() {
        let mut world = World::new(find("chaos").unwrap(), 5, Timeline::new(1_768_780_800_000, 0, 5000, None));
        world.samples = 60.0;
        for index in (0..world.fleet.len()).step_by(5) {
            let mut cursor = Cursor::default();
            for tick in (0..7 * 17_280).step_by(61) {
                let values = world.values(index, tick, &mut cursor);
                for (value, channel) in values.iter().zip(&world.fleet[index].channels) {
                    assert!((0.0..=channel.limit).contains(value), "{value}");
                }
                if world.fleet[index].entity_type == EntityType::Service {
                    assert!(values[1] <= values[2] && values[2] <= values[3]);
                }
            }
        }
    }
}
