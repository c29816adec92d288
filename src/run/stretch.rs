//! One partition as its worker reads it: its clock, how far it was read, and where a restart must begin.

use super::Job;
use super::census::Census;
use super::output::RawSamples;
use super::regulars::Regulars;
use crate::history::{EVENT, Outcome, Position, Progress};
use crate::instant;
use crate::source::{Partition, Poll, SourceError};
use dataflows::{Activity, PartitionClock, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

/// A partition that was not polled for this long was not idle in between.
const UNPOLLED: Duration = Duration::from_secs(1);

/// Dead letters are rationed by the hour of the wall clock. In milliseconds.
const HOUR: Time = 3_600_000;

/// So much of the beginning of a file tells it from another.
const BEGINNING_BYTES: i64 = 1024;

/// A place in a partition: the records before `offset` have times up to `latest`.
#[derive(Clone, Copy)]
struct Mark {
    offset: i64,
    latest: Time,
}

/// One partition as its worker reads it.
pub struct Stretch {
    /// Which.
    pub partition: Partition,
    /// Its event time.
    pub clock: PartitionClock,
    /// Its entities and series.
    pub census: Census,
    /// The entities that send what they sent before.
    pub regulars: Regulars,
    /// Where reading goes on.
    pub next_offset: i64,
    /// Records below were part of an earlier run's commit: they rebuild its open buckets and count for nothing else.
    pub committed: i64,
    /// Records among those that were refused for lying in the future. The clock has gone on since; the answer must not change.
    pub refused: BTreeSet<i64>,
    /// Buckets that had a record, as far as they may still change.
    pub alive: BTreeSet<Time>,
    /// Whether it takes part in the common watermark.
    pub activity: Activity,
    /// What was last said of it to all workers.
    pub reported: Option<(Time, Activity)>,
    /// Records read and not yet said.
    pub records: u64,
    /// Events among them, and not yet counted: nearly all are.
    pub events: u64,
    /// Events to be stored as they came, until the end of a turn.
    pub raw: RawSamples,
    /// Times of the bucket that the clock is in: it has been spoken in, it can change, and they do not lie in the future. Nearly all records are from one of
    /// them, and nothing is to be asked of these. None in the beginning of a turn.
    pub plain: Range<Time>,
    /// The bucket of the last event, one of `alive`.
    spoken_in: Time,
    /// By outcome: the records so far, and how many of them were said.
    outcomes: BTreeMap<String, (u64, u64)>,
    /// By reason: the hour of the last dead letter, and how many were kept in it.
    letters: BTreeMap<&'static str, (Time, u64)>,
    /// Since when its end has been reached; `None` where there is, or may be, more to be read.
    end_since: Option<Instant>,
    polled_at: Instant,
    marks: VecDeque<Mark>,
    /// What became of the records of an earlier commit.
    pub replayed: Replayed,
    written: Option<Progress>,
}

/// What became of records that were read again.
#[derive(Default)]
pub struct Replayed {
    records: u64,
    /// Those that are events.
    understood: u64,
}

impl Replayed {
    /// Takes note of one, and of whether it is an event.
    pub fn note(&mut self, is_event: bool) {
        self.records += 1;
        self.understood += u64::from(is_event);
    }
}

impl Stretch {
    /// A partition that goes on where the last commit left it.
    pub fn new(partition: Partition, position: &Position, job: &Job) -> Self {
        let progress = position.of(&partition.name);
        let refused = position.refused.get(&partition.name).cloned().unwrap_or_default();
        let census = Census::new(&partition.name, job.limits, &job.timing, position.stays.iter());
        let outcomes = position.outcomes.iter().filter(|outcome| outcome.partition == partition.name);
        let outcomes = outcomes.map(|outcome| (outcome.outcome.clone(), (outcome.records, outcome.records))).collect();
        let beginning = (i64::MIN, Time::MIN, i64::MIN);
        let (replay_offset, replay_time, committed) =
            progress.map_or(beginning, |progress| (progress.replay_offset, progress.replay_time, progress.next_offset));
        let id = partition.id;
        Self {
            partition,
            clock: PartitionClock::new(replay_time),
            census,
            regulars: Regulars::default(),
            next_offset: replay_offset,
            committed,
            refused,
            alive: BTreeSet::new(),
            activity: Activity::Active,
            reported: None,
            records: 0,
            events: 0,
            raw: RawSamples { partition: id, ..RawSamples::default() },
            plain: 0..0,
            spoken_in: Time::MIN,
            outcomes,
            letters: BTreeMap::new(),
            end_since: None,
            polled_at: Instant::now(),
            marks: VecDeque::from([Mark { offset: replay_offset, latest: replay_time }]),
            replayed: Replayed::default(),
            written: progress.cloned(),
        }
    }

    /// Whether records of an earlier commit are still to be read again.
    pub fn is_restoring(&self) -> bool {
        self.next_offset < self.committed
    }

    /// Whether it holds the others back: a partition whose end has been reached is not behind, however old its last record.
    pub fn is_behind_nobody(&self) -> bool {
        self.end_since.is_some() || self.activity != Activity::Active
    }

    /// Takes note of a record's place. `latest` is the largest time before it; it starts a mark where that was in an earlier bucket.
    pub fn mark(&mut self, offset: i64, latest: Time, opens_bucket: bool) {
        if opens_bucket {
            self.marks.push_back(Mark { offset, latest });
        }
    }

    /// Takes note of where the next record begins and ends; the log begins with the first one of all.
    #[inline]
    pub fn pass(&mut self, offset: i64, next_offset: i64) {
        if self.next_offset == i64::MIN {
            self.marks[0].offset = offset;
        }
        self.next_offset = next_offset;
    }

    /// Takes note of what became of a record.
    pub fn count(&mut self, outcome: &str) {
        self.count_more(outcome, 1);
    }

    fn count_more(&mut self, outcome: &str, more: u64) {
        match self.outcomes.get_mut(outcome) {
            Some(counted) => counted.0 += more,
            None => _ = self.outcomes.insert(outcome.into(), (more, 0)),
        }
    }

    /// Whether an event is the first in a bucket that may still change.
    pub fn speaks_in(&mut self, start: Time) -> bool {
        start != std::mem::replace(&mut self.spoken_in, start) && self.alive.insert(start)
    }

    /// Whether a dead letter is kept: of each reason so many an hour. The others are counted all the same.
    pub fn keeps_letter(&mut self, reason: &'static str, most: u64) -> bool {
        let hour = instant::now().div_euclid(HOUR);
        let kept = self.letters.entry(reason).or_insert((hour, 0));
        if kept.0 != hour {
            *kept = (hour, 0);
        }
        kept.1 += 1;
        kept.1 <= most
    }

    /// The sums that grew since they were said last, and by how much.
    pub fn outcomes(&mut self) -> Vec<(Outcome, u64)> {
        if self.events > 0 {
            let events = std::mem::take(&mut self.events);
            self.count_more(EVENT, events);
        }
        let mut grown = Vec::new();
        for (outcome, (records, said)) in self.outcomes.iter_mut().filter(|(_, counted)| counted.0 > counted.1) {
            let more = *records - std::mem::replace(said, *records);
            grown.push((Outcome { partition: self.partition.name.clone(), outcome: outcome.clone(), records: *records }, more));
        }
        grown
    }

    /// Lets go of what was needed to read records again, once all were.
    pub fn end_replay(&mut self) {
        let Replayed { records, understood } = std::mem::take(&mut self.replayed);
        // Of a partition in which there never was an event nothing was expected.
        if records > 0 && understood == 0 && self.outcomes.contains_key(EVENT) {
            tracing::warn!(
                partition = %self.partition.name,
                "none of the {records} records that are read again is understood: incidents that rest on them may be taken back, and \
                 buckets that were open begin anew; was the earlier run given another configuration?"
            );
        }
        self.refused = BTreeSet::new();
        self.census.end_replay();
    }

    /// Takes note of what a poll came to. Time in which nobody polled, since a store was away, makes no partition idle; neither does a broker that is.
    ///
    /// # Errors
    /// A log that ends before what was committed of it: to go on would overwrite whole buckets with what is left of them.
    pub fn note(&mut self, poll: Poll, idle_timeout: Duration) -> Result<(), SourceError> {
        if self.polled_at.elapsed() > UNPOLLED {
            self.end_since = None;
        }
        self.polled_at = Instant::now();
        match poll {
            Poll::Read(_) => (self.activity, self.end_since) = (Activity::Active, None),
            Poll::Waiting => self.end_since = None,
            Poll::Idle => {
                let since = *self.end_since.get_or_insert(self.polled_at);
                if since.elapsed() > idle_timeout {
                    self.activity = Activity::Idle;
                }
            }
            Poll::Ended => self.activity = Activity::Ended,
        }
        match poll {
            Poll::Ended if self.is_restoring() => {
                Err(SourceError::Shortened { partition: self.partition.name.clone(), from: self.committed, until: self.next_offset })
            }
            Poll::Idle if self.is_restoring() => {
                let (partition, from, until) = (&self.partition.name, self.next_offset, self.committed);
                tracing::error!(%partition, from, until, "records that were read before are gone; buckets that were open then may be incomplete");
                self.committed = self.next_offset;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What to commit, if anything changed; nothing before the partition has been read up to the last commit.
    pub fn progress(&mut self, horizon: Time, job: &Job) -> Option<Progress> {
        let settled = |latest: Time| job.timing.is_settled(job.timing.start(latest), horizon);
        while self.marks.get(1).is_some_and(|mark| settled(mark.latest)) {
            self.marks.pop_front();
        }
        let mark = self.marks[0];
        let mut progress = Progress {
            partition: self.partition.name.clone(),
            next_offset: self.next_offset,
            replay_offset: mark.offset,
            replay_time: mark.latest,
            beginning: self.written.as_ref().and_then(|written| written.beginning.clone()),
        };
        if self.next_offset == i64::MIN || self.is_restoring() || self.written.as_ref() == Some(&progress) {
            return None;
        }
        // It is looked at until as much was read as is compared.
        let bytes = self.next_offset.min(BEGINNING_BYTES);
        if bytes > progress.beginning_bytes() {
            progress.beginning = job.source.beginning(&self.partition, bytes);
        }
        self.written = Some(progress.clone());
        Some(progress)
    }
}
