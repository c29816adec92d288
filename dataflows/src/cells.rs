//! The samples of one bucket's time, entity by entity, in the order in which the entities came.
//!
//! Who collects metrics goes round, so that entities come in nearly the same order again and again: the cell of the next event most often is the one behind
//! that of the last, and its samples lie behind those. So nothing is searched for, and memory is read in the order in which it lies.

use crate::Time;
use crate::accumulator::Accumulator;
use crate::event::Event;
use crate::identity::HashedMap;
use crate::provisional::LAST;
use crate::turn::Turn;

/// The samples of one series.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) metric: u32,
    pub(crate) accumulator: Accumulator,
}

impl Part {
    /// Room for one.
    const NONE: Self = Self { metric: 0, accumulator: Accumulator::EMPTY };
}

/// Parts that are moved get room for so many at least.
const ROOM_MIN: usize = 4;

/// The latest samples of one series, newest first, each with its time.
#[derive(Clone, Copy)]
struct Latest([(Time, f64); LAST]);

impl Latest {
    const NONE: Self = Self([(Time::MIN, 0.0); LAST]);

    fn add(&mut self, time: Time, value: f64) {
        let [newest, before] = &mut self.0;
        if time >= newest.0 {
            (*newest, *before) = ((time, value), *newest);
        } else if time > before.0 {
            *before = (time, value);
        }
    }

    /// The mean of the latest samples, once there are enough.
    fn mean(&self) -> Option<f64> {
        let [newest, before] = self.0;
        (before.0 > Time::MIN).then(|| f64::midpoint(newest.1, before.1))
    }
}

/// Where the samples of one entity are.
struct Place {
    entity: u64,
    partition: u32,
    /// Whether samples came since somebody last looked.
    news: bool,
    /// The first of its parts, their number, and for how many there is room.
    first: usize,
    count: usize,
    room: usize,
    /// The part behind that of its last sample: an entity that sends its metrics by several events sends these in the same order each time.
    next: usize,
}

/// The samples of one entity.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'a> {
    pub(crate) entity: u64,
    /// The smallest partition that they came from.
    pub(crate) partition: u32,
    pub(crate) parts: &'a [Part],
}

impl<'a> Cell<'a> {
    /// What is held of a metric.
    pub(crate) fn find(&self, metric: u32) -> Option<&'a Accumulator> {
        self.parts.iter().find(|part| part.metric == metric).map(|part| &part.accumulator)
    }
}

/// All samples of one bucket's time.
#[derive(Default)]
pub(crate) struct Cells {
    places: Vec<Place>,
    by_entity: HashedMap<u64, usize>,
    parts: Vec<Part>,
    /// By part, where somebody looks at open buckets.
    latest: Vec<Latest>,
    /// The number of parts that mean something.
    series: usize,
    /// Whose turn it is among the places.
    turn: Turn,
}

impl Cells {
    /// Nothing yet, with room for as many entities and series. The next bucket most often comes to as many as the one before it, and to grow takes twice the room.
    pub(crate) fn with_room((entities, series): (usize, usize)) -> Self {
        Self {
            places: Vec::with_capacity(entities),
            by_entity: HashedMap::with_capacity_and_hasher(entities, Default::default()),
            parts: Vec::with_capacity(series),
            ..Self::default()
        }
    }

    /// The number of entities, and that of series.
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.places.len(), self.series)
    }

    /// Adds the samples of an event; the latest of each series are kept where it `is_looked_at`.
    pub(crate) fn add(&mut self, event: &Event, is_looked_at: bool) {
        let found = if self.is_at(self.turn.next(), event) { self.turn.next() } else { self.find(event) };
        self.turn.follow(found, self.places.len());
        let Self { places, parts, latest, .. } = self;
        let place = &mut places[found];
        place.partition = place.partition.min(event.partition);
        place.news = true;
        // An entity sends its metrics in the same order each time: nearly all are found where they were.
        let mine = place.first + place.next..place.first + place.count;
        let mut known = 0;
        for ((metric, value), part) in event.samples().zip(&mut parts[mine.clone()]) {
            if part.metric != metric.0 {
                break;
            }
            part.accumulator.add(value);
            known += 1;
        }
        if is_looked_at {
            event.samples().zip(&mut latest[mine]).take(known).for_each(|((_, value), latest)| latest.add(event.time, value));
        }
        place.passed(place.next + known);
        if known < event.samples().len() {
            self.add_elsewhere(event, found, known, is_looked_at);
        }
    }

    /// Adds the samples of an event behind the first `known`, whichever order they are in.
    #[cold]
    fn add_elsewhere(&mut self, event: &Event, found: usize, known: usize, is_looked_at: bool) {
        let Self { places, parts, latest, series, .. } = self;
        let place = &mut places[found];
        for (metric, value) in event.samples().skip(known) {
            let part = place.find(metric.0, parts).unwrap_or_else(|| {
                *series += 1;
                place.grow(metric.0, parts, is_looked_at.then_some(&mut *latest))
            });
            place.passed(part + 1 - place.first);
            parts[part].accumulator.add(value);
            if is_looked_at {
                latest[part].add(event.time, value);
            }
        }
    }

    /// Whether this is the place of an event's entity.
    fn is_at(&self, place: usize, event: &Event) -> bool {
        self.places.get(place).is_some_and(|place| place.entity == event.entity)
    }

    /// The place of an event's entity whose turn it is not.
    #[cold]
    fn find(&mut self, event: &Event) -> usize {
        let found = self.turn.others().into_iter().find(|place| self.is_at(*place, event));
        found.unwrap_or_else(|| self.place_of(event))
    }

    /// The place of an event's entity, behind all others if it has none yet.
    fn place_of(&mut self, event: &Event) -> usize {
        let Self { places, by_entity, parts, .. } = self;
        *by_entity.entry(event.entity).or_insert_with(|| {
            places.push(Place {
                entity: event.entity,
                partition: event.partition,
                news: true,
                first: parts.len(),
                count: 0,
                room: 0,
                next: 0,
            });
            places.len() - 1
        })
    }

    /// What is held of an entity.
    pub(crate) fn get(&self, entity: u64) -> Option<Cell<'_>> {
        self.by_entity.get(&entity).map(|place| self.cell(&self.places[*place]))
    }

    /// Everything, in the order in which the entities came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Cell<'_>> {
        self.places.iter().map(|place| self.cell(place))
    }

    fn cell(&self, place: &Place) -> Cell<'_> {
        Cell { entity: place.entity, partition: place.partition, parts: &self.parts[place.first..place.first + place.count] }
    }

    /// Shows the entities that samples came of since the last time: each series, and the mean of its latest samples.
    pub(crate) fn look(&mut self, show: &mut dyn FnMut(u64, &Part, Option<f64>)) {
        let Self { places, parts, latest, .. } = self;
        for place in places.iter_mut().filter(|place| place.news) {
            place.news = false;
            let range = place.first..place.first + place.count;
            parts[range.clone()].iter().zip(&latest[range]).for_each(|(part, latest)| show(place.entity, part, latest.mean()));
        }
    }
}

impl Place {
    /// Takes note that the last sample came to the part before this one.
    #[inline]
    fn passed(&mut self, next: usize) {
        self.next = if next < self.count { next } else { 0 };
    }

    /// The part of a metric.
    fn find(&self, metric: u32, parts: &[Part]) -> Option<usize> {
        let mine = &parts[self.first..self.first + self.count];
        mine.iter().position(|part| part.metric == metric).map(|place| self.first + place)
    }

    /// Adds a part, and its latest samples, where they are kept. Where there is no room, and the parts of others lie behind its own, these are moved behind
    /// all, into twice the room: what is left behind is no more than what is used.
    #[cold]
    fn grow(&mut self, metric: u32, parts: &mut Vec<Part>, latest: Option<&mut Vec<Latest>>) -> usize {
        let (mine, end) = (self.first..self.first + self.count, parts.len());
        let is_moved = self.count == self.room && self.first + self.room != end;
        if is_moved {
            parts.extend_from_within(mine.clone());
            (self.first, self.room) = (end, ROOM_MIN.max(2 * self.count));
        }
        self.count += 1;
        self.room = self.room.max(self.count);
        parts.resize(parts.len().max(self.first + self.room), Part::NONE);
        let part = self.first + self.count - 1;
        parts[part].metric = metric;
        if let Some(latest) = latest {
            if is_moved {
                latest.extend_from_within(mine);
            }
            latest.resize(parts.len(), Latest::NONE);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{EntityId, MetricId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn metrics_that_come_one_by_one_leave_no_more_behind_than_they_take() {
        let (entities, metrics) = (50, 40);
        let mut cells = Cells::default();
        for metric in 0..metrics {
            for entity in 0..entities {
                let mut event = Event::empty(EntityId(entity), 0, 0);
                event.push(MetricId(metric), 1.0);
                cells.add(&event, true);
            }
        }
        assert_eq!(cells.room(), (50, 2000));
        assert!(cells.parts.len() <= 4 * 2000 && cells.latest.len() == cells.parts.len(), "{} parts", cells.parts.len());
    }

    proptest! {
        #[test]
        fn cells_are_a_map_of_what_was_added_in_whatever_order(events in prop::collection::vec((0u64..4, 0u32..3, prop::collection::vec((0u32..5, -9.0..9.0f64), 1..4)), 0..60)) {
            let (mut cells, mut map) = (Cells::default(), BTreeMap::<(u64, u32), Vec<f64>>::new());
            let mut partitions = BTreeMap::<u64, u32>::new();
            for (time, (entity, partition, samples)) in (0..).zip(&events) {
                let mut event = Event::empty(EntityId(*entity), time, *partition);
                for (metric, value) in samples {
                    event.push(MetricId(*metric), *value);
                    map.entry((*entity, *metric)).or_default().push(*value);
                }
                let smallest = partitions.entry(*entity).or_insert(*partition);
                *smallest = (*smallest).min(*partition);
                cells.add(&event, true);
            }
            let mut shown = 0;
            cells.look(&mut |entity, part, latest| {
                shown += 1;
                let values = &map[&(entity, part.metric)];
                let last = values.last_chunk::<2>().map(|[before, newest]| f64::midpoint(*newest, *before));
                assert_eq!(latest, last);
            });
            cells.look(&mut |_, _, _| shown += 1);
            prop_assert_eq!(shown, map.len());
            let held: usize = cells.iter().map(|cell| cell.parts.len()).sum();
            prop_assert_eq!(held, map.len());
            for ((entity, metric), values) in &map {
                let mut expected = Accumulator::default();
                values.iter().for_each(|value| expected.add(*value));
                let cell = cells.get(*entity).unwrap();
                prop_assert_eq!((cell.partition, cell.find(*metric)), (partitions[entity], Some(&expected)));
            }
        }
    }
}
