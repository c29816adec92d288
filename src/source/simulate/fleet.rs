//! The entities of a preset: zones of racks of servers, and services that run on them.

use super::entity::{Entity, EntityType, WIDTH};
use super::hash::{Draws, draw};
use super::preset::Preset;
use super::{server, service};

/// Tells the keys of racks, of entities and of anomalies apart.
const RACK_KEYS: u64 = 0x7261_636b;
const ENTITY_KEYS: u64 = 0x656e_7469;
const ANOMALY_KEYS: u64 = 0x616e_6f6d;

/// All entities of a preset, servers first; their order is that of the log.
pub(super) fn build(preset: &Preset, seed: u64) -> Vec<Entity> {
    let servers = preset.racks * preset.servers_per_rack;
    let mut fleet: Vec<Entity> = (0..servers).map(|i| build_server(preset, seed, i)).collect();
    for i in 0..preset.services {
        let service = build_service(preset, seed, &fleet[..servers], servers + i, i);
        for host in service.neighbours.clone() {
            fleet[host].neighbours.push(servers + i);
        }
        fleet.push(service);
    }
    debug_assert!(fleet.iter().all(|entity| entity.channels.len() == entity.entity_type.metrics().len().min(WIDTH)));
    fleet
}

fn keyed(seed: u64, purpose: u64, number: usize) -> u64 {
    draw(draw(seed, purpose as i64), number as i64)
}

fn zone_name(zone: usize) -> String {
    format!("zone-{}", zone + 1)
}

fn build_server(preset: &Preset, seed: u64, index: usize) -> Entity {
    let rack = index / preset.servers_per_rack;
    let letter = char::from(b'A' + rack as u8);
    let mut draws = Draws::new(keyed(seed, ENTITY_KEYS, index));
    Entity {
        entity_type: EntityType::Server,
        id: format!("srv-{:03}", index + 1),
        rack: Some(format!("rack-{letter}")),
        zone: zone_name(rack * preset.zones / preset.racks),
        load: server::load(&mut draws),
        channels: server::channels(&mut draws),
        neighbours: Vec::new(),
        rack_key: keyed(seed, RACK_KEYS, rack),
        anomaly_key: keyed(seed, ANOMALY_KEYS, index),
    }
}

/// Services are dealt to the zones in turn, and run on a few servers of theirs.
fn build_service(preset: &Preset, seed: u64, servers: &[Entity], index: usize, number: usize) -> Entity {
    let mut draws = Draws::new(keyed(seed, ENTITY_KEYS, index));
    let zone = zone_name(number % preset.zones);
    let mut candidates: Vec<usize> = (0..servers.len()).filter(|i| servers[*i].zone == zone).collect();
    let count = service::HOSTS_MIN + draws.below(service::HOSTS_MAX - service::HOSTS_MIN + 1);
    let mut hosts: Vec<usize> = (0..count).map(|_| candidates.swap_remove(draws.below(candidates.len()))).collect();
    hosts.sort_unstable();
    Entity {
        entity_type: EntityType::Service,
        id: service::NAMES[number].to_owned(),
        rack: None,
        zone,
        load: service::load(&mut draws),
        channels: service::channels(&mut draws),
        neighbours: hosts,
        rack_key: 0,
        anomaly_key: keyed(seed, ANOMALY_KEYS, index),
    }
}

#[cfg(test)]
mod tests {
    use super::super::preset::PRESETS;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_preset_has_a_sound_fleet() {
        for preset in &PRESETS {
            let fleet = build(preset, 7);
            let names: HashSet<&str> = fleet.iter().map(|entity| entity.id.as_str()).collect();
            assert_eq!(names.len(), preset.racks * preset.servers_per_rack + preset.services, "{}", preset.name);
            for (i, entity) in fleet.iter().enumerate() {
                for neighbour in &entity.neighbours {
                    assert!(fleet[*neighbour].neighbours.contains(&i), "hosting goes both ways");
                    assert_eq!(fleet[*neighbour].zone, entity.zone);
                }
            }
            let racks: HashSet<&String> = fleet.iter().filter_map(|entity| entity.rack.as_ref()).collect();
            let zones: HashSet<&String> = fleet.iter().map(|entity| &entity.zone).collect();
            assert_eq!((racks.len(), zones.len()), (preset.racks, preset.zones));
        }
    }
}
