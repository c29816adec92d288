//! Names become identities on the reading side, each announced once; identities become names again on the committing side.

use super::output::{EntityName, Output};
use crate::history::{RawEvent, Series};
use crate::kind::Kinds;
use crate::run::output::RawSamples;
use crate::series::SeriesName;
use crate::source::decode::Decoded;
use dataflows::{EntityId, MetricId, SeriesId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The names that one worker has announced.
#[derive(Default)]
pub struct Announced {
    /// A hash of the labels, and the bucket in which they were announced.
    entities: HashMap<EntityId, (u64, i64)>,
    /// By position in the record, since a producer keeps its order.
    recent: Vec<(String, MetricId)>,
    metrics: HashSet<MetricId>,
}

impl Announced {
    /// The identity of the entity of an event, announced on first sight, and when its labels change, but not twice in one `bucket`.
    pub fn entity(
        &mut self,
        decoded: &Decoded<'_>,
        kinds: &Kinds,
        partition: &str,
        bucket: i64,
        announce: &mut dyn FnMut(Output),
    ) -> EntityId {
        let kind = kinds.iter().nth(decoded.kind);
        let entity_type = kind.map_or("", |kind| kind.entity_type.as_str());
        let id = EntityId::of(entity_type, &decoded.entity_id);
        let labels = decoded.labels.iter().fold(0, |hash, label| hash ^ EntityId::of(&label.0, &label.1).0);
        let known = self.entities.get(&id);
        if known.is_none_or(|known| known.0 != labels && known.1 != bucket) {
            self.entities.insert(id, (labels, bucket));
            let label = |name: Option<&String>| {
                let named = decoded.labels.iter().find(|label| name.is_some_and(|name| *name == label.0));
                named.map_or_else(String::new, |label| label.1.to_string())
            };
            announce(Output::Entity(Box::new(EntityName {
                id,
                entity_type: entity_type.into(),
                entity_id: decoded.entity_id.to_string(),
                labels: decoded.labels.iter().map(|label| (label.0.to_string(), label.1.to_string())).collect(),
                rack: label(kind.and_then(|kind| kind.rack.as_ref())),
                zone: label(kind.and_then(|kind| kind.zone.as_ref())),
                since: bucket,
                partition: partition.into(),
            })));
        }
        id
    }

    /// The identity of a metric at this place of a record, announced on first sight.
    pub fn metric(&mut self, place: usize, name: &str, announce: &mut dyn FnMut(Output)) -> MetricId {
        if let Some((_, id)) = self.recent.get(place).filter(|recent| recent.0 == name) {
            return *id;
        }
        let id = MetricId::of(name);
        if self.recent.len() <= place {
            self.recent.resize(place + 1, (String::new(), MetricId(0)));
        }
        self.recent[place] = (name.into(), id);
        if self.metrics.insert(id) {
            announce(Output::Metric(id, name.into()));
        }
        id
    }
}

/// The names that the committing worker has heard.
#[derive(Default)]
pub struct Directory {
    entities: HashMap<EntityId, EntityName>,
    metrics: HashMap<MetricId, String>,
    stored: HashSet<SeriesId>,
}

impl Directory {
    /// Takes note of a series that history knows already.
    pub fn recall(&mut self, series: &Series) {
        let name = &series.name;
        self.metrics.insert(MetricId::of(&name.metric), name.metric.clone());
        self.stored.insert(name.id());
        self.entities.insert(
            name.entity(),
            EntityName {
                id: name.entity(),
                entity_type: name.entity_type.clone(),
                entity_id: name.entity_id.clone(),
                labels: series.labels.clone().into_iter().collect(),
                rack: String::new(),
                zone: String::new(),
                since: i64::MIN,
                partition: series.partition.clone(),
            },
        );
    }

    /// Takes note of an entity; its series are to be stored again.
    pub fn hear_entity(&mut self, name: EntityName) {
        let metrics: Vec<MetricId> = self.metrics.keys().copied().collect();
        metrics.into_iter().for_each(|metric| {
            self.stored.remove(&SeriesId::of(name.id, metric));
        });
        self.entities.insert(name.id, name);
    }

    /// Takes note of a metric.
    pub fn hear_metric(&mut self, id: MetricId, name: String) {
        self.metrics.insert(id, name);
    }

    /// The name of a series, if both halves were heard.
    pub fn name(&self, entity: EntityId, metric: MetricId) -> Option<SeriesName> {
        let (entity, metric) = (self.entities.get(&entity)?, self.metrics.get(&metric)?);
        Some(SeriesName::new(&entity.entity_type, &entity.entity_id, metric))
    }

    /// The name of an entity; empty if it was not heard.
    pub fn entity(&self, entity: EntityId) -> String {
        self.entities.get(&entity).map_or_else(String::new, |entity| entity.entity_id.clone())
    }

    /// The name of a metric; empty if it was not heard.
    pub fn metric(&self, metric: MetricId) -> String {
        self.metrics.get(&metric).cloned().unwrap_or_default()
    }

    /// The series, if it was not stored yet.
    pub fn unstored(&mut self, entity: EntityId, metric: MetricId) -> Option<Series> {
        if !self.stored.insert(SeriesId::of(entity, metric)) {
            return None;
        }
        let name = self.name(entity, metric)?;
        let known = self.entities.get(&entity)?;
        Some(Series { name, labels: known.labels.iter().cloned().collect(), partition: known.partition.clone() })
    }

    /// A raw event with its names; `None` for kinds without a raw table.
    pub fn raw(&self, raw: &RawSamples, partitions: &HashMap<u32, String>) -> Option<RawEvent> {
        let entity = self.entities.get(&raw.entity).filter(|entity| matches!(entity.entity_type.as_str(), "server" | "application"))?;
        let metrics = raw.samples.iter().filter_map(|(metric, value)| Some((self.metrics.get(metric)?.clone(), *value))).collect();
        Some(RawEvent {
            entity_type: entity.entity_type.clone(),
            entity_id: entity.entity_id.clone(),
            time: raw.time,
            partition: partitions.get(&raw.partition).cloned().unwrap_or_else(|| raw.partition.to_string()),
            offset: raw.offset,
            labels: entity.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            metrics,
        })
    }
}
