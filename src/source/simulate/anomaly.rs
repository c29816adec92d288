//! What goes wrong and when: a schedule that is a function of the seed, the entity and an eight-hour slot.

use super::entity::{Entity, EntityType};
use super::hash::{Draws, draw, uniform};
use super::preset::{KINDS, Preset};
use dataflows::Time;

/// Milliseconds in a slot, which has at most one anomaly of an entity, from beginning to end: room for the longest, whole buckets, three a day.
pub(super) const SLOT_MS: i64 = 8 * 3_600_000;

/// Slots in a week.
const SLOTS_PER_WEEK: f64 = 21.0;

const MINUTE_MS: f64 = 60_000.0;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    CpuSpike,
    MemoryLeak,
    TemperatureHigh,
    PowerSurge,
    NetworkSaturation,
    DiskIoBottleneck,
    LatencySpike,
    ErrorBurst,
}

impl Kind {
    /// All kinds, in the order of [`Preset::weights`].
    pub(super) const ALL: [Self; KINDS] = [
        Self::CpuSpike,
        Self::MemoryLeak,
        Self::TemperatureHigh,
        Self::PowerSurge,
        Self::NetworkSaturation,
        Self::DiskIoBottleneck,
        Self::LatencySpike,
        Self::ErrorBurst,
    ];

    /// Its name in the truth.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CpuSpike => "cpu_spike",
            Self::MemoryLeak => "memory_leak",
            Self::TemperatureHigh => "temperature_high",
            Self::PowerSurge => "power_surge",
            Self::NetworkSaturation => "network_saturation",
            Self::DiskIoBottleneck => "disk_io_bottleneck",
            Self::LatencySpike => "latency_spike",
            Self::ErrorBurst => "error_burst",
        }
    }

    fn entity_type(self) -> EntityType {
        match self {
            Self::LatencySpike | Self::ErrorBurst => EntityType::Service,
            _ => EntityType::Server,
        }
    }

    /// The shortest and the longest it lasts, in minutes: the shortest still fills one bucket, the longest is under a slot.
    fn minutes(self) -> (f64, f64) {
        match self {
            Self::MemoryLeak => (90.0, 360.0),
            Self::TemperatureHigh => (20.0, 60.0),
            _ => (8.0, 60.0),
        }
    }
}

/// Deciles of the size of anomalies in sigmas of five-minute means: about one in six below five, where detection is a matter of luck, half
/// above eleven, where it is not.
const GRADES: [f64; 11] = [2.5, 4.2, 5.6, 7.0, 9.0, 11.0, 14.0, 17.0, 21.0, 26.0, 32.0];

/// Something that goes wrong with one entity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anomaly {
    /// What.
    pub(super) kind: Kind,
    /// Its first moment, a whole second.
    pub(super) start: Time,
    /// The moment after its last, a whole second.
    pub(super) end: Time,
    /// Its size in sigmas, before ramps and physical limits.
    pub(super) grade: f64,
}

/// The slot that a time is in.
pub(super) fn slot_of(time: Time) -> i64 {
    time.div_euclid(SLOT_MS)
}

/// The anomaly of an entity in a slot, if it has one; those that begin at `live` or later are as frequent as the preset says, earlier ones rarer.
pub(super) fn of_slot(preset: &Preset, entity: &Entity, slot: i64, live: Time) -> Option<Anomaly> {
    let mut draws = Draws::new(draw(entity.anomaly_key, slot));
    let chance = uniform(draws.next());
    let per_week = match entity.entity_type {
        EntityType::Server => preset.server_anomalies_per_week,
        EntityType::Service => preset.service_anomalies_per_week,
    };
    // The common case, decided with one hash.
    if chance >= per_week / SLOTS_PER_WEEK {
        return None;
    }
    let kind = pick(preset, entity.entity_type, &mut draws)?;
    let (shortest, longest) = kind.minutes();
    let duration = whole_second(draws.between(shortest, longest) * MINUTE_MS);
    let start = slot * SLOT_MS + whole_second(draws.between(0.0, (SLOT_MS - duration) as f64));
    let share = if start < live { preset.backfill_share } else { 1.0 };
    let grade = grade(draws.between(0.0, 10.0));
    (chance < share * per_week / SLOTS_PER_WEEK).then_some(Anomaly { kind, start, end: start + duration, grade })
}

fn pick(preset: &Preset, entity_type: EntityType, draws: &mut Draws) -> Option<Kind> {
    let weighted = || Kind::ALL.into_iter().zip(preset.weights).filter(|(kind, _)| kind.entity_type() == entity_type);
    let total: u32 = weighted().map(|(_, weight)| weight).sum();
    let mut left = draws.below(total.max(1) as usize) as u32;
    for (kind, weight) in weighted() {
        if left < weight {
            return Some(kind);
        }
        left -= weight;
    }
    None
}

/// A decile of [`GRADES`], in a straight line between two.
fn grade(decile: f64) -> f64 {
    let below = (decile as usize).min(GRADES.len() - 2);
    GRADES[below] + (GRADES[below + 1] - GRADES[below]) * (decile - below as f64)
}

fn whole_second(milliseconds: f64) -> i64 {
    milliseconds as i64 / 1000 * 1000
}

#[cfg(test)]
mod tests {
    use super::super::fleet;
    use super::super::preset::{PRESETS, find};
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn chaos_has_all_eight_kinds_and_every_anomaly_stays_in_its_slot() {
        let preset = find("chaos").unwrap();
        let mut kinds = BTreeMap::new();
        for entity in fleet::build(preset, 7) {
            for anomaly in (0..30).filter_map(|slot| of_slot(preset, &entity, slot, 10 * SLOT_MS)) {
                *kinds.entry(anomaly.kind).or_insert(0) += 1;
                assert_eq!(slot_of(anomaly.start), slot_of(anomaly.end - 1));
                assert!(anomaly.end - anomaly.start >= 8 * 60_000 - 1000);
            }
        }
        assert_eq!(kinds.len(), KINDS, "{kinds:?}");
    }

    #[test]
    fn anomalies_are_as_frequent_as_the_preset_says_and_rarer_in_the_backfill() {
        for preset in &PRESETS {
            let (mut before, mut after, mut expected) = (0.0, 0.0, 0.0);
            for entity in fleet::build(preset, 3) {
                let count = |slots: std::ops::Range<i64>| slots.filter(|slot| of_slot(preset, &entity, *slot, 0).is_some()).count() as f64;
                before += count(-2100..0);
                after += count(0..2100);
                expected += 100.0
                    * match entity.entity_type {
                        EntityType::Server => preset.server_anomalies_per_week,
                        EntityType::Service => preset.service_anomalies_per_week,
                    };
            }
            assert!((after / expected - 1.0).abs() < 0.1, "{}: {after} of {expected}", preset.name);
            assert!((before / after / preset.backfill_share - 1.0).abs() < 0.15, "{}: {before} to {after}", preset.name);
        }
    }
}
