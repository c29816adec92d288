//! Who is known in one partition: its entities and their series, as many as the limits allow, each until it was silent for long enough.
//!
//! **Invariant.** Whether a record is let in follows from the records before it in its own partition: not from other partitions, the number of
//! workers, or a restart. A record that is read again was let in if each of its series was known at its offset.

use crate::history::Stay;
use crate::limits::Limits;
use crate::source::decode::Refusal;
use dataflows::identity::HashedMap;
use dataflows::{EntityId, MetricId, Time, Timing};
use std::collections::HashMap;

/// Silences are measured in steps of this part of `forget`, so that a series is written down that often at most. In a bucket everything is one moment.
const STEPS: Time = 8;

/// The step by which silences are measured.
pub fn step(timing: &Timing) -> Time {
    (timing.forget / STEPS).max(timing.bucket_width)
}

/// A series that is known.
struct Known {
    metric: MetricId,
    since: i64,
    last: Time,
    /// The step in which its name was said.
    said: Time,
}

/// An entity that is known, with at least one series.
#[derive(Default)]
struct Member {
    series: Vec<Known>,
    /// A hash of the labels that were said last, the bucket in which, and the step in which the name was.
    said: Option<(u64, Time, Time)>,
    /// The list of metrics, the labels and the step of a record after which another one like it changes nothing and says nothing.
    usual: Option<(u64, u64, Time)>,
}

impl Member {
    /// The place of a metric among the series; `hint` is where it probably is, since an entity sends its metrics in the same order each time.
    fn place(&self, metric: MetricId, hint: usize) -> Option<usize> {
        match self.series.get(hint) {
            Some(known) if known.metric == metric => Some(hint),
            _ => self.series.iter().position(|known| known.metric == metric),
        }
    }

    /// Whether all these metrics were heard in the step `now`: most records change nothing.
    fn is_heard(&self, metrics: &[MetricId], now: Time) -> bool {
        metrics.iter().enumerate().all(|(hint, metric)| self.place(*metric, hint).is_some_and(|place| self.series[place].last >= now))
    }
}

/// A record as far as its admission is concerned.
pub struct Arrival<'a> {
    /// The thing measured.
    pub entity: EntityId,
    /// What was measured, in the record's order.
    pub metrics: &'a [MetricId],
    /// A number that no other list of metrics has.
    pub form: u64,
    /// A hash of its labels.
    pub labels: u64,
    /// The record's place.
    pub offset: i64,
    /// Whether it was part of an earlier run's commit.
    pub replayed: bool,
}

/// A name that is to be said.
pub enum Word {
    /// The entity's, with its labels.
    Entity,
    /// That of the metric in this place of the record.
    Metric(usize),
}

/// Who is known in one partition.
pub struct Census {
    partition: String,
    limits: Limits,
    forget: Time,
    step: Time,
    members: HashedMap<EntityId, Member>,
    /// The number of all series of all members.
    series: usize,
    /// The step that event time is in.
    now: Time,
    /// Those who left, from when until when: a restart reads records of theirs again.
    former: HashMap<(EntityId, MetricId), Vec<(i64, i64)>>,
    /// Whether an earlier run wrote down who was known.
    is_restored: bool,
}

impl Census {
    /// Those whom an earlier run knew in a partition; nobody on a first run.
    pub fn new<'s>(partition: &str, limits: Limits, timing: &Timing, stays: impl Iterator<Item = &'s Stay>) -> Self {
        let mut census = Self {
            partition: partition.into(),
            limits,
            forget: timing.forget,
            step: step(timing),
            members: HashedMap::default(),
            series: 0,
            now: Time::MIN,
            former: HashMap::new(),
            is_restored: false,
        };
        for stay in stays.filter(|stay| stay.partition == partition) {
            census.is_restored = true;
            match stay.until {
                Some(until) => census.former.entry((stay.entity, stay.metric)).or_default().push((stay.since, until)),
                None => {
                    let known = Known { metric: stay.metric, since: stay.since, last: stay.last, said: Time::MIN };
                    census.members.entry(stay.entity).or_default().series.push(known);
                    census.series += 1;
                }
            }
        }
        census
    }

    /// Whether a record is like one before it, so that it would be let in and nothing be said: nearly every record is.
    pub fn is_usual(&self, arrival: &Arrival<'_>, latest: Time) -> bool {
        let usual = Some((arrival.form, arrival.labels, self.now));
        !arrival.replayed && self.is_now(latest) && self.members.get(&arrival.entity).is_some_and(|member| member.usual == usual)
    }

    /// Whether event time is in the step still that it was in when the last record was let in, or refused.
    pub fn is_now(&self, latest: Time) -> bool {
        (self.now..self.now.saturating_add(self.step)).contains(&latest)
    }

    /// Lets a record in or refuses it, when event time has come to `latest`. What changes is said, to be written down with the record's offset.
    ///
    /// # Errors
    /// A refusal: `too_many_entities`, `too_many_metrics` or `too_many_series`.
    pub fn admit(&mut self, arrival: &Arrival<'_>, latest: Time, say: &mut dyn FnMut(Stay)) -> Result<(), Refusal> {
        let now = latest.div_euclid(self.step).saturating_mul(self.step);
        if now > self.now {
            self.now = now;
            if !arrival.replayed {
                self.let_go(arrival.offset, say);
            }
        }
        if arrival.replayed && self.is_restored {
            return if self.was_known(arrival) { Ok(()) } else { Err(Refusal::new("too_many_entities", "as before")) };
        }
        if self.members.get(&arrival.entity).is_some_and(|member| member.is_heard(arrival.metrics, now)) {
            return Ok(());
        }
        self.check(arrival)?;
        self.note(arrival, say);
        Ok(())
    }

    /// Takes leave of everybody who was silent for too long.
    fn let_go(&mut self, offset: i64, say: &mut dyn FnMut(Stay)) {
        let Self { partition, members, series, now, forget, .. } = self;
        members.retain(|entity, member| {
            member.series.retain(|known| {
                let stays = now.saturating_sub(known.last) <= *forget;
                if !stays {
                    *series -= 1;
                    say(stay(partition, *entity, known, Some(offset)));
                }
                stays
            });
            !member.series.is_empty()
        });
    }

    /// Whether each series of a record that is read again was known when it was read first.
    fn was_known(&self, arrival: &Arrival<'_>) -> bool {
        let member = self.members.get(&arrival.entity);
        arrival.metrics.iter().all(|metric| {
            let stays = member.and_then(|member| member.series.iter().find(|known| known.metric == *metric));
            let former = self.former.get(&(arrival.entity, *metric)).into_iter().flatten();
            stays.is_some_and(|known| known.since <= arrival.offset)
                || former.into_iter().any(|stay| (stay.0..stay.1).contains(&arrival.offset))
        })
    }

    /// Whether there is room for what a record brings.
    fn check(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let limits = &self.limits;
        let known = self.members.get(&arrival.entity);
        let is_known = |(hint, metric): &(usize, &MetricId)| known.is_some_and(|member| member.place(**metric, *hint).is_some());
        let fresh = arrival.metrics.iter().enumerate().filter(|one| !is_known(one)).count();
        if fresh == 0 {
            return Ok(());
        }
        if known.is_none() && self.members.len() >= limits.entities_max {
            let problem = format!("its partition knows {} entities, as many as --entities-max allows", self.members.len());
            return Err(Refusal::new("too_many_entities", problem));
        }
        if known.map_or(0, |member| member.series.len()) + fresh > limits.metrics_max {
            let problem = format!("with {fresh} more metrics its entity has more than {}, which --metrics-max allows", limits.metrics_max);
            return Err(Refusal::new("too_many_metrics", problem));
        }
        if self.series + fresh > limits.series_max {
            let problem = format!("its partition knows {} series, and --series-max allows {}", self.series, limits.series_max);
            return Err(Refusal::new("too_many_series", problem));
        }
        Ok(())
    }

    /// Takes note of the series of a record that was let in.
    fn note(&mut self, arrival: &Arrival<'_>, say: &mut dyn FnMut(Stay)) {
        let Self { partition, members, series, now, .. } = self;
        let member = members.entry(arrival.entity).or_default();
        for (hint, metric) in arrival.metrics.iter().enumerate() {
            let place = member.place(*metric, hint).unwrap_or_else(|| {
                *series += 1;
                member.series.push(Known { metric: *metric, since: arrival.offset, last: Time::MIN, said: Time::MIN });
                member.series.len() - 1
            });
            let known = &mut member.series[place];
            if known.last < *now {
                known.last = *now;
                say(stay(partition, arrival.entity, known, None));
            }
        }
    }

    /// Says the names that a record needs: each once in every step, those of an entity also when its labels change, but not twice in one `bucket`.
    /// One who left, and whose records are read again, is said each time.
    pub fn announce(&mut self, arrival: &Arrival<'_>, bucket: Time, say: &mut dyn FnMut(Word)) {
        let Self { members, now, .. } = self;
        let labels = arrival.labels;
        let mut member = members.get_mut(&arrival.entity);
        let said = member.as_ref().and_then(|member| member.said);
        if said.is_none_or(|(said, at, step)| step != *now || said != labels && at != bucket) {
            say(Word::Entity);
            member.iter_mut().for_each(|member| member.said = Some((labels, bucket, *now)));
        }
        for (hint, metric) in arrival.metrics.iter().enumerate() {
            let known = member.as_mut().and_then(|member| member.place(*metric, hint).map(|place| &mut member.series[place]));
            if known.is_none_or(|known| std::mem::replace(&mut known.said, *now) != *now) {
                say(Word::Metric(hint));
            }
        }
        if let Some(member) = member.filter(|_| !arrival.replayed) {
            let is_said = member.said.is_some_and(|(said, _, step)| (said, step) == (labels, *now));
            member.usual = is_said.then_some((arrival.form, labels, *now));
        }
    }

    /// The number of all series that are known.
    pub fn series(&self) -> usize {
        self.series
    }

    /// The step that event time is in.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Nothing will be read again any more.
    pub fn end_replay(&mut self) {
        (self.former, self.is_restored) = (HashMap::new(), false);
    }
}

fn stay(partition: &str, entity: EntityId, known: &Known, until: Option<i64>) -> Stay {
    Stay { partition: partition.into(), entity, metric: known.metric, since: known.since, until, last: known.last }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing =
        Timing { bucket_width: 10, out_of_orderness: 0, lateness: 100, skew: 0, forget: 800, patience: 0, floor: Time::MIN };

    fn census(stays: &[Stay]) -> Census {
        let limits = Limits { entities_max: 2, metrics_max: 2, series_max: 3, ..Limits::default() };
        Census::new("p", limits, &TIMING, stays.iter())
    }

    /// What becomes of a record of `entity` at `offset` when event time has come to `latest`; changes go to `book`, as they do in a history.
    fn arrive(census: &mut Census, book: &mut Vec<Stay>, entity: u64, metrics: &[u32], offset: i64, latest: Time) -> &'static str {
        repeat(census, book, entity, metrics, offset, latest, false)
    }

    fn repeat(
        census: &mut Census,
        book: &mut Vec<Stay>,
        entity: u64,
        metrics: &[u32],
        offset: i64,
        latest: Time,
        replayed: bool,
    ) -> &'static str {
        let metrics: Vec<MetricId> = metrics.iter().copied().map(MetricId).collect();
        let arrival = Arrival { entity: EntityId(entity), metrics: &metrics, form: 0, labels: 0, offset, replayed };
        let mut say = |stay: Stay| {
            let key = |stay: &Stay| (stay.entity, stay.metric, stay.since);
            book.retain(|known| key(known) != key(&stay));
            book.push(stay);
        };
        census.admit(&arrival, latest, &mut say).map_or_else(|refusal| refusal.reason, |()| "admitted")
    }

    #[test]
    fn a_limit_refuses_what_is_new_and_lets_go_on_what_is_known() {
        let (mut census, mut book) = (census(&[]), Vec::new());
        let mut next = |entity, metrics: &[u32], offset, latest| arrive(&mut census, &mut book, entity, metrics, offset, latest);
        assert_eq!(next(1, &[1, 2], 0, 0), "admitted");
        assert_eq!(next(1, &[1, 3], 1, 0), "too_many_metrics");
        assert_eq!(next(2, &[1, 2], 2, 0), "too_many_series");
        assert_eq!(next(2, &[1], 3, 0), "admitted");
        assert_eq!(next(3, &[1], 4, 0), "too_many_entities");
        assert_eq!(next(1, &[2, 1], 5, 0), "admitted");
        // Entity 1 is silent from 0 to 900: forget is 800, and a step is a hundred.
        assert_eq!(next(2, &[1], 6, 800), "admitted");
        assert_eq!(next(3, &[1], 7, 899), "too_many_entities");
        assert_eq!(next(3, &[1], 8, 900), "admitted");
        assert_eq!(next(1, &[1], 9, 950), "too_many_entities");
        assert_eq!(book.iter().filter(|stay| stay.until == Some(8)).count(), 2, "{book:?}");
    }

    #[test]
    fn a_record_that_is_read_again_has_the_answer_that_it_had() {
        // Five entities; one metric of each is always there, another one comes and goes.
        let metrics = |i: u64| if i.is_multiple_of(3) { vec![9] } else { vec![9, u32::try_from(i / 11 % 4).unwrap()] };
        let log: Vec<(u64, Vec<u32>, Time)> =
            (0..400).map(|i| ((i * i + i / 7) % 5, metrics(i), Time::try_from(i * 13).unwrap())).collect();
        let (mut whole, mut book) = (census(&[]), Vec::new());
        let (mut answers, mut books) = (Vec::new(), Vec::new());
        for (offset, (entity, metrics, latest)) in (0..).zip(&log) {
            answers.push(arrive(&mut whole, &mut book, *entity, metrics, offset, *latest));
            books.push(book.clone());
        }
        for reason in ["admitted", "too_many_entities", "too_many_metrics", "too_many_series"] {
            assert!(answers.contains(&reason), "{reason} never happens");
        }
        assert!(book.iter().any(|stay| stay.until.is_some()), "nobody is forgotten");
        // Committed before `next`, read again from up to fifty records before.
        for next in (1..log.len()).step_by(3) {
            let mut book = books[next - 1].clone();
            let mut census = census(&book);
            for place in next.saturating_sub(50)..log.len() {
                let (entity, metrics, latest) = &log[place];
                if place == next {
                    census.end_replay();
                }
                let answer = repeat(&mut census, &mut book, *entity, metrics, i64::try_from(place).unwrap(), *latest, place < next);
                assert_eq!(answer == "admitted", answers[place] == "admitted", "record {place} after a commit before {next}");
                assert!(place < next || answer == answers[place]);
            }
            let sorted = |mut book: Vec<Stay>| {
                book.sort_by_key(|stay| (stay.entity, stay.metric, stay.since));
                book
            };
            assert_eq!(sorted(book), sorted(books[log.len() - 1].clone()));
        }
    }

    #[test]
    fn names_are_said_once_in_a_step_and_labels_once_in_a_bucket() {
        let (mut census, mut book) = (census(&[]), Vec::new());
        let metrics = [MetricId(1), MetricId(2)];
        let mut words = |latest: Time, labels: u64| {
            arrive(&mut census, &mut book, 1, &[1, 2], latest, latest);
            let arrival = Arrival { entity: EntityId(1), metrics: &metrics, form: 1, labels, offset: latest, replayed: false };
            let is_usual = census.is_usual(&arrival, latest);
            let mut said = String::new();
            census.announce(&arrival, TIMING.start(latest), &mut |word| match word {
                Word::Entity => said.push('E'),
                Word::Metric(place) => said += &place.to_string(),
            });
            assert!(!is_usual || said.is_empty(), "what is usual says nothing");
            assert!(
                census.is_usual(&arrival, latest) || matches!(latest, 2 | 12),
                "and is usual from then on, but with labels that were not said"
            );
            said
        };
        assert_eq!(
            (words(0, 7), words(1, 7), words(2, 8), words(11, 8), words(12, 9)),
            ("E01".into(), "".into(), "".into(), "E".into(), "".into())
        );
        assert_eq!((words(99, 9), words(101, 9)), ("E".into(), "E01".into()));
    }
}
