//! Incidents: the episodes that belong together, because they are of one entity, or began at one moment in one rack, zone or kind.
//!
//! Plain functions without timely; [`crate::group_episodes`] applies them key by key.

use crate::Time;
use crate::episode::{Episode, EpisodeId, Peak, Stage};
use crate::identity::{EntityId, MetricId, mix};
use crate::policy::{IncidentPolicy, Policy};
use crate::verdict::Severity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Where an entity stands, and since when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The start of the first bucket in which it was seen there.
    pub since: Time,
    /// The entity.
    pub entity: EntityId,
    /// What kind of thing it is: `server`.
    pub entity_type: String,
    /// Its zone; empty where it has none.
    pub zone: String,
    /// Its rack; empty where it has none.
    pub rack: String,
}

/// How far what is wrong reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// One entity.
    Entity,
    /// A large part of a rack.
    Rack,
    /// A large part of a zone, in more than one of its racks.
    Zone,
    /// A large part of all entities of a kind, in more than one zone.
    Kind,
}

impl Scope {
    /// The scope as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Rack => "rack",
            Self::Zone => "zone",
            Self::Kind => "kind",
        }
    }
}

/// What tells incidents apart: a hash of the episode that was the first to be confirmed. It need not be the one that began first: a metric whose
/// evidence reaches further back may join what people have been told of, and that keeps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IncidentId(pub u64);

impl IncidentId {
    /// The incident that is known by this episode.
    pub fn of(first: &EpisodeId) -> Self {
        Self(mix(mix(first.opened.cast_unsigned()) ^ mix(first.entity.0) ^ u64::from(first.metric.0)))
    }
}

/// The episodes that belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incident {
    /// Which.
    pub id: IncidentId,
    /// How far it reaches.
    pub scope: Scope,
    /// Its first episode to be confirmed, and when that was.
    pub first: (Time, EpisodeId),
    /// Where the entity of that episode stands; of a rack's incident all do.
    pub place: Placement,
    /// The start of the first bucket of evidence.
    pub opened: Time,
    /// The start of the last bucket that was off so far: see [`Episode::last`].
    pub last: Time,
    /// How far it has come.
    pub stage: Stage,
    /// That of the worst bucket.
    pub severity: Severity,
    /// The series and bucket that was furthest from what was expected; `None` where all evidence is silence.
    pub peak: Option<(EntityId, MetricId, Peak)>,
    /// Entities hit.
    pub entities: u32,
    /// Entities there were in the rack, zone or kind, those that were not hit included; 1 for an entity.
    pub peers: u32,
    /// The metrics that were hit, ascending.
    pub metrics: Vec<MetricId>,
    /// Anomalous buckets.
    pub anomalous: u32,
    /// Missing buckets.
    pub missing: u32,
    /// What it consists of, ascending.
    pub episodes: Vec<EpisodeId>,
}

impl Incident {
    /// An episode on its own.
    fn of(episode: &Episode, place: &Placement) -> Self {
        let id = episode.id;
        Self {
            id: IncidentId::of(&id),
            scope: Scope::Entity,
            first: (episode.confirmed, id),
            place: place.clone(),
            opened: id.opened,
            last: episode.last,
            stage: episode.stage,
            severity: episode.severity,
            peak: episode.peak.map(|peak| (id.entity, id.metric, peak)),
            entities: 1,
            peers: 1,
            metrics: vec![id.metric],
            anomalous: episode.anomalous,
            missing: episode.missing,
            episodes: vec![id],
        }
    }

    /// Makes one of two; how many entities that are is up to the caller.
    fn absorb(&mut self, other: Self) {
        if other.first < self.first {
            (self.id, self.first, self.place) = (other.id, other.first, other.place);
        }
        self.opened = self.opened.min(other.opened);
        self.last = self.last.max(other.last);
        self.stage = self.stage.min(other.stage);
        self.severity = self.severity.max(other.severity);
        self.peak = self.peak.into_iter().chain(other.peak).max_by(|one, other| {
            let height = |peak: &(EntityId, MetricId, Peak)| peak.2.score.z_score.0.abs();
            // Of two as high, the earlier one, so that the order of absorption does not matter.
            let place = |peak: &(EntityId, MetricId, Peak)| (peak.2.start, peak.0, peak.1);
            height(one).total_cmp(&height(other)).then_with(|| place(other).cmp(&place(one)))
        });
        self.metrics.extend(other.metrics);
        self.metrics.sort_unstable();
        self.metrics.dedup();
        self.episodes.extend(other.episodes);
        self.episodes.sort_unstable();
        self.anomalous += other.anomalous;
        self.missing += other.missing;
    }
}

/// The incidents of one entity: its episodes, joined where they overlap or lie close together.
pub fn join(episodes: &[Episode], placements: &[Placement], policy: &Policy) -> Vec<Incident> {
    let mut incidents: Vec<Incident> = Vec::new();
    let mut episodes: Vec<&Episode> = episodes.iter().collect();
    episodes.sort_unstable();
    for episode in episodes {
        let Some(place) = placement_at(placements, episode.id.opened) else { continue };
        let incident = Incident::of(episode, place);
        match incidents.last_mut() {
            Some(latest) if latest.stage == Stage::Open || episode.id.opened - latest.last <= policy.buckets(policy.incident.gap) => {
                latest.absorb(incident);
            }
            _ => incidents.push(incident),
        }
    }
    incidents
}

/// Where an entity stood at a time; before it was first seen anywhere, where it was first seen.
fn placement_at(placements: &[Placement], time: Time) -> Option<&Placement> {
    let known = placements.iter().filter(|placement| placement.since <= time).max();
    known.or_else(|| placements.iter().min())
}

/// A rack, a zone, or a kind: those that stand there, and the incidents of its parts.
pub struct Peers {
    /// When each entity was first seen there.
    pub since: Vec<(EntityId, Time)>,
    /// What happened to its parts.
    pub incidents: Vec<Incident>,
}

/// The incidents of a rack, a zone or a kind: those of its parts, but one instead of many where a large part of its entities is hit at one moment.
///
/// A moment is a run of beginnings with enough entities within the onset window; what begins within another window after its last beginning belongs to
/// it. A zone is hit where several of its racks are, a kind where several of its zones are.
pub fn roll_up(scope: Scope, peers: Peers, policy: &Policy) -> Vec<Incident> {
    let Peers { mut since, mut incidents } = peers;
    let window = policy.buckets(policy.incident.onset_window);
    since.sort_unstable();
    since.dedup_by_key(|entity| entity.0);
    incidents.sort_unstable_by(|one, other| (one.opened, &one.episodes).cmp(&(other.opened, &other.episodes)));
    let mut arrivals: Vec<Time> = since.into_iter().map(|entity| entity.1).collect();
    arrivals.sort_unstable();
    let peers_at = |time: Time| u32::try_from(arrivals.partition_point(|since| *since <= time)).unwrap_or(u32::MAX);
    // Entities hit by the incidents before each, so that a window's number is one subtraction.
    let mut hit = vec![0];
    incidents.iter().for_each(|incident| hit.push(hit[hit.len() - 1] + incident.entities));
    let mut together = vec![false; incidents.len()];
    for first in 0..incidents.len() {
        let until = incidents[first].opened + window;
        let end = first + incidents[first..].partition_point(|incident| incident.opened <= until);
        let enough = is_enough(hit[end] - hit[first], peers_at(until), &policy.incident);
        if enough && is_spread(scope, &incidents[first..end]) {
            together[first..end].fill(true);
        }
    }
    let mut rolled: Vec<Incident> = Vec::new();
    let mut group: Option<Group> = None;
    for (incident, together) in incidents.into_iter().zip(together) {
        match &mut group {
            Some(group) if incident.opened <= group.latest + window => group.add(incident),
            _ if together => rolled.extend(group.replace(Group::new(incident)).map(|group| group.close(scope, peers_at))),
            _ => rolled.push(incident),
        }
    }
    rolled.extend(group.map(|group| group.close(scope, peers_at)));
    rolled
}

/// Whether so many entities, hit at one moment, are a large part of their peers.
fn is_enough(entities: u32, peers: u32, policy: &IncidentPolicy) -> bool {
    entities >= policy.entities_min && f64::from(entities) >= policy.share * f64::from(peers)
}

/// Whether incidents hit more than one part of the whole. Without racks or zones, each entity stands for itself.
fn is_spread(scope: Scope, incidents: &[Incident]) -> bool {
    let part = |incident: &Incident| match scope {
        Scope::Entity | Scope::Rack => None,
        Scope::Zone => Some(incident.place.rack.clone()),
        Scope::Kind => Some(incident.place.zone.clone()),
    };
    let first = part(&incidents[0]);
    first.as_ref().is_none_or(String::is_empty) || incidents.iter().any(|incident| part(incident) != first)
}

/// Incidents on their way to become one.
struct Group {
    whole: Incident,
    /// The last beginning.
    latest: Time,
}

impl Group {
    fn new(first: Incident) -> Self {
        Self { latest: first.opened, whole: first }
    }

    fn add(&mut self, incident: Incident) {
        self.latest = self.latest.max(incident.opened);
        self.whole.absorb(incident);
    }

    fn close(self, scope: Scope, peers_at: impl Fn(Time) -> u32) -> Incident {
        // One that was hit twice, too long apart to be one incident by itself, is one entity.
        let hit: BTreeSet<EntityId> = self.whole.episodes.iter().map(|episode| episode.entity).collect();
        let entities = u32::try_from(hit.len()).unwrap_or(u32::MAX);
        Incident { scope, entities, peers: peers_at(self.latest).max(entities), ..self.whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::{WIDTH, policy};

    fn placement(n: u64) -> Placement {
        Placement {
            since: 0,
            entity: EntityId(n),
            entity_type: "server".into(),
            zone: format!("zone-{}", n / 20),
            rack: format!("rack-{}", n / 10),
        }
    }

    fn episode(n: u64, metric: u32, opened: i64, last: i64, stage: Stage) -> Episode {
        let id = EpisodeId { opened: opened * WIDTH, entity: EntityId(n), metric: MetricId(metric) };
        Episode {
            id,
            confirmed: (opened + 1) * WIDTH,
            last: last * WIDTH,
            stage,
            anomalous: 2,
            missing: 0,
            severity: Severity::Low,
            peak: None,
        }
    }

    fn single(n: u64, opened: i64) -> Incident {
        join(&[episode(n, 1, opened, opened + 5, Stage::Closed)], &[placement(n)], &policy()).remove(0)
    }

    fn rack(incidents: Vec<Incident>) -> Vec<Incident> {
        let since = (0..10).map(|n| (EntityId(n), 0)).collect();
        roll_up(Scope::Rack, Peers { since, incidents }, &policy())
    }

    /// Failed once: of ten servers eleven were hit.
    #[test]
    fn an_entity_that_is_hit_twice_is_one() {
        let twice = join(&[episode(0, 1, 0, 1, Stage::Closed), episode(0, 2, 15, 20, Stage::Closed)], &[placement(0)], &policy());
        assert_eq!(twice.len(), 2);
        let others = (1..10).zip([0, 0, 0, 3, 6, 9, 12, 12, 15]).map(|(n, opened)| single(n, opened));
        let rolled = rack(twice.into_iter().chain(others).collect());
        assert_eq!((rolled.len(), rolled[0].entities, rolled[0].peers), (1, 10, 10));
    }

    #[test]
    fn episodes_of_one_entity_are_joined_over_the_gap_and_while_one_is_open() {
        let metrics = |episodes: &[Episode]| join(episodes, &[placement(1)], &policy()).iter().map(|i| i.metrics.len()).collect::<Vec<_>>();
        assert_eq!(metrics(&[episode(1, 1, 0, 5, Stage::Closed), episode(1, 2, 17, 20, Stage::Closed)]), [2]);
        assert_eq!(metrics(&[episode(1, 1, 0, 5, Stage::Closed), episode(1, 2, 18, 20, Stage::Closed)]), [1, 1]);
        assert_eq!(metrics(&[episode(1, 1, 0, 5, Stage::Open), episode(1, 2, 900, 903, Stage::Closed)]), [2]);
    }

    /// Failed once: what a second metric joined was withdrawn as a false alarm, and whoever was on call was paged again for the same host.
    #[test]
    fn an_incident_keeps_its_number_though_an_episode_with_earlier_evidence_joins() {
        let known = episode(1, 2, 10, 15, Stage::Open);
        let joins = Episode { confirmed: 12 * WIDTH, ..episode(1, 1, 9, 15, Stage::Open) };
        let [before, after] = [vec![known], vec![known, joins]].map(|episodes| join(&episodes, &[placement(1)], &policy()).remove(0));
        assert_eq!((after.id, after.opened, after.metrics.len()), (before.id, 9 * WIDTH, 2));
    }

    #[test]
    fn a_third_of_a_rack_at_one_moment_is_one_incident_and_less_is_not() {
        assert_eq!(rack((0..3).map(|n| single(n, 100)).collect()).len(), 3);
        let rolled = rack((0..4).map(|n| single(n, 100 + n.cast_signed())).collect());
        assert_eq!((rolled.len(), rolled[0].scope, rolled[0].entities, rolled[0].peers), (1, Scope::Rack, 4, 10));
        assert_eq!(rolled[0].id, single(0, 100).id, "it keeps the number of its first incident");
        assert_eq!(rolled[0].place.rack, "rack-0");
    }

    #[test]
    fn what_begins_later_joins_while_the_incident_grows_and_what_began_before_does_not() {
        let mut incidents: Vec<Incident> = (0..4).map(|n| single(n, 100)).collect();
        incidents.extend([single(5, 103), single(6, 110), single(7, 90)]);
        let mut rolled = rack(incidents);
        rolled.sort_by_key(|incident| incident.opened);
        let shape: Vec<_> = rolled.iter().map(|incident| (incident.scope, incident.opened / WIDTH, incident.entities)).collect();
        assert_eq!(shape, [(Scope::Entity, 90, 1), (Scope::Rack, 100, 5), (Scope::Entity, 110, 1)]);
    }

    #[test]
    fn a_zone_is_hit_only_where_several_of_its_racks_are() {
        let since: Vec<_> = (0..20).map(|n| (EntityId(n), 0)).collect();
        let zone = |entities: &[u64]| {
            let incidents = entities.iter().map(|n| single(*n, 100)).collect();
            roll_up(Scope::Zone, Peers { since: since.clone(), incidents }, &policy()).len()
        };
        assert_eq!(zone(&[0, 1, 2, 3, 4, 5, 6]), 7);
        assert_eq!(zone(&[0, 1, 2, 3, 14, 15, 16]), 1);
        assert_eq!(zone(&[0, 1, 2, 13, 14, 15]), 6);
    }

    #[test]
    fn an_entity_that_moved_is_counted_where_it_stood() {
        let moved = [placement(1), Placement { since: 50 * WIDTH, rack: "rack-9".into(), ..placement(1) }];
        let place = |opened| join(&[episode(1, 1, opened, opened, Stage::Closed)], &moved, &policy())[0].place.rack.clone();
        assert_eq!((place(49), place(50)), ("rack-0".into(), "rack-9".into()));
    }

    #[test]
    fn the_order_of_what_is_given_does_not_matter() {
        let incidents: Vec<Incident> = (0..6).map(|n| single(n, 100 + (n.cast_signed() * 7) % 4)).collect();
        let mut reversed = incidents.clone();
        reversed.reverse();
        assert_eq!(rack(incidents), rack(reversed));
    }
}
