//! The decision on every record: an event for the graph, a dead letter, or, on a restart, neither.

use super::Job;
use super::names::Announced;
use super::output::{Output, RawSamples};
use super::share::Outlets;
use super::statistics::Statistics;
use super::stretch::Stretch;
use crate::history::DeadLetter;
use crate::instant;
use crate::source::decode::{Decoded, Refusal, decode};
use crate::source::{Partition, Record};
use dataflows::{Admission, Event, Report, Time};

/// A refused record is kept up to this length.
const DEAD_LETTER_BYTES: usize = 1024;

/// What is needed to decide on a record.
pub struct Intake<'a> {
    /// How records are read and judged.
    pub job: &'a Job,
    /// The names that were announced.
    pub announced: &'a mut Announced,
    /// Counters.
    pub statistics: &'a Statistics,
    /// The common watermark at the last commit: buckets settled by it stay as they are stored.
    pub restored_horizon: Time,
    /// The common watermark now, as far as this worker has heard.
    pub horizon: Time,
    /// The clock that the future is measured from, when it was last looked at.
    pub now: Time,
}

impl Intake<'_> {
    /// Takes the next record of a partition.
    pub fn take(&mut self, stretch: &mut Stretch, record: &Record<'_>, outlets: &mut Outlets<'_>) {
        let replayed = record.offset < stretch.committed;
        stretch.next_offset = record.next_offset;
        stretch.begin(record.offset);
        if !replayed {
            stretch.records += 1;
            self.statistics.records.add(1);
        }
        let outcome = decode(record.bytes, &self.job.kinds, &self.job.limits)
            .and_then(|decoded| self.admit(stretch, record, &decoded, replayed, outlets));
        if let Err(refusal) = outcome
            && !replayed
        {
            self.statistics.dead_letters.add(1);
            (outlets.output)(Output::DeadLetter(Box::new(dead_letter(&stretch.partition, record, refusal))));
        }
    }

    /// Decides by the clock of the partition.
    fn admit(
        &mut self,
        stretch: &mut Stretch,
        record: &Record<'_>,
        decoded: &Decoded<'_>,
        replayed: bool,
        outlets: &mut Outlets<'_>,
    ) -> Result<(), Refusal> {
        let timing = &self.job.timing;
        let before = stretch.clock.latest();
        let start = timing.start(decoded.time);
        let now = match (replayed, stretch.refused.contains(&record.offset)) {
            (true, true) => Time::MIN,
            (true, false) => Time::MAX,
            (false, _) => self.now_for(decoded.time, record),
        };
        match stretch.clock.admit(decoded.time, now, timing) {
            Admission::Accepted => {}
            Admission::TooLate => return Err(Refusal::new("too_late", late(decoded.time, before))),
            Admission::Future => return Err(Refusal::new("future", future(decoded.time, now))),
        }
        stretch.mark(record.offset, before, timing.start(stretch.clock.latest()) > timing.start(before));
        if replayed && timing.is_settled(start, self.restored_horizon) {
            return Ok(());
        }
        if timing.is_settled(start, self.horizon) {
            return Err(Refusal::new("too_late", behind(decoded.time, self.horizon)));
        }
        if stretch.alive.insert(start) {
            (outlets.report)(Report::Alive { partition: stretch.partition.id, start });
        }
        self.send(stretch, record, decoded, replayed, outlets);
        Ok(())
    }

    /// Sends the event into the graph, in as many pieces as it takes, and the raw event to be stored.
    fn send(&mut self, stretch: &Stretch, record: &Record<'_>, decoded: &Decoded<'_>, replayed: bool, outlets: &mut Outlets<'_>) {
        let (job, partition) = (self.job, &stretch.partition);
        let entity = self.announced.entity(decoded, &job.kinds, &partition.name, job.timing.start(decoded.time), outlets.output);
        let mut event = Event::empty(entity, decoded.time, partition.id);
        let mut samples = Vec::new();
        for (place, (name, value)) in decoded.metrics.iter().enumerate() {
            let metric = self.announced.metric(place, name, outlets.output);
            if !event.push(metric, *value) {
                (outlets.event)(event);
                event = Event::empty(entity, decoded.time, partition.id);
                event.push(metric, *value);
            }
            if job.raw {
                samples.push((metric, *value));
            }
        }
        (outlets.event)(event);
        if job.raw && !replayed {
            let raw = RawSamples { entity, time: decoded.time, partition: partition.id, offset: record.offset, samples };
            (outlets.output)(Output::Raw(Box::new(raw)));
        }
    }

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
    let (time, latest) = (instant::format(time), instant::format(latest));
    format!("{time} is later than the lateness allows: its partition had come to {latest}")
}

fn behind(time: Time, horizon: Time) -> String {
    let (time, horizon) = (instant::format(time), instant::format(horizon));
    format!("{time} is later than the lateness allows: its partition was idle while the others came to {horizon}")
}

fn future(time: Time, now: Time) -> String {
    format!("{} lies beyond the clock, {}, by more than the skew allows", instant::format(time), instant::format(now))
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
