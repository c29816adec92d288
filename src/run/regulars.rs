//! Who sends records like the one before: nearly all do, and which entity such a record is of is then known by its bytes, without an identity being
//! made of its name, or the entity being looked up among all others.

use crate::source::decoder::Filled;
use dataflows::{EntityId, Time};
use std::collections::HashMap;

/// An entity, and what its last record said of it.
struct Regular {
    /// See [`Filled::entity`].
    said: Vec<u8>,
    /// The template that the record was read by.
    form: u64,
    /// The step of event time in which another record like it changes nothing.
    step: Time,
    entity: EntityId,
    /// The place of the one that came next: who collects metrics goes round.
    next: usize,
}

/// The regulars of one partition.
#[derive(Default)]
pub struct Regulars {
    all: Vec<Regular>,
    /// Their places, by name.
    places: HashMap<Vec<u8>, usize, foldhash::fast::FixedState>,
    /// The place of the one that came last.
    latest: usize,
}

impl Regulars {
    /// The entity of a record that says what the last one of its entity said, so that the census would let it in and say nothing in this `step`.
    pub fn find(&mut self, filled: &Filled<'_>, step: Time) -> Option<EntityId> {
        let is_usual = |known: &Regular| (known.step, known.form) == (step, filled.form()) && filled.is_of(&known.said);
        let mut place = self.all.get(self.latest)?.next;
        if !is_usual(&self.all[place]) {
            place = *self.places.get(filled.entity_id()).filter(|place| is_usual(&self.all[**place]))?;
        }
        self.follow(place);
        Some(self.all[place].entity)
    }

    /// Takes note of a record that the census has let in, by its name, what it said of its entity, and its form; `step`: that in which another one like it
    /// changes nothing, if it is so. No more than `most` are known.
    pub fn note(&mut self, (name, said, form): (Vec<u8>, Vec<u8>, u64), entity: EntityId, step: Option<Time>, most: usize) {
        if self.all.len() >= most && !self.places.contains_key(&name) {
            *self = Self::default();
        }
        let place = *self.places.entry(name).or_insert(self.all.len());
        let known = Regular { said, form, step: step.unwrap_or(Time::MIN), entity, next: 0 };
        match self.all.get_mut(place) {
            Some(before) => *before = Regular { next: before.next, ..known },
            None => self.all.push(known),
        }
        self.follow(place);
    }

    /// Takes note that the census has heard of an entity by a record that no template fits.
    pub fn forget(&mut self, name: &[u8]) {
        self.places.get(name).into_iter().for_each(|place| self.all[*place].step = Time::MIN);
    }

    /// Takes note of whose turn it was.
    fn follow(&mut self, place: usize) {
        self.all[self.latest].next = place;
        self.latest = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kinds;
    use crate::limits::Limits;
    use crate::source::decoder::{Decoder, Read};

    #[test]
    fn one_is_known_by_name_labels_form_and_step_whoever_comes_next() {
        let (mut decoder, mut regulars) = (Decoder::new(Kinds::default(), Limits::default()), Regulars::default());
        let record =
            |name: &str, rack: &str| format!(r#"{{"timestamp":"2026-01-24T12:34:56Z","server_id":"{name}","rack_id":"{rack}","cpu":1}}"#);
        let mut is_known = |text: &str, step: Time| {
            // The first of its form is learned from.
            assert!(decoder.read(text.as_bytes()).is_ok());
            let Ok(Read::Filled(filled)) = decoder.read(text.as_bytes()) else {
                regulars.forget(b"c");
                return false;
            };
            let found = regulars.find(&filled, step);
            let name = (filled.entity_id().to_vec(), filled.entity(), filled.form());
            let entity = EntityId(u64::from(name.0[0]));
            assert!(found.is_none_or(|found| found == entity));
            if found.is_none() {
                regulars.note(name, entity, Some(step), 3);
            }
            found.is_some()
        };
        assert_eq!(["a", "b", "c"].map(|name| is_known(&record(name, "1"), 0)), [false; 3]);
        assert_eq!(["a", "b", "c", "a", "c", "b", "a"].map(|name| is_known(&record(name, "1"), 0)), [true; 7]);
        assert_eq!([is_known(&record("a", "2"), 0), is_known(&record("a", "2"), 0), is_known(&record("a", "1"), 0)], [false, true, false]);
        assert_eq!([is_known(&record("a", "1"), 7), is_known(&record("a", "1"), 7), is_known(&record("b", "1"), 0)], [false, true, true]);
        assert!(!is_known(&record("b", "1").replace(":1}", ": 1}"), 0), "written in another way");
        assert_eq!(
            [is_known(&record("c", "1"), 0), is_known(&record("c", "\\u0031"), 0), is_known(&record("c", "1"), 0)],
            [true, false, false]
        );
        assert_eq!([is_known(&record("d", "1"), 0), is_known(&record("c", "1"), 0)], [false; 2], "no more than three");
    }
}
