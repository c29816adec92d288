//! One worker's share of the log: reads its partitions in order, decides on every record, and keeps what a restart needs.

use super::output::Output;
use super::{Job, names::Announced};
use crate::history::{DeadLetter, Position, Progress};
use crate::run::output::RawSamples;
use crate::run::statistics::Statistics;
use crate::source::decode::{Refusal, decode};
use crate::source::{Partition, Poll, Reader, Record, SourceError};
use dataflows::{Activity, Admission, Event, PartitionClock, Report, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Records of one partition per turn: enough to amortise the turn, few enough that the graph is stepped often.
const TURN: usize = 1024;
/// A refused record is kept up to this length.
const DEAD_LETTER_BYTES: usize = 1024;
/// A partition that is this far ahead of the slowest one waits, so that open buckets stay few. In milliseconds of event time.
const SPREAD: Time = 3_600_000;

/// A partition that was not polled for this long was not idle in between.
const UNPOLLED: Duration = Duration::from_secs(1);

/// Where the partitions of this process are in event time.
pub type Front = Mutex<BTreeMap<u32, (Time, Activity)>>;

/// A place in a partition: the records before `offset` have times up to `latest`.
#[derive(Clone, Copy)]
struct Mark {
    offset: i64,
    latest: Time,
}

/// One partition as its worker reads it.
struct Stretch {
    partition: Partition,
    clock: PartitionClock,
    next_offset: i64,
    /// Records below were part of an earlier run's commit: they rebuild its open buckets and count for nothing else.
    committed: i64,
    marks: VecDeque<Mark>,
    alive: BTreeSet<Time>,
    activity: Activity,
    /// Since when polls bring nothing; `None` while they bring something, or nobody polled.
    idle_since: Option<Instant>,
    polled_at: Instant,
    reported: Option<(Time, Activity)>,
    written: Option<Progress>,
    records: u64,
}

/// All partitions of one worker.
pub struct Share<'a> {
    job: &'a Job,
    reader: Box<dyn Reader>,
    stretches: Vec<Stretch>,
    announced: Announced,
    restored_horizon: Time,
    front: &'a Front,
    statistics: &'a Statistics,
}

/// Where the share puts what it reads.
pub struct Outlets<'a> {
    /// To `bucket_samples`.
    pub event: &'a mut dyn FnMut(Event),
    /// To all workers.
    pub report: &'a mut dyn FnMut(Report),
    /// To the committing worker.
    pub output: &'a mut dyn FnMut(Output),
}

impl<'a> Share<'a> {
    /// Opens this worker's partitions where the last commit left them.
    pub fn open(
        job: &'a Job,
        position: &Position,
        mine: &[Partition],
        front: &'a Front,
        statistics: &'a Statistics,
    ) -> Result<Self, SourceError> {
        let place = |partition: &Partition| position.progress.iter().find(|progress| progress.partition == partition.name);
        let offsets: Vec<_> =
            mine.iter().map(|partition| (partition.clone(), place(partition).map(|progress| progress.replay_offset))).collect();
        let reader = job.source.open(&offsets)?;
        let stretches = mine.iter().map(|partition| Stretch::new(partition.clone(), place(partition))).collect();
        let restored_horizon = position.horizon.unwrap_or(Time::MIN);
        let share = Self { job, reader, stretches, announced: Announced::default(), restored_horizon, front, statistics };
        share.stretches.iter().for_each(|stretch| share.show(stretch));
        Ok(share)
    }

    /// Takes up a partition that appeared after the start.
    pub fn add(&mut self, partition: &Partition) -> Result<(), SourceError> {
        if self.stretches.iter().all(|stretch| stretch.partition != *partition) {
            self.reader.add(partition, None)?;
            self.stretches.push(Stretch::new(partition.clone(), None));
        }
        Ok(())
    }

    /// Whether records of an earlier commit are still to be read again. Until then the epoch must not end.
    pub fn is_restoring(&self) -> bool {
        self.stretches.iter().any(|stretch| stretch.next_offset < stretch.committed && stretch.activity != Activity::Ended)
    }

    /// Whether every partition was read to its end.
    pub fn is_ended(&self) -> bool {
        self.stretches.iter().all(|stretch| stretch.activity == Activity::Ended)
    }

    /// Reads one turn of each partition that is not too far ahead; the number of records.
    pub fn read(&mut self, outlets: &mut Outlets<'_>) -> Result<usize, SourceError> {
        let slowest =
            self.front.lock().expect("no holder panics").values().filter(|place| place.1 == Activity::Active).map(|place| place.0).min();
        let mut total = 0;
        for place in 0..self.stretches.len() {
            let stretch = &self.stretches[place];
            let watermark = stretch.clock.watermark(&self.job.timing);
            if stretch.activity == Activity::Ended || slowest.is_some_and(|slowest| watermark > slowest.saturating_add(SPREAD)) {
                continue;
            }
            total += self.read_one(place, outlets)?;
            self.show(&self.stretches[place]);
        }
        Ok(total)
    }

    fn read_one(&mut self, place: usize, outlets: &mut Outlets<'_>) -> Result<usize, SourceError> {
        let Self { job, reader, stretches, announced, restored_horizon, statistics, .. } = self;
        let stretch = &mut stretches[place];
        let id = stretch.partition.id;
        let mut intake = Intake { job, announced, statistics, restored_horizon: *restored_horizon, now: Time::MIN };
        // While restoring, one record too many would put a new record into the epoch of the old ones.
        let restoring = stretch.next_offset < stretch.committed;
        let (most, turns) = if restoring { (1, TURN) } else { (TURN, 1) };
        let mut poll = Poll::Idle;
        for _ in 0..turns {
            poll = reader.poll(id, most, &mut |record| intake.take(stretch, &record, outlets))?;
            if !matches!(poll, Poll::Read(_)) || stretch.next_offset >= stretch.committed {
                break;
            }
        }
        stretch.note(poll, job.idle_timeout);
        Ok(if let Poll::Read(count) = poll { count } else { 0 })
    }

    /// A partition that has nothing to be read now is not behind, however old its last record.
    fn show(&self, stretch: &Stretch) {
        let activity = if stretch.idle_since.is_some() { Activity::Idle } else { stretch.activity };
        let place = (stretch.clock.watermark(&self.job.timing), activity);
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
            }
        }
    }
}

impl Stretch {
    fn new(partition: Partition, progress: Option<&Progress>) -> Self {
        let (replay_offset, replay_time, committed) = progress
            .map_or((i64::MIN, Time::MIN, i64::MIN), |progress| (progress.replay_offset, progress.replay_time, progress.next_offset));
        Self {
            partition,
            clock: PartitionClock::new(replay_time),
            next_offset: replay_offset,
            committed,
            marks: VecDeque::from([Mark { offset: replay_offset, latest: replay_time }]),
            alive: BTreeSet::new(),
            activity: Activity::Active,
            idle_since: None,
            polled_at: Instant::now(),
            reported: None,
            written: progress.cloned(),
            records: 0,
        }
    }

    /// Takes note of what a poll came to. Time in which nobody polled, since a store was away, makes no partition idle.
    fn note(&mut self, poll: Poll, idle_timeout: Duration) {
        if self.polled_at.elapsed() > UNPOLLED {
            self.idle_since = None;
        }
        self.polled_at = Instant::now();
        match poll {
            Poll::Read(_) => (self.activity, self.idle_since) = (Activity::Active, None),
            Poll::Idle => {
                let since = *self.idle_since.get_or_insert(self.polled_at);
                if since.elapsed() > idle_timeout {
                    self.activity = Activity::Idle;
                }
            }
            Poll::Ended => self.activity = Activity::Ended,
        }
    }

    /// What to commit, if anything changed; nothing before the partition has been read up to the last commit.
    fn progress(&mut self, horizon: Time, job: &Job) -> Option<Progress> {
        let settled = |latest: Time| job.timing.is_settled(job.timing.start(latest), horizon);
        while self.marks.get(1).is_some_and(|mark| settled(mark.latest)) {
            self.marks.pop_front();
        }
        let mark = self.marks[0];
        let progress = Progress {
            partition: self.partition.name.clone(),
            next_offset: self.next_offset,
            replay_offset: mark.offset,
            replay_time: mark.latest,
        };
        if self.next_offset == i64::MIN || self.next_offset < self.committed || self.written.as_ref() == Some(&progress) {
            return None;
        }
        self.written = Some(progress.clone());
        Some(progress)
    }
}

/// What is needed to decide on a record.
struct Intake<'a> {
    job: &'a Job,
    announced: &'a mut Announced,
    statistics: &'a Statistics,
    restored_horizon: Time,
    now: Time,
}

impl Intake<'_> {
    fn take(&mut self, stretch: &mut Stretch, record: &Record<'_>, outlets: &mut Outlets<'_>) {
        let replayed = record.offset < stretch.committed;
        stretch.next_offset = record.next_offset;
        if stretch.marks[0].offset == i64::MIN {
            stretch.marks[0].offset = record.offset;
        }
        if !replayed {
            stretch.records += 1;
            self.statistics.records.add(1);
        }
        if let Err(refusal) = self.decide(stretch, record, replayed, outlets)
            && !replayed
        {
            self.statistics.dead_letters.add(1);
            (outlets.output)(Output::DeadLetter(Box::new(dead_letter(&stretch.partition, record, refusal))));
        }
    }

    fn decide(&mut self, stretch: &mut Stretch, record: &Record<'_>, replayed: bool, outlets: &mut Outlets<'_>) -> Result<(), Refusal> {
        let timing = &self.job.timing;
        let decoded = decode(record.bytes, &self.job.kinds)?;
        let before = stretch.clock.latest();
        let start = timing.start(decoded.time);
        match stretch.clock.admit(decoded.time, self.now_for(decoded.time, record), timing) {
            Admission::Accepted => {}
            Admission::TooLate => return Err(Refusal::new("too_late", late(decoded.time, before))),
            Admission::Future => return Err(Refusal::new("future", future(decoded.time, self.now))),
        }
        if timing.start(stretch.clock.latest()) > timing.start(before) {
            stretch.marks.push_back(Mark { offset: record.offset, latest: before });
        }
        if replayed && timing.is_settled(start, self.restored_horizon) {
            return Ok(());
        }
        if stretch.alive.insert(start) {
            (outlets.report)(Report::Alive { partition: stretch.partition.id, start });
        }
        let entity = self.announced.entity(&decoded, &self.job.kinds, &stretch.partition.name, outlets.output);
        let mut event = Event::empty(entity, decoded.time, stretch.partition.id);
        let mut samples = Vec::new();
        for (place, (name, value)) in decoded.metrics.iter().enumerate() {
            let metric = self.announced.metric(place, name, outlets.output);
            if !event.push(metric, *value) {
                (outlets.event)(event);
                event = Event::empty(entity, decoded.time, stretch.partition.id);
                event.push(metric, *value);
            }
            if self.job.raw {
                samples.push((metric, *value));
            }
        }
        (outlets.event)(event);
        if self.job.raw && !replayed {
            let raw = RawSamples { entity, time: decoded.time, partition: stretch.partition.id, offset: record.offset, samples };
            (outlets.output)(Output::Raw(Box::new(raw)));
        }
        Ok(())
    }
}

impl Intake<'_> {
    /// The clock that the future is measured from: the log's own where it has one. Asking the operating system for each record would cost as
    /// much as decoding it, so the clock is only read when it might matter.
    fn now_for(&mut self, time: Time, record: &Record<'_>) -> Time {
        if let Some(arrived_at) = record.arrived_at {
            return arrived_at;
        }
        if time > self.now.saturating_add(self.job.timing.skew) {
            self.now = self.job.source.now();
        }
        self.now
    }
}

fn late(time: Time, latest: Time) -> String {
    format!(
        "{} is later than the lateness allows: its partition had come to {}",
        crate::instant::format(time),
        crate::instant::format(latest)
    )
}

fn future(time: Time, now: Time) -> String {
    format!("{} lies beyond the clock, {}, by more than the skew allows", crate::instant::format(time), crate::instant::format(now))
}

fn dead_letter(partition: &Partition, record: &Record<'_>, refusal: Refusal) -> DeadLetter {
    DeadLetter {
        partition: partition.name.clone(),
        offset: record.offset,
        reason: refusal.reason.into(),
        detail: refusal.detail,
        bytes: record.bytes[..record.bytes.len().min(DEAD_LETTER_BYTES)].to_vec(),
    }
}
