//! The episodes and incidents that are alive, as the graph has said them so far, and what of that history has not heard.

use super::net::net;
use crate::history::incident::Withdrawn;
use crate::history::unsettled::Unsettled;
use dataflows::{EntityId, Episode, EpisodeId, Incident, IncidentId, MetricId, Stage, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What is alive.
#[derive(Default)]
pub struct Ledger {
    episodes: HashMap<EpisodeId, Episode>,
    incidents: HashMap<IncidentId, Incident>,
    membership: HashMap<EpisodeId, IncidentId>,
    /// What an earlier run left, until the graph has said what holds of it.
    left: Unsettled,
}

/// What a group of epochs comes to.
#[derive(Default)]
pub struct Changes {
    /// Episodes that are new or changed, or belong to another incident now.
    pub episodes: Vec<(Episode, IncidentId)>,
    /// Episodes that no longer hold.
    pub episodes_withdrawn: Vec<EpisodeId>,
    /// Incidents that are new or changed, each with what was last said of it.
    pub incidents: Vec<(Incident, Option<Incident>)>,
    /// Incidents that no longer hold, each with what was last said of it, if that is known.
    pub incidents_withdrawn: Vec<(Withdrawn, Option<Incident>)>,
    /// The episodes of incidents that can change no more: once this is durable, the graph may forget them.
    pub retired: Vec<EpisodeId>,
}

impl Ledger {
    /// A ledger that goes on from what an earlier run left.
    pub fn new(left: &Unsettled) -> Self {
        let left = Unsettled { pasts: Vec::new(), episodes: left.episodes.clone(), incidents: left.incidents.clone() };
        Self { left, ..Self::default() }
    }

    /// The series of the episodes that are alive.
    pub fn living(&self) -> HashSet<(EntityId, MetricId)> {
        self.episodes.keys().map(|id| (id.entity, id.metric)).collect()
    }

    /// The oldest living episode of each series: when it opened.
    pub fn oldest(&self) -> BTreeMap<(EntityId, MetricId), Time> {
        let mut oldest = BTreeMap::new();
        for id in self.episodes.keys() {
            let opened = oldest.entry((id.entity, id.metric)).or_insert(id.opened);
            *opened = id.opened.min(*opened);
        }
        oldest
    }

    /// Whether an earlier run has told of an incident.
    pub fn was_told(&self, incident: IncidentId) -> bool {
        self.left.incidents.contains(&incident)
    }

    /// Takes what a group of epochs has said.
    pub fn apply(&mut self, episodes: Vec<(Episode, isize)>, incidents: Vec<(Incident, isize)>) -> Changes {
        let mut changes = Changes::default();
        let mut stirred: BTreeSet<EpisodeId> = BTreeSet::new();
        for (id, change) in net(episodes, |episode| episode.id) {
            match change {
                (_, Some(episode)) => {
                    self.episodes.insert(id, episode);
                    stirred.insert(id);
                }
                (Some(gone), None) => {
                    self.episodes.remove(&id);
                    self.membership.remove(&id);
                    // What is settled is not withdrawn when it goes: the graph has forgotten it.
                    changes.episodes_withdrawn.extend((gone.stage != Stage::Settled).then_some(id));
                }
                (None, None) => {}
            }
        }
        let mut gone = Vec::new();
        for (id, change) in net(incidents, |incident| incident.id) {
            match change {
                (_, Some(incident)) => {
                    let joining = incident.episodes.iter().filter(|episode| self.membership.get(episode) != Some(&id));
                    stirred.extend(joining);
                    self.membership.extend(incident.episodes.iter().map(|episode| (*episode, id)));
                    changes.retired.extend(incident.episodes.iter().filter(|_| incident.stage == Stage::Settled));
                    let before = self.incidents.insert(id, incident.clone());
                    changes.incidents.push((incident, before));
                }
                (Some(incident), None) => {
                    self.incidents.remove(&id);
                    gone.extend((incident.stage != Stage::Settled).then_some(incident));
                }
                (None, None) => {}
            }
        }
        let reason = "late samples, a model or a silence took its evidence back";
        changes
            .incidents_withdrawn
            .extend(gone.into_iter().map(|incident| (self.withdrawn(incident.id, Some(&incident.first.1), reason), Some(incident))));
        self.settle_accounts(&mut changes);
        let known = stirred.iter().filter_map(|id| Some((*self.episodes.get(id)?, *self.membership.get(id)?)));
        changes.episodes = known.collect();
        changes
    }

    /// What an earlier run left and the graph did not say again holds no more: a silence or a model has come meanwhile.
    fn settle_accounts(&mut self, changes: &mut Changes) {
        let left = std::mem::take(&mut self.left);
        changes.episodes_withdrawn.extend(left.episodes.iter().filter(|id| !self.episodes.contains_key(id)));
        let reason = "it does not hold under the models, silences and limits that are known now";
        let vanished = left.incidents.iter().filter(|id| !self.incidents.contains_key(id));
        let first = |id: &IncidentId| left.episodes.iter().find(|episode| IncidentId::of(episode) == *id);
        let withdrawn = |id: &IncidentId| self.withdrawn(*id, first(id), reason);
        changes.incidents_withdrawn.extend(vanished.map(|id| (withdrawn(id), None)));
    }

    /// Why an incident is no more: the episode that it was known by is part of another one, or `reason`.
    fn withdrawn(&self, id: IncidentId, first: Option<&EpisodeId>, reason: &str) -> Withdrawn {
        let joined = first.and_then(|first| self.membership.get(first)).copied().filter(|heir| *heir != id);
        let reason = joined.map_or_else(|| reason.to_string(), |heir| format!("it belongs to incident {:016x}", heir.0));
        Withdrawn { id, reason, joined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Placement, Scope, Severity};

    fn episode(n: u64, stage: Stage) -> Episode {
        let id = EpisodeId { opened: 300, entity: EntityId(n), metric: MetricId(1) };
        Episode { id, confirmed: 600, last: 600, stage, anomalous: 2, missing: 0, severity: Severity::Low, peak: None }
    }

    fn incident(episodes: &[Episode]) -> Incident {
        let first = &episodes[0];
        Incident {
            id: IncidentId::of(&first.id),
            scope: Scope::Entity,
            first: (first.confirmed, first.id),
            place: Placement { since: 0, entity: first.id.entity, entity_type: "server".into(), zone: String::new(), rack: String::new() },
            opened: 300,
            last: 600,
            stage: episodes.iter().map(|episode| episode.stage).min().unwrap(),
            severity: Severity::Low,
            peak: None,
            entities: 1,
            peers: 1,
            metrics: vec![MetricId(1)],
            anomalous: 2,
            missing: 0,
            episodes: episodes.iter().map(|episode| episode.id).collect(),
        }
    }

    #[test]
    fn an_incident_that_is_joined_to_another_says_which() {
        let (one, two) = (episode(1, Stage::Open), episode(2, Stage::Open));
        let mut ledger = Ledger::default();
        let first = ledger.apply(vec![(one, 1), (two, 1)], vec![(incident(&[one]), 1), (incident(&[two]), 1)]);
        assert_eq!((first.incidents.len(), first.episodes.len()), (2, 2));
        let both = incident(&[one, two]);
        let joined = ledger.apply(Vec::new(), vec![(incident(&[one]), -1), (incident(&[two]), -1), (both.clone(), 1)]);
        assert_eq!(joined.incidents[0].1, Some(incident(&[one])));
        assert_eq!(joined.episodes, [(two, both.id)]);
        let withdrawn = &joined.incidents_withdrawn[0].0;
        assert!(withdrawn.reason.contains(&format!("{:016x}", both.id.0)) && withdrawn.joined == Some(both.id), "{withdrawn:?}");
        assert_eq!(joined.episodes_withdrawn, []);
    }

    #[test]
    fn what_is_settled_is_retired_and_then_forgotten_without_being_withdrawn() {
        let (open, settled) = (episode(1, Stage::Open), episode(1, Stage::Settled));
        let mut ledger = Ledger::default();
        ledger.apply(vec![(open, 1)], vec![(incident(&[open]), 1)]);
        let done = ledger.apply(vec![(open, -1), (settled, 1)], vec![(incident(&[open]), -1), (incident(&[settled]), 1)]);
        assert_eq!(done.retired, [open.id]);
        let forgotten = ledger.apply(vec![(settled, -1)], vec![(incident(&[settled]), -1)]);
        assert!(forgotten.incidents_withdrawn.is_empty() && forgotten.episodes_withdrawn.is_empty() && ledger.incidents.is_empty());
    }

    #[test]
    fn evidence_that_is_taken_back_withdraws_the_incident() {
        let open = episode(1, Stage::Open);
        let mut ledger = Ledger::default();
        ledger.apply(vec![(open, 1)], vec![(incident(&[open]), 1)]);
        let gone = ledger.apply(vec![(open, -1)], vec![(incident(&[open]), -1)]);
        assert_eq!(gone.episodes_withdrawn, [open.id]);
        let withdrawn = &gone.incidents_withdrawn[0].0;
        assert!(withdrawn.reason.contains("took its evidence back") && withdrawn.joined.is_none());
    }

    /// Failed once: what was left of an incident was called a larger one that it had joined.
    #[test]
    fn what_loses_its_first_episode_is_part_of_nothing_larger() {
        let (one, two) = (episode(1, Stage::Open), episode(2, Stage::Open));
        let mut ledger = Ledger::default();
        ledger.apply(vec![(one, 1), (two, 1)], vec![(incident(&[one, two]), 1)]);
        let rest = ledger.apply(vec![(one, -1)], vec![(incident(&[one, two]), -1), (incident(&[two]), 1)]);
        let withdrawn = &rest.incidents_withdrawn[0].0;
        assert!(withdrawn.joined.is_none() && withdrawn.reason.contains("took its evidence back"), "{withdrawn:?}");
    }

    #[test]
    fn what_an_earlier_run_left_is_withdrawn_unless_it_is_said_again() {
        let (kept, lost) = (episode(1, Stage::Open), episode(2, Stage::Open));
        let left = Unsettled {
            pasts: Vec::new(),
            episodes: [kept.id, lost.id].into(),
            incidents: [IncidentId::of(&kept.id), IncidentId::of(&lost.id)].into(),
        };
        let mut ledger = Ledger::new(&left);
        assert!(ledger.was_told(IncidentId::of(&kept.id)));
        let changes = ledger.apply(vec![(kept, 1)], vec![(incident(&[kept]), 1)]);
        assert_eq!(changes.episodes_withdrawn, [lost.id]);
        assert_eq!(changes.incidents_withdrawn.iter().map(|gone| gone.0.id).collect::<Vec<_>>(), [IncidentId::of(&lost.id)]);
    }
}
