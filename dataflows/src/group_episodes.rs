//! Episodes become incidents: differential dataflow, since a late sample, a silence or a new neighbour may change any of it.
//!
//! ```text
//!  episodes ───┐ by entity       by rack          by zone          by kind
//!              ├──► join ──────► roll_up ───────► roll_up ───────► roll_up ──► incidents
//!  placements ─┘      └─ peers ─────┴─────────────────┴────────────────┘
//! ```

use crate::Time;
use crate::episode::Episode;
use crate::identity::EntityId;
use crate::incident::{Incident, Peers, Placement, Scope, join, roll_up};
use crate::operators::{Epoch, stamp_updates};
use crate::policy::Policy;
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

/// What is known of an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum OfEntity {
    Placement(Placement),
    Episode(Episode),
}

/// What is known of a rack, a zone or a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum OfPlace {
    Peer(EntityId, Time),
    Incident(Box<Incident>),
}

/// Kind, zone and rack; those that a scope is not about are empty.
type Place = (String, String, String);

fn place(scope: Scope, placement: &Placement) -> Place {
    let part = |needed: Scope, text: &String| if scope <= needed { text.clone() } else { String::new() };
    (placement.entity_type.clone(), part(Scope::Zone, &placement.zone), part(Scope::Rack, &placement.rack))
}

/// Whether a place is one: an entity without a rack shares none with the others that have none.
fn is_place(scope: Scope, placement: &Placement) -> bool {
    match scope {
        Scope::Rack => !placement.rack.is_empty(),
        Scope::Zone => !placement.zone.is_empty(),
        Scope::Entity | Scope::Kind => true,
    }
}

/// The incidents that episodes come to, given where their entities stand.
///
/// `placements` are updates of a collection: each with its epoch and sign. Peers and episodes of one key are few: an update costs as much as the entities and live episodes of its rack, zone and kind. Episodes that are
/// retired take their incident with them, so all of an incident must be retired in one epoch.
pub fn group_episodes<'scope>(
    episodes: VecCollection<'scope, Epoch, Episode>,
    placements: StreamVec<'scope, Epoch, (Placement, Epoch, isize)>,
    policy: &Policy,
) -> VecCollection<'scope, Epoch, Incident> {
    let rules = policy.clone();
    let placements = placements.as_collection();
    let episodes = episodes.map(|episode| (episode.id.entity, OfEntity::Episode(episode)));
    let of_entities = placements.clone().map(|placement| (placement.entity, OfEntity::Placement(placement))).concat(episodes);
    let mut incidents = of_entities
        .reduce(move |_, facts, incidents| {
            let (mut episodes, mut placements) = (Vec::new(), Vec::new());
            for (fact, _) in facts {
                match fact {
                    OfEntity::Placement(placement) => placements.push(placement.clone()),
                    OfEntity::Episode(episode) => episodes.push(*episode),
                }
            }
            incidents.extend(join(&episodes, &placements, &rules).into_iter().map(|incident| (incident, 1)));
        })
        .map(|(_, incident)| incident);
    for scope in [Scope::Rack, Scope::Zone, Scope::Kind] {
        incidents = roll_up_by(scope, incidents, placements.clone(), policy);
    }
    stamp_updates(incidents).as_collection()
}

fn roll_up_by<'scope>(
    scope: Scope,
    incidents: VecCollection<'scope, Epoch, Incident>,
    placements: VecCollection<'scope, Epoch, Placement>,
    policy: &Policy,
) -> VecCollection<'scope, Epoch, Incident> {
    let policy = policy.clone();
    let (alone, placed) =
        (incidents.clone().filter(move |i| !is_place(scope, &i.place)), incidents.filter(move |i| is_place(scope, &i.place)));
    let peers = placements
        .filter(move |placement| is_place(scope, placement))
        .map(move |placement| (place(scope, &placement), OfPlace::Peer(placement.entity, placement.since)));
    let placed = placed.map(move |incident| (place(scope, &incident.place), OfPlace::Incident(Box::new(incident))));
    let rolled = peers.concat(placed).reduce(move |_, facts, rolled| {
        let mut peers = Peers { since: Vec::new(), incidents: Vec::new() };
        for (fact, _) in facts {
            match fact {
                OfPlace::Peer(entity, since) => peers.since.push((*entity, *since)),
                OfPlace::Incident(incident) => peers.incidents.push((**incident).clone()),
            }
        }
        if !peers.incidents.is_empty() {
            rolled.extend(roll_up(scope, peers, &policy).into_iter().map(|incident| (incident, 1)));
        }
    });
    rolled.map(|(_, incident)| incident).concat(alone)
}
