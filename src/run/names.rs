//! Names become identities on the reading side; identities become names again on the committing side, which forgets what is no longer spoken of.

use super::census::{Arrival, step};
use super::output::EntityName;
use crate::history::{RawEntity, RawEvent, RawEvents, Series, has_raw_table};
use crate::kind::Kinds;
use crate::run::output::RawSamples;
use crate::series::SeriesName;
use crate::source::decode::Decoded;
use crate::source::decoder::FORMS_MAX;
use dataflows::identity::{HashedMap, HashedSet};
use dataflows::{EntityId, MetricId, Placement, Time, Timing};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

/// The identity of the entity of an event.
pub fn entity_of(decoded: &Decoded<'_>, kinds: &Kinds) -> EntityId {
    EntityId::of(entity_type(decoded.kind, kinds), &decoded.entity_id)
}

/// The entity type of an event of a kind.
pub fn entity_type(kind: usize, kinds: &Kinds) -> &str {
    kinds.iter().nth(kind).map_or("", |kind| kind.entity_type.as_str())
}

/// A hash of the labels of an event that does not depend on their order, of no meaning outside of this process.
pub fn labels_of(decoded: &Decoded<'_>) -> u64 {
    let quick = foldhash::fast::FixedState::default();
    decoded.labels.iter().fold(0, |hash, label| hash ^ quick.hash_one((&*label.0, &*label.1)))
}

/// The name of the entity of an event that an arrival brings in a partition, in the bucket that starts at `since`, when event time was at `heard`.
pub fn name_of(arrival: &Arrival<'_>, decoded: &Decoded<'_>, kinds: &Kinds, partition: &str, (since, heard): (Time, Time)) -> EntityName {
    let kind = kinds.iter().nth(decoded.kind);
    let label = |name: Option<&String>| {
        let named = decoded.labels.iter().find(|label| name.is_some_and(|name| *name == label.0));
        named.map_or_else(String::new, |label| label.1.to_string())
    };
    EntityName {
        id: arrival.entity,
        is_repeated: arrival.replayed,
        rack: label(kind.and_then(|kind| kind.rack.as_ref())),
        zone: label(kind.and_then(|kind| kind.zone.as_ref())),
        since,
        entity_type: entity_type(decoded.kind, kinds).into(),
        entity_id: decoded.entity_id.to_string(),
        labels: decoded.labels.iter().map(|label| (label.0.to_string(), label.1.to_string())).collect(),
        partition: partition.into(),
        heard,
    }
}

/// The metrics of the records of one kind, as the last of them had them.
#[derive(Default)]
struct Form {
    names: Vec<String>,
    ids: Rc<[MetricId]>,
    number: u64,
}

/// A list of metrics, and a number that no other list of this worker has.
type Listed = (Rc<[MetricId]>, u64);

/// The identities of the metrics of a record, by kind and position, since a producer keeps its order.
#[derive(Default)]
pub struct Metrics {
    forms: Vec<Form>,
    /// By the decoder's number, where it has one, each in a place that no other one has that it knows.
    decoded: Vec<Option<(u64, Listed)>>,
    numbers: u64,
}

impl Metrics {
    /// The identities of the metrics of an event in its order, and a number that no other list of this worker has.
    pub fn of(&mut self, decoded: &Decoded<'_>) -> Listed {
        if let Some((_, listed)) = decoded.form.and_then(|form| self.listed(form)) {
            return listed.clone();
        }
        if self.forms.len() <= decoded.kind {
            self.forms.resize_with(decoded.kind + 1, Form::default);
        }
        let form = &mut self.forms[decoded.kind];
        if !decoded.metrics.iter().map(|metric| &*metric.0).eq(form.names.iter().map(String::as_str)) {
            self.numbers += 1;
            form.names = decoded.metrics.iter().map(|metric| metric.0.to_string()).collect();
            form.ids = form.names.iter().map(|name| MetricId::of(name)).collect();
            form.number = self.numbers;
        }
        let listed = (Rc::clone(&form.ids), form.number);
        if let Some(number) = decoded.form {
            self.decoded.resize_with(FORMS_MAX, || None);
            self.decoded[place_of_form(number)] = Some((number, listed.clone()));
        }
        listed
    }

    /// The identities of the metrics of an event whose list has this number of the decoder's, if there was one lately.
    pub fn of_form(&self, form: u64) -> Option<&[MetricId]> {
        self.listed(form).map(|(_, listed)| &*listed.0)
    }

    #[inline]
    fn listed(&self, form: u64) -> Option<&(u64, Listed)> {
        self.decoded.get(place_of_form(form))?.as_ref().filter(|known| known.0 == form)
    }
}

/// The decoder counts its forms, and knows no more of them at once.
#[allow(clippy::cast_possible_truncation)] // a remainder
fn place_of_form(form: u64) -> usize {
    (form % FORMS_MAX as u64) as usize
}

/// Where the entities stand that one worker has told the graph of: names are said again and again, places only when they are news.
#[derive(Default)]
pub struct Placed {
    /// Zone and rack, and when the name was heard last.
    known: HashMap<EntityId, (u64, Time)>,
    /// Half the number at which those who were not heard for long are let go.
    kept: usize,
}

impl Placed {
    /// Takes note of where an earlier run found an entity; the last word counts.
    pub fn recall(&mut self, placement: &Placement) {
        self.known.insert(placement.entity, (place_of(&placement.zone, &placement.rack), placement.since));
    }

    /// Whether an entity stands elsewhere than it was said to, or was not said to stand anywhere for long.
    pub fn is_news(&mut self, name: &EntityName) -> bool {
        let place = place_of(&name.zone, &name.rack);
        if self.known.len() > 2 * self.kept.max(PLACED_MIN) {
            let mut heard: Vec<Time> = self.known.values().map(|known| known.1).collect();
            let middle = heard.len() / 2;
            let median = *heard.select_nth_unstable(middle).1;
            self.known.retain(|_, known| known.1 >= median);
            self.kept = self.known.len();
        }
        self.known.insert(name.id, (place, name.heard)).is_none_or(|known| known.0 != place)
    }
}

fn place_of(zone: &str, rack: &str) -> u64 {
    EntityId::of(zone, rack).0
}

/// Fewer places are not worth forgetting.
const PLACED_MIN: usize = 10_000;

/// An entity that the committing worker has heard of.
struct Heard {
    name: EntityName,
    /// The metrics whose series are stored as they are now.
    stored: HashedSet<MetricId>,
    /// The name as its raw events share it; `None` for kinds without a raw table.
    raw: Option<Arc<RawEntity>>,
}

impl Heard {
    fn new(name: EntityName) -> Self {
        let raw = raw_entity(&name);
        Self { name, stored: HashedSet::default(), raw }
    }
}

fn raw_entity(name: &EntityName) -> Option<Arc<RawEntity>> {
    let EntityName { entity_type, entity_id, labels, .. } = name;
    let entity = || RawEntity { entity_type: entity_type.clone(), entity_id: entity_id.clone(), labels: labels.iter().cloned().collect() };
    has_raw_table(entity_type).then(|| Arc::new(entity()))
}

/// The names that the committing worker has heard.
#[derive(Default)]
pub struct Directory {
    entities: HashedMap<EntityId, Heard>,
    /// A name, and the event time when it was heard last.
    metrics: HashedMap<MetricId, (Arc<str>, Time)>,
    swept: Time,
}

/// How long after a name was heard last a verdict may need it: a series is said again in each step in which it has samples, is missing until it was
/// silent for longer than `forget`, or its plan, and its verdicts change within the lateness.
pub fn kept_for(timing: &Timing) -> Time {
    timing.known_for() + 2 * step(timing) + timing.lateness + timing.bucket_width + timing.out_of_orderness
}

impl Directory {
    /// Takes note of a series that history knows already, and had samples in the bucket that started at `last`.
    pub fn recall(&mut self, series: &Series, last: Time) {
        let name = &series.name;
        let (id, metric) = (name.entity(), MetricId::of(&name.metric));
        self.hear_metric(metric, name.metric.clone(), last);
        let known = self.entities.entry(id).or_insert_with(|| {
            Heard::new(EntityName {
                id,
                entity_type: name.entity_type.clone(),
                entity_id: name.entity_id.clone(),
                labels: series.labels.clone().into_iter().collect(),
                rack: String::new(),
                zone: String::new(),
                since: i64::MIN,
                partition: series.partition.clone(),
                heard: last,
                is_repeated: true,
            })
        });
        known.name.heard = known.name.heard.max(last);
        known.stored.insert(metric);
    }

    /// Takes note of an entity. If it is not what it was, its series are to be stored again.
    pub fn hear_entity(&mut self, mut name: EntityName) {
        match self.entities.get_mut(&name.id) {
            Some(known) => {
                let is_same = known.name.labels == name.labels && known.name.partition == name.partition;
                name.heard = name.heard.max(known.name.heard);
                known.name = name;
                if !is_same {
                    known.stored.clear();
                    known.raw = raw_entity(&known.name);
                }
            }
            None => {
                self.entities.insert(name.id, Heard::new(name));
            }
        }
    }

    /// Takes note of a metric.
    pub fn hear_metric(&mut self, id: MetricId, name: String, heard: Time) {
        let known = self.metrics.entry(id).or_insert_with(|| (name.into(), heard));
        known.1 = known.1.max(heard);
    }

    /// Lets go of the names that no verdict and no living episode can need any more when event time has come to `horizon`.
    pub fn forget(&mut self, horizon: Time, timing: &Timing, living: &dyn Fn() -> HashSet<(EntityId, MetricId)>) {
        let before = horizon.saturating_sub(kept_for(timing));
        if horizon < Time::MAX && before >= self.swept.saturating_add(step(timing)) {
            self.swept = before;
            let living = living();
            let (entities, metrics): (HashSet<EntityId>, HashSet<MetricId>) = living.into_iter().unzip();
            self.entities.retain(|id, known| known.name.heard >= before || entities.contains(id));
            self.metrics.retain(|id, known| known.1 >= before || metrics.contains(id));
        }
    }

    /// The name of a series, if both halves were heard.
    pub fn name(&self, entity: EntityId, metric: MetricId) -> Option<SeriesName> {
        let (entity, metric) = (&self.entities.get(&entity)?.name, &self.metrics.get(&metric)?.0);
        Some(SeriesName::new(&entity.entity_type, &entity.entity_id, metric))
    }

    /// The name of an entity; empty if it was not heard.
    pub fn entity(&self, entity: EntityId) -> String {
        self.entities.get(&entity).map_or_else(String::new, |known| known.name.entity_id.clone())
    }

    /// The name of a metric; empty if it was not heard.
    pub fn metric(&self, metric: MetricId) -> String {
        self.metrics.get(&metric).map_or_else(String::new, |known| known.0.to_string())
    }

    /// The series, if it was not stored yet.
    pub fn unstored(&mut self, entity: EntityId, metric: MetricId) -> Option<Series> {
        let known = self.entities.get_mut(&entity).filter(|known| !known.stored.contains(&metric))?;
        let EntityName { entity_type, entity_id, labels, partition, .. } = &known.name;
        let name = SeriesName::new(entity_type, entity_id, &self.metrics.get(&metric)?.0);
        known.stored.insert(metric);
        Some(Series { name, labels: labels.iter().cloned().collect(), partition: partition.clone() })
    }

    /// Raw events with their names, without those of kinds that have no raw table.
    pub fn raw(&self, raw: RawSamples, partitions: &HashMap<u32, String>) -> RawEvents {
        let name = |metric: &MetricId| self.metrics.get(metric).map_or_else(|| Arc::from(""), |known| Arc::clone(&known.0));
        let forms: Vec<Vec<Arc<str>>> = raw.forms.iter().map(|form| form.iter().map(name).collect()).collect();
        let (mut events, mut next) = (Vec::with_capacity(raw.events.len()), 0);
        for event in &raw.events {
            let first = next;
            next += forms[event.form].len();
            if let Some(entity) = self.entities.get(&event.entity).and_then(|known| known.raw.as_ref()) {
                events.push(RawEvent { entity: Arc::clone(entity), time: event.time, offset: event.offset, form: event.form, first });
            }
        }
        let partition = partitions.get(&raw.partition).cloned().unwrap_or_else(|| raw.partition.to_string());
        RawEvents { partition, forms, events, values: raw.values }
    }

    /// How many names are held.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entities.len() + self.metrics.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing =
        Timing { bucket_width: 10, out_of_orderness: 0, lateness: 100, skew: 0, forget: 800, patience: 0, floor: Time::MIN };

    fn name(id: u64, label: &str, heard: Time) -> EntityName {
        let labels = vec![("rack_id".to_string(), label.to_string())];
        EntityName {
            id: EntityId(id),
            rack: String::new(),
            zone: String::new(),
            since: heard,
            is_repeated: false,
            entity_type: "server".into(),
            entity_id: format!("srv-{id}"),
            labels,
            partition: "p".into(),
            heard,
        }
    }

    #[test]
    fn a_flood_of_names_is_let_go_of_and_one_that_is_heard_again_is_stored_again() {
        let mut directory = Directory::default();
        for time in 0..100_000_i64 {
            directory.hear_entity(name(time.cast_unsigned(), "a", time));
            directory.hear_metric(MetricId(u32::try_from(time).unwrap()), "cpu".into(), time);
            directory.forget(time, &TIMING, &HashSet::new);
        }
        let most = 2 * usize::try_from(kept_for(&TIMING) + step(&TIMING) + 1).unwrap();
        assert!(directory.len() <= most, "{} names of which {most} may be needed", directory.len());
        assert!(directory.name(EntityId(7), MetricId(7)).is_none());
        let (entity, metric) = (EntityId(99_999), MetricId(99_999));
        assert!(directory.unstored(entity, metric).is_some() && directory.unstored(entity, metric).is_none());
        directory.hear_entity(name(99_999, "a", 100_000));
        assert!(directory.unstored(entity, metric).is_none(), "nothing about it has changed");
        directory.hear_entity(name(99_999, "b", 100_000));
        assert_eq!(directory.unstored(entity, metric).map(|series| series.labels["rack_id"].clone()), Some("b".into()));
    }
}
