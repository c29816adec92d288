//! How an anomaly shows: what it adds to which metric, rising and falling over time.

use super::anomaly::{Anomaly, Kind};
use super::entity::{Entity, EntityType};
use super::server::{CELSIUS_PER_PERCENT, CPU, MEMORY, POWER, RX, TEMPERATURE, TX, WATTS_PER_PERCENT};
use super::service::{ERRORS, P50, P95, P99};
use dataflows::Time;

/// Watts that fans take for each degree too many.
const FAN_WATTS_PER_CELSIUS: f64 = 0.8;

/// Degrees that a watt too many adds; fifty watts of heat are a degree in the air stream of a server.
const CELSIUS_PER_WATT: f64 = 0.02;

/// What a disk that everybody waits for takes from the network, at the highest grade, as a share of its busiest traffic.
const DISK_NETWORK_DROP: f64 = 0.2;

/// The grade that a drop of [`DISK_NETWORK_DROP`] belongs to.
const GRADE_MAX: f64 = 32.0;

/// Grades at which an anomaly of a service is twice its size in sigmas: calls time out and are retried, so services fail more steeply than machines.
const SERVICE_STEEPNESS: f64 = 8.0;

/// What a slow tail leaves of its shift in the middle.
const MIDDLE_SHARE: f64 = 0.3;

/// A shift of 1 that rises in a straight line, stays, and falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Envelope {
    start: f64,
    full: f64,
    fall: f64,
    end: f64,
}

impl Envelope {
    /// From `start` to `end`, rising and falling over these shares of the time, which are above 0.
    fn new(anomaly: &Anomaly, rise: f64, fall: f64) -> Self {
        let (start, end) = (anomaly.start as f64, anomaly.end as f64);
        Self { start, full: start + rise * (end - start), fall: end - fall * (end - start), end }
    }

    /// Its height at a time.
    pub(super) fn at(&self, time: Time) -> f64 {
        let time = time as f64;
        if time < self.full {
            ((time - self.start) / (self.full - self.start)).max(0.0)
        } else {
            ((self.end - time) / (self.end - self.fall)).clamp(0.0, 1.0)
        }
    }

    /// Its mean height over an interval, exactly.
    pub(super) fn mean(&self, from: Time, until: Time) -> f64 {
        (self.area(until as f64) - self.area(from as f64)) / (until - from) as f64
    }

    /// The area under it before a time.
    fn area(&self, time: f64) -> f64 {
        let risen = time.clamp(self.start, self.full) - self.start;
        let level = time.clamp(self.full, self.fall) - self.full;
        let left = self.end - time.clamp(self.fall, self.end);
        let (rise, fall) = (self.full - self.start, self.end - self.fall);
        risen * risen / (2.0 * rise) + level + (fall * fall - left * left) / (2.0 * fall)
    }
}

/// What an anomaly adds to one metric of one entity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effect {
    /// The place of the metric.
    pub(super) channel: usize,
    /// What is added at full height, in the unit of the metric.
    pub(super) shift: f64,
    /// When.
    pub(super) envelope: Envelope,
    /// Whether the anomaly is about this metric; otherwise it is a side effect.
    pub(super) primary: bool,
}

/// What an anomaly does to the entity that has it; `samples` is how many samples make a five-minute mean.
pub(super) fn own(entity: &Entity, anomaly: &Anomaly, samples: f64) -> Vec<Effect> {
    let sharp = Envelope::new(anomaly, 0.1, 0.1);
    // Heat comes and goes over minutes.
    let gradual = Envelope::new(anomaly, 0.25, 0.25);
    // A leak grows until the process is killed.
    let growing = Envelope::new(anomaly, 0.97, 0.01);
    let lift = |channel: usize, grade: f64| (grade * entity.scale(channel, samples)).min(entity.room(channel));
    let main = |channel, shift, envelope| Effect { channel, shift, envelope, primary: true };
    let side = |channel, shift, envelope| Effect { channel, shift, envelope, primary: false };
    let grade = anomaly.grade;
    match anomaly.kind {
        Kind::CpuSpike => {
            let cpu = lift(CPU, grade);
            vec![main(CPU, cpu, sharp), side(TEMPERATURE, CELSIUS_PER_PERCENT * cpu, gradual), side(POWER, WATTS_PER_PERCENT * cpu, sharp)]
        }
        Kind::MemoryLeak => vec![main(MEMORY, lift(MEMORY, grade), growing)],
        Kind::TemperatureHigh => {
            let heat = lift(TEMPERATURE, grade);
            vec![main(TEMPERATURE, heat, gradual), side(POWER, FAN_WATTS_PER_CELSIUS * heat, gradual)]
        }
        Kind::PowerSurge => {
            let watts = lift(POWER, grade);
            vec![main(POWER, watts, sharp), side(TEMPERATURE, CELSIUS_PER_WATT * watts, gradual)]
        }
        Kind::NetworkSaturation => vec![main(RX, lift(RX, grade), sharp), main(TX, lift(TX, grade), sharp)],
        Kind::DiskIoBottleneck => {
            let drop = |channel: usize| -DISK_NETWORK_DROP * (grade / GRADE_MAX) * entity.channels[channel].gain;
            vec![main(CPU, lift(CPU, grade), sharp), side(RX, drop(RX), sharp), side(TX, drop(TX), sharp)]
        }
        Kind::LatencySpike => {
            let steep = grade * (1.0 + grade / SERVICE_STEEPNESS);
            let middle = side(P50, MIDDLE_SHARE * lift(P50, steep), sharp);
            vec![main(P95, lift(P95, steep), sharp), main(P99, lift(P99, steep), sharp), middle]
        }
        Kind::ErrorBurst => {
            let steep = grade * (1.0 + grade / SERVICE_STEEPNESS);
            vec![main(ERRORS, lift(ERRORS, steep), sharp)]
        }
    }
}

/// What a host's anomaly does to a service that runs on it: the calls that it answers, one in so many hosts, are slower.
pub(super) fn hosted(service: &Entity, anomaly: &Anomaly, samples: f64) -> Vec<Effect> {
    debug_assert_eq!(service.entity_type, EntityType::Service);
    // Waiting for a disk stops a call, waiting for a busy link or core slows it.
    let coupling = match anomaly.kind {
        Kind::DiskIoBottleneck => 1.5,
        Kind::NetworkSaturation => 1.0,
        Kind::CpuSpike => 0.5,
        _ => return Vec::new(),
    };
    let grade = coupling * anomaly.grade / service.neighbours.len() as f64;
    let envelope = Envelope::new(anomaly, 0.1, 0.1);
    let effect = |channel: usize, share: f64| {
        let shift = share * grade * service.scale(channel, samples);
        Effect { channel, shift, envelope, primary: false }
    };
    vec![effect(P50, MIDDLE_SHARE), effect(P95, 1.0), effect(P99, 1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_an_envelope_is_that_of_its_heights() {
        let anomaly = Anomaly { kind: Kind::CpuSpike, start: 100_000, end: 700_000, grade: 5.0 };
        for (rise, fall) in [(0.1, 0.1), (0.25, 0.25), (0.97, 0.01)] {
            let envelope = Envelope::new(&anomaly, rise, fall);
            for (from, until) in [(0, 300_000), (300_000, 600_000), (600_000, 900_000), (0, 900_000), (800_000, 900_000)] {
                let heights: f64 = (from..until).map(|time| envelope.at(time)).sum();
                let mean = heights / (until - from) as f64;
                assert!((envelope.mean(from, until) - mean).abs() < 1e-4, "{rise} {from}..{until}");
            }
        }
    }
}
