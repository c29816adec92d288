//! Of the metrics of one entity that are out of the ordinary in the same bucket, the one that is furthest so speaks for all.
//!
//! When a host is in trouble, a dozen of its metrics jump at once. Each is evidence of what goes on, which episodes and incidents are made of; but it is one
//! anomaly, not a dozen. Plain state without timely; [`crate::operators::score_buckets`] drives it.
//!
//! **Invariant.** Who leads is a function of the voices of one entity in one bucket: not of the order in which they came, nor of any other bucket.

use crate::Time;
use crate::identity::{EntityId, MetricId};
use crate::policy::Policy;
use crate::provisional::Provisional;
use crate::verdict::{State, Verdict};
use std::collections::{BTreeSet, HashMap};

/// An entity and the start of a bucket.
type Moment = (EntityId, Time);

/// Something that is said of one metric of an entity in one bucket.
pub trait Voice: Copy + PartialEq {
    /// Of which entity and bucket.
    fn moment(&self) -> (EntityId, Time);
    /// Of which metric.
    fn metric(&self) -> MetricId;
    /// How far it is from what is expected, in sigmas.
    fn z_score(&self) -> f64;
}

impl Voice for Verdict {
    fn moment(&self) -> (EntityId, Time) {
        (self.bucket.entity, self.bucket.start)
    }

    fn metric(&self) -> MetricId {
        self.bucket.metric
    }

    fn z_score(&self) -> f64 {
        self.score.map_or(0.0, |score| score.z_score.0)
    }
}

impl Voice for Provisional {
    fn moment(&self) -> (EntityId, Time) {
        (self.entity, self.start)
    }

    fn metric(&self) -> MetricId {
        self.metric
    }

    fn z_score(&self) -> f64 {
        self.score.z_score.0
    }
}

/// How a voice is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It speaks for its entity.
    Leads,
    /// Another one does.
    Accompanies,
}

impl Part {
    /// A verdict in this part.
    pub fn of(self, verdict: Verdict) -> Verdict {
        match self {
            Self::Leads => verdict,
            Self::Accompanies => Verdict { state: State::Accompanying, ..verdict },
        }
    }
}

struct Singer<V> {
    voice: V,
    /// `|z|` in units of the metric's threshold.
    loudness: f64,
    /// As it was last said.
    part: Option<Part>,
}

/// The voices of one worker, as long as they may change.
pub struct Chorus<V> {
    moments: HashMap<Moment, Vec<Singer<V>>>,
    /// Where a voice came or went since [`Chorus::finish`].
    touched: BTreeSet<Moment>,
}

impl<V> Default for Chorus<V> {
    fn default() -> Self {
        Self { moments: HashMap::new(), touched: BTreeSet::new() }
    }
}

impl<V: Voice> Chorus<V> {
    /// Takes a voice, or takes it back, which is said at once. A metric has one voice: a new one takes the place of what was said of it before, since of an
    /// open bucket something may be foretold anew without being taken back.
    pub fn take(&mut self, voice: V, sign: isize, policy: &Policy, say: &mut dyn FnMut(V, Part, isize)) {
        let moment = voice.moment();
        self.touched.insert(moment);
        let singers = self.moments.entry(moment).or_default();
        if sign > 0 {
            let loudness = voice.z_score().abs() / policy.limits(voice.metric()).threshold;
            if let Some(place) = singers.iter().position(|singer| singer.voice.metric() == voice.metric()) {
                let gone = singers.swap_remove(place);
                gone.part.into_iter().for_each(|part| say(gone.voice, part, -1));
            }
            singers.push(Singer { voice, loudness, part: None });
        } else if let Some(place) = singers.iter().position(|singer| singer.voice == voice) {
            let gone = singers.swap_remove(place);
            gone.part.into_iter().for_each(|part| say(voice, part, -1));
        } else {
            say(voice, Part::Leads, -1);
        }
    }

    /// Says who leads and who accompanies, where that has changed.
    pub fn finish(&mut self, say: &mut dyn FnMut(V, Part, isize)) {
        for moment in std::mem::take(&mut self.touched) {
            let Some(singers) = self.moments.get_mut(&moment) else { continue };
            let louder = |one: &&Singer<V>, other: &&Singer<V>| {
                one.loudness.total_cmp(&other.loudness).then(other.voice.metric().cmp(&one.voice.metric()))
            };
            let Some(leader) = singers.iter().max_by(louder).map(|leader| leader.voice.metric()) else {
                self.moments.remove(&moment);
                continue;
            };
            for singer in singers {
                let part = if singer.voice.metric() == leader { Part::Leads } else { Part::Accompanies };
                if singer.part != Some(part) {
                    singer.part.into_iter().for_each(|before| say(singer.voice, before, -1));
                    say(singer.voice, part, 1);
                    singer.part = Some(part);
                }
            }
        }
    }

    /// Forgets the voices of buckets that start before this: they can change no more.
    pub fn forget(&mut self, settled: Time) {
        self.moments.retain(|(_, start), _| *start >= settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Number;
    use crate::verdict::{Aggregate, Bucket, Score};

    fn verdict(metric: u32, start: Time, z_score: f64) -> Verdict {
        let mean = Number(50.0 + z_score);
        let aggregate = Aggregate { count: 1, mean, min: mean, max: mean, stddev: Number(0.0) };
        let bucket = Bucket { entity: EntityId(1), metric: MetricId(metric), start, aggregate: Some(aggregate) };
        let score = Score { expected: Number(50.0), sigma: Number(1.0), z_score: Number(z_score) };
        Verdict { bucket, score: Some(score), state: State::Anomalous }
    }

    type Told = Vec<(u32, Part, isize)>;

    fn sing(chorus: &mut Chorus<Verdict>, changes: &[(Verdict, isize)]) -> Told {
        let mut told = Vec::new();
        let mut say = |verdict: Verdict, part, sign| told.push((verdict.bucket.metric.0, part, sign));
        changes.iter().for_each(|(verdict, sign)| chorus.take(*verdict, *sign, &Policy::default(), &mut say));
        chorus.finish(&mut say);
        told
    }

    #[test]
    fn the_loudest_speaks_and_is_replaced_by_a_louder_one() {
        use Part::{Accompanies, Leads};
        let mut chorus = Chorus::default();
        assert_eq!(sing(&mut chorus, &[(verdict(1, 0, 4.0), 1), (verdict(2, 0, -5.0), 1)]), [(1, Accompanies, 1), (2, Leads, 1)]);
        assert_eq!(sing(&mut chorus, &[(verdict(3, 0, 6.0), 1)]), [(2, Leads, -1), (2, Accompanies, 1), (3, Leads, 1)]);
        assert_eq!(sing(&mut chorus, &[(verdict(4, 300, 3.5), 1)]), [(4, Leads, 1)], "another bucket is another matter");
        assert_eq!(sing(&mut chorus, &[(verdict(3, 0, 6.0), -1)]), [(3, Leads, -1), (2, Accompanies, -1), (2, Leads, 1)]);
    }

    #[test]
    fn of_two_that_are_as_loud_the_order_of_arrival_does_not_choose() {
        let voices = [(verdict(7, 0, 4.0), 1), (verdict(3, 0, -4.0), 1)];
        let leader = |told: Told| told.into_iter().find(|(_, part, _)| *part == Part::Leads).map(|(metric, ..)| metric);
        assert_eq!(leader(sing(&mut Chorus::default(), &voices)), Some(3));
        assert_eq!(leader(sing(&mut Chorus::default(), &[voices[1], voices[0]])), Some(3));
    }

    #[test]
    fn a_threshold_of_its_own_is_what_a_metric_is_measured_by() {
        let strict = crate::Limits { threshold: 6.0, ..crate::Limits::default() };
        let policy = Policy { by_metric: [(MetricId(1), strict)].into(), ..Policy::default() };
        let (mut chorus, mut leads) = (Chorus::default(), Vec::new());
        let mut say = |verdict: Verdict, part, _: isize| leads.extend((part == Part::Leads).then_some(verdict.bucket.metric.0));
        chorus.take(verdict(1, 0, 7.0), 1, &policy, &mut say);
        chorus.take(verdict(2, 0, 5.0), 1, &policy, &mut say);
        chorus.finish(&mut say);
        assert_eq!(leads, [2]);
    }

    #[test]
    fn a_metric_that_is_told_of_anew_has_one_voice() {
        use Part::{Accompanies, Leads};
        let mut chorus = Chorus::default();
        sing(&mut chorus, &[(verdict(1, 0, 8.0), 1), (verdict(2, 0, 5.0), 1)]);
        assert_eq!(sing(&mut chorus, &[(verdict(1, 0, 6.0), 1)]), [(1, Leads, -1), (1, Leads, 1)]);
        // What is gone leads no longer.
        assert_eq!(sing(&mut chorus, &[(verdict(1, 0, 6.0), -1)]), [(1, Leads, -1), (2, Accompanies, -1), (2, Leads, 1)]);
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let mut chorus = Chorus::default();
        sing(&mut chorus, &[(verdict(1, 0, 4.0), 1), (verdict(1, 300, 4.0), 1)]);
        chorus.forget(300);
        assert_eq!(chorus.moments.len(), 1);
        sing(&mut chorus, &[(verdict(1, 300, 4.0), -1)]);
        assert!(chorus.moments.is_empty());
    }
}
