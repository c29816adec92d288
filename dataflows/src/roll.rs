//! The series of one worker, in the order in which they came first.
//!
//! Buckets come in nearly the same order again and again, since who collects metrics goes round: which series comes after which is remembered, so that
//! nothing is searched for. The order of the models, which come first, is another one.

use crate::followed::Series;
use crate::identity::{HashedMap, SeriesId};

/// Series, found by their identity or, more quickly, behind the one that came before.
#[derive(Default)]
pub(crate) struct Roll {
    places: HashedMap<SeriesId, usize>,
    ids: Vec<SeriesId>,
    all: Vec<Series>,
    /// Of each, the place of the one that came after it last.
    after: Vec<u32>,
    /// The place of the one that came last.
    last: usize,
}

impl Roll {
    /// A series, if it is there.
    pub(crate) fn get_mut(&mut self, id: SeriesId) -> Option<&mut Series> {
        self.places.get(&id).map(|place| &mut self.all[*place])
    }

    /// A series, which is new if it was not there.
    pub(crate) fn entry(&mut self, id: SeriesId) -> &mut Series {
        let place = self.find(id);
        &mut self.all[place]
    }

    /// The place of a series that comes after the one that was asked for last, until some are let go; it is new if it was not there.
    pub(crate) fn place(&mut self, id: SeriesId) -> usize {
        let expected = self.after.get(self.last).map_or(0, |place| *place as usize);
        let place = if self.ids.get(expected) == Some(&id) { expected } else { self.find_after(id) };
        self.last = place;
        place
    }

    #[cold]
    fn find_after(&mut self, id: SeriesId) -> usize {
        let place = self.find(id);
        if let Some(after) = self.after.get_mut(self.last) {
            // One that is not remembered is searched for.
            *after = u32::try_from(place).unwrap_or(0);
        }
        place
    }

    fn find(&mut self, id: SeriesId) -> usize {
        let Self { places, ids, all, after, .. } = self;
        *places.entry(id).or_insert_with(|| {
            ids.push(id);
            all.push(Series::default());
            after.push(0);
            all.len() - 1
        })
    }

    /// The series at a place.
    pub(crate) fn at(&self, place: usize) -> &Series {
        &self.all[place]
    }

    /// The series at a place.
    pub(crate) fn at_mut(&mut self, place: usize) -> &mut Series {
        &mut self.all[place]
    }

    /// All identities.
    pub(crate) fn ids(&self) -> &[SeriesId] {
        &self.ids
    }

    /// All of them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SeriesId, &mut Series)> {
        self.ids.iter().copied().zip(&mut self.all)
    }

    /// Lets go of those that are not to stay.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(SeriesId, &mut Series) -> bool) {
        let stay: Vec<bool> = self.ids.iter().zip(&mut self.all).map(|(id, series)| stays(*id, series)).collect();
        if stay.iter().all(|stays| *stays) {
            return;
        }
        let (mut one, mut other) = (stay.iter(), stay.iter());
        self.ids.retain(|_| one.next() == Some(&true));
        self.all.retain(|_| other.next() == Some(&true));
        self.places = self.ids.iter().copied().zip(0..).collect();
        (self.after, self.last) = (vec![0; self.ids.len()], 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_series_is_found_by_its_identity_whoever_comes_before_and_goes(steps in prop::collection::vec((0u64..8, 0u8..5), 0..80)) {
            let (mut roll, mut map) = (Roll::default(), BTreeMap::new());
            for (time, (id, step)) in (1i64..).zip(steps) {
                let series = SeriesId(id);
                match step {
                    0 => {
                        roll.retain(|_, series| series.stale.is_none_or(|time| time % 3 > 0));
                        map.retain(|_, time: &mut i64| *time % 3 > 0);
                    }
                    1 => roll.entry(series).stale = Some(*map.entry(series).or_insert(time)),
                    _ => {
                        let place = roll.place(series);
                        prop_assert_eq!(roll.at(place).stale, map.get(&series).copied());
                        roll.at_mut(place).stale = Some(*map.entry(series).or_insert(time));
                    }
                }
                prop_assert_eq!(roll.get_mut(series).and_then(|series| series.stale), map.get(&series).copied());
            }
            let all: BTreeMap<SeriesId, i64> = roll.iter_mut().filter_map(|(id, series)| Some((id, series.stale?))).collect();
            prop_assert_eq!((all, roll.ids().len()), (map.clone(), map.len()));
        }
    }
}
