//! One worker's share of the log: its partitions, read in turn, none too far ahead of the others.

use super::Job;
use super::intake::Intake;
use super::names::Metrics;
use super::output::Output;
use super::statistics::Statistics;
use super::stretch::Stretch;
use crate::history::{Position, Progress};
use crate::source::decoder::Decoder;
use crate::source::{Partition, Poll, Reader, SourceError};
use dataflows::{Activity, Event, Report, Time};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Records of one partition per turn: enough to amortise the turn, few enough that the graph is stepped often.
const TURN: usize = 1024;
/// A partition that is this far ahead of the slowest one waits, so that open buckets stay few. In milliseconds of event time.
const SPREAD: Time = 3_600_000;

/// Where the partitions of this process are in event time; `None` for those that hold nobody back.
pub type Front = Mutex<BTreeMap<u32, Option<Time>>>;

/// All partitions of one worker.
pub struct Share<'a> {
    job: &'a Job,
    position: &'a Position,
    reader: Box<dyn Reader>,
    stretches: Vec<Stretch>,
    decoder: Decoder,
    metrics: Metrics,
    restored_horizon: Time,
    front: &'a Front,
    statistics: &'a Statistics,
}

/// Where the share puts what it reads.
pub struct Outlets<'a> {
    /// To `bucket_samples`, at the end of a turn.
    pub events: &'a mut Vec<Event>,
    /// Sends what is among them.
    pub send: &'a mut dyn FnMut(&mut Vec<Event>),
    /// To all workers.
    pub report: &'a mut dyn FnMut(Report),
    /// To the committing worker.
    pub output: &'a mut dyn FnMut(Output),
}

impl<'a> Share<'a> {
    /// Opens this worker's partitions where the last commit left them.
    pub fn open(
        job: &'a Job,
        position: &'a Position,
        mine: &[Partition],
        front: &'a Front,
        statistics: &'a Statistics,
    ) -> Result<Self, SourceError> {
        let place = |partition: &Partition| position.of(&partition.name);
        let mut offsets = Vec::new();
        for partition in mine {
            let progress = place(partition);
            if let Some(progress) = progress {
                job.source.check(partition, progress.next_offset)?;
                let bytes = progress.beginning_bytes();
                let begins = progress.beginning.as_ref().and_then(|_| job.source.beginning(partition, bytes));
                // What is shorter than it was is told as that when its end is reached.
                if begins.is_some_and(|begins| Some(&begins) != progress.beginning.as_ref() && Progress::bytes_of(&begins) >= bytes) {
                    return Err(SourceError::Replaced { partition: partition.name.clone() });
                }
            }
            offsets.push((partition.clone(), progress.map(|progress| progress.replay_offset)));
        }
        let reader = job.source.open(&offsets)?;
        let stretches = mine.iter().map(|partition| Stretch::new(partition.clone(), position, job)).collect();
        let restored_horizon = position.horizon.unwrap_or(Time::MIN);
        let decoder = Decoder::new(job.kinds.clone(), job.limits);
        let share = Self { job, position, reader, stretches, decoder, metrics: Metrics::default(), restored_horizon, front, statistics };
        share.stretches.iter().for_each(|stretch| share.show(stretch));
        Ok(share)
    }

    /// Takes up a partition that appeared after the start.
    pub fn add(&mut self, partition: &Partition) -> Result<(), SourceError> {
        if self.stretches.iter().all(|stretch| stretch.partition != *partition) {
            // One that an earlier run has read, and that the broker did not name at the start, goes on where it was.
            let offset = self.position.of(&partition.name).map(|progress| progress.replay_offset);
            self.reader.add(partition, offset)?;
            self.stretches.push(Stretch::new(partition.clone(), self.position, self.job));
        }
        Ok(())
    }

    /// Whether records of an earlier commit are still to be read again. Until then the epoch must not end.
    pub fn is_restoring(&self) -> bool {
        self.stretches.iter().any(Stretch::is_restoring)
    }

    /// Why the log cannot be reached just now, where it is so.
    pub fn absence(&self) -> Option<String> {
        self.reader.absence()
    }

    /// Whether every partition was read to its end.
    pub fn is_ended(&self) -> bool {
        self.stretches.iter().all(|stretch| stretch.activity == Activity::Ended)
    }

    /// Reads one turn of each partition that is not too far ahead; the number of records. `horizon` is the common watermark, as far as it is known.
    pub fn read(&mut self, horizon: Time, outlets: &mut Outlets<'_>) -> Result<usize, SourceError> {
        let slowest = self.front.lock().expect("no holder panics").values().filter_map(|place| *place).min();
        let mut total = 0;
        for place in 0..self.stretches.len() {
            let stretch = &self.stretches[place];
            let watermark = stretch.clock.watermark(&self.job.timing);
            // What was committed once is read again at once: while it is, the slower ones wait for it.
            let ahead = slowest.is_some_and(|slowest| watermark > slowest.saturating_add(SPREAD)) && !stretch.is_restoring();
            if stretch.activity == Activity::Ended || ahead {
                continue;
            }
            total += self.read_one(place, horizon, outlets)?;
            self.show(&self.stretches[place]);
        }
        Ok(total)
    }

    fn read_one(&mut self, place: usize, horizon: Time, outlets: &mut Outlets<'_>) -> Result<usize, SourceError> {
        let Self { job, reader, stretches, decoder, metrics, restored_horizon, statistics, .. } = self;
        let stretch = &mut stretches[place];
        let id = stretch.partition.id;
        let mut intake = Intake { job, metrics, statistics, restored_horizon: *restored_horizon, horizon, now: Time::MIN };
        // What is plain is so under this horizon.
        stretch.plain = 0..0;
        // While restoring, one record too many would put a new record into the epoch of the old ones.
        let (most, turns) = if stretch.is_restoring() { (1, TURN) } else { (TURN, 1) };
        let (mut polled, mut count) = (Ok(Poll::Waiting), 0);
        for _ in 0..turns {
            let counted = stretch.records;
            polled = reader.poll(id, most, &mut |record| intake.take(decoder, stretch, &record, outlets));
            statistics.records.add(stretch.records - counted);
            let Ok(Poll::Read(read)) = &polled else { break };
            count += read;
            if !stretch.is_restoring() {
                break;
            }
        }
        // What was read is said in this epoch, whatever became of reading.
        if !outlets.events.is_empty() {
            (outlets.send)(outlets.events);
        }
        if !stretch.raw.events.is_empty() {
            (outlets.output)(Output::Raw(Box::new(stretch.raw.take())));
        }
        stretch.note(polled?, job.idle_timeout)?;
        if !stretch.is_restoring() {
            stretch.end_replay();
        }
        Ok(count)
    }

    fn show(&self, stretch: &Stretch) {
        let place = (!stretch.is_behind_nobody()).then(|| stretch.clock.watermark(&self.job.timing));
        self.front.lock().expect("no holder panics").insert(stretch.partition.id, place);
    }

    /// Ends an epoch: says how far each partition has come. `horizon` is the common watermark, as far as it is known.
    pub fn report(&mut self, horizon: Time, outlets: &mut Outlets<'_>) {
        for stretch in &mut self.stretches {
            let watermark = stretch.clock.watermark(&self.job.timing);
            // The end of what is read now closes nothing if the log goes on behind it.
            let activity = match stretch.activity {
                Activity::Ended if self.job.log_continues && stretch.clock.latest() == Time::MIN => Activity::Idle,
                Activity::Ended if self.job.log_continues => Activity::Active,
                activity => activity,
            };
            if stretch.reported.replace((watermark, activity)) != Some((watermark, activity)) {
                (outlets.report)(Report::Watermark { partition: stretch.partition.id, watermark, activity });
            }
            while stretch.alive.first().is_some_and(|start| self.job.timing.is_settled(*start, horizon)) {
                stretch.alive.pop_first();
            }
            if let Some(progress) = stretch.progress(horizon, self.job) {
                (outlets.output)(Output::Progress(Box::new(progress), std::mem::take(&mut stretch.records)));
                for (outcome, more) in stretch.outcomes() {
                    self.statistics.note(&outcome, more);
                    (outlets.output)(Output::Outcome(Box::new(outcome)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::run::example;
    use crate::source::{Record, Source};
    use std::sync::Arc;

    const RECORDS: i64 = 3000;
    const COMMITTED: i64 = 2500;

    /// A log of one partition, an event a second; every hundredth poll of it fails.
    struct Weather;

    struct Reading {
        next: i64,
        polls: u32,
    }

    impl Source for Weather {
        fn identity(&self) -> String {
            "weather".into()
        }
        fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
            Ok(vec![Partition { id: 0, name: "p".into() }])
        }
        fn open(&self, partitions: &[(Partition, Option<i64>)]) -> Result<Box<dyn Reader>, SourceError> {
            Ok(Box::new(Reading { next: partitions[0].1.unwrap_or(0), polls: 0 }))
        }
        fn now(&self) -> Time {
            Time::MAX
        }
    }

    impl Reader for Reading {
        fn poll(&mut self, _: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
            self.polls += 1;
            if self.polls.is_multiple_of(100) {
                return Err(SourceError::Kafka { place: "p".into(), problem: "away".into(), transient: true });
            }
            let until = RECORDS.min(self.next + most as i64);
            for offset in self.next..until {
                let text = format!(r#"{{"server_id":"a","timestamp":{},"cpu":1}}"#, 1_769_000_000 + offset);
                take(Record { offset, next_offset: offset + 1, bytes: text.as_bytes(), arrived_at: None, origin: None });
            }
            let read = until - std::mem::replace(&mut self.next, until);
            Ok(if read > 0 { Poll::Read(read as usize) } else { Poll::Ended })
        }
        fn add(&mut self, _: &Partition, _: Option<i64>) -> Result<(), SourceError> {
            Ok(())
        }
    }

    #[test]
    fn what_is_read_again_while_the_log_comes_and_goes_is_said_once_and_in_order() {
        let job = example::job(Arc::new(Weather), Limits::default());
        let progress =
            Progress { partition: "p".into(), next_offset: COMMITTED, replay_offset: 0, replay_time: Time::MIN, beginning: None };
        let position = Position { progress: vec![progress], ..Position::default() };
        let (front, statistics) = (Front::default(), Statistics::default());
        let mut share = Share::open(&job, &position, &job.source.partitions().unwrap(), &front, &statistics).unwrap();
        let (mut times, mut failures, mut at_restored) = (Vec::new(), 0, None);
        while !share.is_ended() {
            let mut events = Vec::new();
            let mut outlets = Outlets {
                events: &mut events,
                send: &mut |events| times.extend(events.drain(..).map(|event| event.time)),
                report: &mut |_| (),
                output: &mut |_| (),
            };
            let was_restoring = share.is_restoring();
            if let Err(error) = share.read(Time::MIN, &mut outlets) {
                assert!(error.is_transient());
                failures += 1;
            }
            if was_restoring && !share.is_restoring() {
                at_restored = Some(times.len());
            }
        }
        assert_eq!(times, (0..RECORDS).map(|i| (1_769_000_000 + i) * 1000).collect::<Vec<_>>());
        assert_eq!(at_restored, Some(COMMITTED as usize), "no new record is told in the epoch of the old ones");
        assert!(failures > 20, "{failures}");
        assert_eq!(statistics.records.get(), (RECORDS - COMMITTED) as u64);
    }
}
