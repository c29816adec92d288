//! Who sends records like the one before: nearly all do, and which entity such a record is of is then known by its bytes, without an identity being
//! made of its name, or the entity being looked up among all others.

use crate::source::decoder::{Expected, Filled};
use dataflows::identity::HashedMap;
use dataflows::turn::Turn;
use dataflows::{EntityId, Time};
use smallvec::SmallVec;
use std::hash::BuildHasher;

/// What most records say of their entity is no longer: its name, a rack and a zone, and what stands between them.
const SAID: usize = 64;

/// An entity, and what its last record of one form said of it.
struct Regular {
    /// See [`Filled::entity`]. It is looked at for every record, and lies here unless it is long.
    said: SmallVec<[u8; SAID]>,
    /// The template that the record was read by.
    form: u64,
    /// The step of event time in which another record like it changes nothing.
    step: Time,
    entity: EntityId,
    /// A hash of the labels that it said.
    labels: u64,
    /// The place of the entity among all.
    owner: usize,
}

/// The regulars of one partition.
#[derive(Default)]
pub struct Regulars {
    /// In the order in which they came first: who collects metrics goes round, and comes in it again.
    all: Vec<Regular>,
    /// Their places, by a hash of their names and forms: what was said, the name in it, is compared anyway.
    places: HashedMap<u64, usize>,
    /// The places of the entities, and of each a hash of the labels that were said last.
    owners: HashedMap<EntityId, usize>,
    labels: Vec<u64>,
    /// Whose turn it is among the places.
    turn: Turn,
    /// The step of event time that the last of them came in.
    step: Time,
}

/// A record that the census has let in: who it is of, and a hash of the labels that it says.
#[derive(Clone, Copy)]
pub struct Heard {
    pub entity: EntityId,
    pub labels: u64,
    /// The step in which another record like it changes nothing, if it is so.
    pub step: Option<Time>,
}

impl Regulars {
    /// What the next record is expected to say of its entity.
    pub fn expected(&self) -> Expected<'_> {
        self.all.get(self.turn.next()).map_or_else(Expected::default, |known| Expected { form: known.form, said: &known.said })
    }

    /// The entity of a record that says what the last one of its entity said, so that the census would let it in and say nothing in this `step`.
    pub fn find(&mut self, filled: &Filled<'_>, step: Time) -> Option<EntityId> {
        // What was expected of it is what is known here.
        let expected = self.all.get(self.turn.next()).filter(|known| filled.is_expected() && self.holds(known, step));
        match expected.map(|known| known.entity) {
            Some(entity) => {
                self.turn.follow(self.turn.next(), self.all.len());
                Some(entity)
            }
            None => self.find_elsewhere(filled, step),
        }
    }

    /// Whether another record like it changes nothing in a step: its labels are those that were said last.
    #[inline]
    fn holds(&self, known: &Regular, step: Time) -> bool {
        known.step == step && self.labels.get(known.owner) == Some(&known.labels)
    }

    /// The entity in a place, if it is that of the record.
    fn entity_at(&self, place: usize, filled: &Filled<'_>, step: Time) -> Option<EntityId> {
        let known = self.all.get(place).filter(|known| known.form == filled.form() && self.holds(known, step))?;
        filled.is_of(&known.said).then_some(known.entity)
    }

    #[cold]
    fn find_elsewhere(&mut self, filled: &Filled<'_>, step: Time) -> Option<EntityId> {
        let at = |place: usize| self.entity_at(place, filled, step).map(|entity| (place, entity));
        let in_turn = [self.turn.next()].into_iter().chain(self.turn.others()).find_map(at);
        let (place, entity) = in_turn.or_else(|| self.places.get(&hash(filled.entity_id(), filled.form())).copied().and_then(at))?;
        self.turn.follow(place, self.all.len());
        Some(entity)
    }

    /// Takes note of a record that the census has let in, by its name, what it said of its entity, and its form. No more than `most` are known, and nobody is
    /// from one step to the next.
    pub fn note(&mut self, (name, said, form): (&[u8], &[u8], u64), heard: Heard, most: usize) {
        let is_new_step = heard.step.is_some_and(|step| step != self.step);
        if is_new_step || self.all.len() >= most {
            *self = Self { step: heard.step.unwrap_or(self.step), ..Self::default() };
        }
        self.hear(heard);
        let Heard { entity, labels, step } = heard;
        let step = step.unwrap_or(Time::MIN);
        let key = hash(name, form);
        let known = self.places.get(&key).copied().filter(|place| (self.all[*place].entity, self.all[*place].form) == (entity, form));
        let place = known.unwrap_or(self.all.len());
        match self.all.get_mut(place) {
            Some(known) => (known.said, known.labels, known.step) = (SmallVec::from_slice(said), labels, step),
            None => {
                let owner = *self.owners.entry(entity).or_insert(self.labels.len());
                if owner == self.labels.len() {
                    self.labels.push(labels);
                }
                self.places.insert(key, place);
                self.all.push(Regular { said: SmallVec::from_slice(said), form, step, entity, labels, owner });
            }
        }
        self.turn.follow(place, self.all.len());
    }

    /// Takes note that the census has heard of an entity. Where its labels were said, those that others of its records say have to be said again.
    pub fn hear(&mut self, Heard { entity, labels, step }: Heard) {
        let owner = self.owners.get(&entity).and_then(|owner| self.labels.get_mut(*owner)).filter(|_| step.is_some());
        owner.into_iter().for_each(|said| *said = labels);
    }
}

/// Names that have one hash take each other's place: each is then asked of the census every time.
fn hash(name: &[u8], form: u64) -> u64 {
    foldhash::fast::FixedState::default().hash_one((name, form))
}

#[cfg(test)]
mod tests {
    use super::super::example::{self, MINUTE};
    use super::super::intake::Intake;
    use super::super::names::Metrics;
    use super::super::share::Outlets;
    use super::super::stretch::Stretch;
    use super::super::{Job, Statistics};
    use super::*;
    use crate::history::Position;
    use crate::kind::Kinds;
    use crate::limits::Limits;
    use crate::source::decoder::{Decoder, Read};
    use crate::source::file::Files;
    use crate::source::{Partition, Record};
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::sync::Arc;

    /// A job whose census is soon full, and forgets within hours.
    fn job() -> Job {
        let limits = Limits { entities_max: 4, metrics_max: 3, series_max: 9, ..Limits::default() };
        let mut job = example::job(Arc::new(Files::open("-", 1024).unwrap()), limits);
        // A record may be late in the same step of the census in which one far ahead of it was refused.
        job.timing.lateness = MINUTE;
        job
    }

    /// All that is said of a log, record by record; if `is_forgetful`, nobody is ever known as a regular, and no time as plain.
    fn told(log: &[String], is_forgetful: bool) -> Vec<String> {
        let (job, statistics, told) = (job(), Statistics::default(), RefCell::new(Vec::new()));
        let mut stretch = Stretch::new(Partition { id: 0, name: "p".into() }, &Position::default(), &job);
        let (mut decoder, mut metrics) = (Decoder::new(job.kinds.clone(), job.limits), Metrics::default());
        let (restored_horizon, horizon, now) = (Time::MIN, Time::MIN, Time::MAX);
        let mut intake = Intake { job: &job, metrics: &mut metrics, statistics: &statistics, restored_horizon, horizon, now };
        for (offset, text) in (0..).zip(log) {
            let record = Record { offset, next_offset: offset + 1, bytes: text.as_bytes(), arrived_at: None, origin: None };
            let tell = |what: String| told.borrow_mut().push(format!("{offset}: {what}"));
            let mut events = Vec::new();
            let mut outlets = Outlets {
                events: &mut events,
                send: &mut |_| {},
                report: &mut |report| tell(format!("{report:?}")),
                output: &mut |output| tell(format!("{output:?}")),
            };
            intake.take(&mut decoder, &mut stretch, &record, &mut outlets);
            tell(format!("{events:?} {:?} {:?} {:?}", stretch.events, stretch.raw.events, stretch.raw.values));
            tell(format!("{:?} {:?}", stretch.clock, stretch.alive));
            if is_forgetful {
                (stretch.regulars, stretch.plain) = (Regulars::default(), 0..0);
            }
        }
        told.into_inner()
    }

    /// A record of one of a few entities, which others write in other ways, now and then with other labels or metrics.
    fn record(time: Time, (entity, kind, rack, style, metrics): (u8, bool, bool, u8, u8)) -> String {
        let (field, kind) = if kind { ("server_id", "server_metric") } else { ("service_name", "application_metric") };
        let (space, rack) = (if style == 1 { " " } else { "" }, if rack { "r1" } else { "r2" });
        let rack = if style == 2 { rack.replace('r', "\\u0072") } else { rack.to_owned() };
        let values: String = (0..=metrics / 4).map(|i| format!(r#","m{i}":{space}{i}.5"#)).collect();
        let time = crate::instant::format(time);
        // A name is the beginning of another.
        let entity = format!(r#""{field}":{space}"{}""#, ["e", "e1", "e11", "f", "1"][usize::from(entity)]);
        let labelled = match style {
            3 => format!(r#""zone_id":"{rack}",{entity}{values}"#),
            4 => format!(r#"{entity}{values},"zone_id":"{rack}""#),
            5 => format!("{entity}{values}"),
            _ => format!(r#"{entity},"zone_id":"{rack}"{values}"#),
        };
        format!(r#"{{"type":"{kind}","timestamp":"{time}",{labelled}}}"#)
    }

    proptest! {
        #[test]
        fn a_log_is_told_of_alike_whether_anybody_is_known_or_not(
            log in prop::collection::vec((0..60i64, (0u8..5, prop::bool::weighted(0.9), prop::bool::weighted(0.8), 0u8..9, 0u8..6)), 1..200)
        ) {
            let mut time = 1_768_780_800_000;
            let log: Vec<String> = log.into_iter().map(|(step, said)| {
                // Mostly a little later, sometimes much, sometimes before what came, and now and then on its own far ahead of all others.
                time += match step { 0 => 40 * MINUTE, 1 => -4 * MINUTE, 2 => -MINUTE, _ => 300 * step };
                record(time + if step == 3 { 4 * MINUTE } else { 0 }, said)
            }).collect();
            prop_assert_eq!(told(&log, false), told(&log, true));
        }
    }

    #[test]
    fn one_is_known_by_name_labels_form_and_step_whoever_comes_next() {
        let (mut decoder, mut regulars) = (Decoder::new(Kinds::default(), Limits::default()), Regulars::default());
        let record =
            |name: &str, rack: &str| format!(r#"{{"timestamp":"2026-01-24T12:34:56Z","server_id":"{name}","rack_id":"{rack}","cpu":1}}"#);
        let mut is_known = |text: &str, step: Time| {
            // The first of its form is learned from.
            assert!(decoder.read(text.as_bytes(), Expected::default()).is_ok());
            let heard = |name: &[u8]| {
                let labels = u64::from(text.contains(r#""2""#) || text.contains(r"\u0032"));
                Heard { entity: EntityId(u64::from(name[0])), labels, step: Some(step) }
            };
            let Ok(Read::Filled(filled)) = decoder.read(text.as_bytes(), regulars.expected()) else {
                regulars.hear(heard(b"c"));
                return false;
            };
            let found = regulars.find(&filled, step);
            let (name, said, form) = (filled.entity_id().to_vec(), filled.entity(), filled.form());
            let heard = heard(&name);
            assert!(found.is_none_or(|found| found == heard.entity));
            if found.is_none() {
                regulars.note((&name, &said, form), heard, 100);
            }
            found.is_some()
        };
        assert_eq!(["a", "b", "c"].map(|name| is_known(&record(name, "1"), 0)), [false; 3]);
        assert_eq!(["a", "b", "c", "a", "c", "b", "a"].map(|name| is_known(&record(name, "1"), 0)), [true; 7]);
        assert_eq!([is_known(&record("a", "2"), 0), is_known(&record("a", "2"), 0), is_known(&record("a", "1"), 0)], [false, true, false]);
        assert!(is_known(&record("b", "1"), 0));
        let spaced = |name: &str, rack: &str| record(name, rack).replace(":1}", ": 1}");
        let others = [spaced("b", "1"), record("b", "1"), spaced("b", "1"), spaced("b", "2"), record("b", "1"), spaced("b", "2")];
        assert_eq!(others.map(|text| is_known(&text, 0)), [false, true, true, false, false, false], "by each form, while it says the same");
        let long = |rack: &str| [record("c", "1"), record("c", rack), record("c", "1")];
        assert_eq!(long(r"\u0031").map(|text| is_known(&text, 0)), [true, false, true]);
        assert_eq!(long(r"\u0032").map(|text| is_known(&text, 0)), [true, false, false]);
        assert_eq!([is_known(&record("a", "1"), 7), is_known(&record("a", "1"), 7), is_known(&record("c", "1"), 7)], [false, true, false]);
    }

    #[test]
    fn no_more_are_known_than_there_may_be() {
        let mut regulars = Regulars::default();
        for entity in 0..1_000 {
            let heard = Heard { entity: EntityId(entity % 40), labels: 0, step: Some(0) };
            regulars.note((&entity.to_le_bytes(), b"x", entity), heard, 100);
            assert!(regulars.all.len() <= 100 && regulars.places.len() <= 100 && regulars.labels.len() <= 40);
        }
    }
}
