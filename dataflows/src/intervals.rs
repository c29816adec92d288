//! The stretches of event time that buckets are cut to, each with all its cells, in their order.
//!
//! Few can change at a time, and nearly every event falls into that of the one before it: where it is is remembered, and nothing is searched for.

use crate::Time;
use crate::accumulator::Accumulator;
use crate::cells::Cells;
use crate::identity::{EntityId, MetricId};
use crate::verdict::Bucket;
use std::collections::{BTreeSet, VecDeque};

/// All cells of one bucket's time.
#[derive(Default)]
pub(crate) struct Interval {
    pub(crate) closed: bool,
    pub(crate) cells: Cells,
    pub(crate) missing: BTreeSet<(u64, u32)>,
}

impl Interval {
    /// What is to be said of a series: `None` where it had no samples and is not missing.
    pub(crate) fn bucket(&self, start: Time, entity: u64, metric: u32) -> Option<Bucket> {
        let aggregate = self.cells.get(entity).and_then(|cell| cell.find(metric)).and_then(Accumulator::aggregate);
        (aggregate.is_some() || self.missing.contains(&(entity, metric))).then_some(Bucket {
            entity: EntityId(entity),
            metric: MetricId(metric),
            start,
            aggregate,
        })
    }
}

/// All of them that may still change, by the start of their buckets.
#[derive(Default)]
pub(crate) struct Intervals {
    all: VecDeque<(Time, Interval)>,
    /// The place of the one that was asked for last.
    latest: usize,
}

impl Intervals {
    fn find(&self, start: Time) -> Result<usize, usize> {
        self.all.binary_search_by_key(&start, |interval| interval.0)
    }

    /// The one that starts then; it begins with `begun` if there is none.
    #[inline]
    pub(crate) fn begun(&mut self, start: Time, begun: impl FnOnce() -> Interval) -> &mut Interval {
        if self.all.get(self.latest).is_none_or(|interval| interval.0 != start) {
            self.latest = self.find(start).unwrap_or_else(|place| {
                self.all.insert(place, (start, begun()));
                place
            });
        }
        &mut self.all[self.latest].1
    }

    pub(crate) fn get(&self, start: Time) -> Option<&Interval> {
        self.find(start).ok().map(|place| &self.all[place].1)
    }

    pub(crate) fn get_mut(&mut self, start: Time) -> Option<&mut Interval> {
        self.find(start).ok().map(|place| &mut self.all[place].1)
    }

    /// Those that start later.
    pub(crate) fn after(&mut self, start: Time) -> impl Iterator<Item = &mut (Time, Interval)> {
        let first = self.find(start).map_or_else(|place| place, |place| place + 1);
        self.all.range_mut(first..)
    }

    /// Those whose buckets are not closed.
    pub(crate) fn open(&mut self) -> impl Iterator<Item = &mut (Time, Interval)> {
        self.all.iter_mut().filter(|interval| !interval.1.closed)
    }

    /// Lets go of the earliest ones, as long as they are `settled`.
    pub(crate) fn settle(&mut self, settled: impl Fn(Time) -> bool) {
        while self.all.front().is_some_and(|interval| settled(interval.0)) {
            self.all.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn intervals_are_a_map_whoever_asks_for_which(steps in prop::collection::vec((0i64..9, 0u8..5), 0..60)) {
            let (mut intervals, mut map) = (Intervals::default(), BTreeMap::new());
            for (start, step) in steps {
                match step {
                    0 => {
                        intervals.settle(|other| other < start);
                        map.retain(|other, _| *other >= start);
                    }
                    1 => {
                        intervals.get_mut(start).into_iter().for_each(|interval| interval.closed = true);
                        map.entry(start).and_modify(|closed| *closed = true);
                    }
                    _ => prop_assert_eq!(intervals.begun(start, Interval::default).closed, *map.entry(start).or_insert(false)),
                }
                prop_assert_eq!(intervals.get(start).map(|interval| interval.closed), map.get(&start).copied());
                let after: Vec<_> = intervals.after(start).map(|interval| (interval.0, interval.1.closed)).collect();
                prop_assert_eq!(after, map.range(start + 1..).map(|(start, closed)| (*start, *closed)).collect::<Vec<_>>());
                let open: Vec<_> = intervals.open().map(|interval| interval.0).collect();
                prop_assert_eq!(open, map.iter().filter(|entry| !entry.1).map(|entry| *entry.0).collect::<Vec<_>>());
            }
        }
    }
}
