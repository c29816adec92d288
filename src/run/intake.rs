//! The decision on every record: an event for the graph, a dead letter, or, on a restart, neither.

use super::Job;
use super::census::{Arrival, Word};
use super::names::{Metrics, entity_of, entity_type, labels_of, name_of};
use super::output::Output;
use super::share::Outlets;
use super::statistics::Statistics;
use super::stretch::Stretch;
use crate::history::{DeadLetter, has_raw_table};
use crate::instant;
use crate::source::decode::{Decoded, Refusal};
use crate::source::decoder::Decoder;
use crate::source::{Partition, Record};
use dataflows::{Admission, Event, Report, Time};

/// A refused record is kept up to this length.
const DEAD_LETTER_BYTES: usize = 1024;

/// The one reason that depends on a clock.
const FUTURE: &str = "future";

/// What is needed to decide on a record.
pub struct Intake<'a> {
    /// How records are read and judged.
    pub job: &'a Job,
    /// The metrics of the last records.
    pub metrics: &'a mut Metrics,
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
    pub fn take(&mut self, decoder: &mut Decoder, stretch: &mut Stretch, record: &Record<'_>, outlets: &mut Outlets<'_>) {
        let replayed = record.offset < stretch.committed;
        stretch.next_offset = record.next_offset;
        stretch.begin(record.offset);
        if !replayed {
            stretch.records += 1;
        }
        let outcome = decoder.decode(record.bytes).and_then(|decoded| self.admit(stretch, record, &decoded, replayed, outlets));
        match outcome {
            _ if replayed => {}
            Ok(()) => stretch.events += 1,
            Err(refusal) => self.refuse(stretch, record, refusal, outlets),
        }
    }

    /// Counts a refused record, and keeps it as long as there is room for its kind.
    fn refuse(&self, stretch: &mut Stretch, record: &Record<'_>, refusal: Refusal, outlets: &mut Outlets<'_>) {
        self.statistics.dead_letters.add(1);
        stretch.count(refusal.reason);
        if refusal.reason == FUTURE {
            (outlets.output)(Output::Refusal(Box::new((stretch.partition.name.clone(), record.offset))));
        }
        if stretch.keeps_letter(refusal.reason, self.job.limits.dead_letters_max) {
            (outlets.output)(Output::DeadLetter(Box::new(dead_letter(&stretch.partition, record, refusal))));
        }
    }

    /// Decides by the clock and the census of the partition.
    fn admit(
        &mut self,
        stretch: &mut Stretch,
        record: &Record<'_>,
        decoded: &Decoded<'_>,
        replayed: bool,
        outlets: &mut Outlets<'_>,
    ) -> Result<(), Refusal> {
        let (job, timing) = (self.job, &self.job.timing);
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
            Admission::Future => return Err(Refusal::new(FUTURE, future(decoded.time, now))),
        }
        let latest = stretch.clock.latest();
        stretch.mark(record.offset, before, latest > before && timing.start(latest) > timing.start(before));
        // After the clock: time goes on for those who are forgotten, even where only strangers speak.
        let entity = entity_of(decoded, &job.kinds);
        let (metrics, form) = self.metrics.of(decoded);
        let arrival = Arrival { entity, metrics, form, labels: labels_of(decoded), offset: record.offset, replayed };
        let is_usual = stretch.census.is_usual(&arrival, latest);
        if !is_usual {
            stretch.census.admit(&arrival, latest, &mut |stay| (outlets.output)(Output::Stay(Box::new(stay))))?;
        }
        if replayed && timing.is_settled(start, self.restored_horizon) {
            return Ok(());
        }
        if timing.is_settled(start, self.horizon) {
            return Err(Refusal::new("too_late", behind(decoded.time, self.horizon)));
        }
        if stretch.speaks_in(start) {
            (outlets.report)(Report::Alive { partition: stretch.partition.id, start });
        }
        if !is_usual {
            announce(job, stretch, &arrival, decoded, outlets);
        }
        send(stretch.partition.id, &arrival, decoded, outlets);
        if job.raw && !replayed && has_raw_table(entity_type(decoded, &job.kinds)) {
            let values = decoded.metrics.iter().map(|metric| metric.1);
            stretch.raw.push((arrival.entity, decoded.time, arrival.offset), arrival.metrics, values);
        }
        Ok(())
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

/// Says the names that an event needs, as far as they were not said lately.
fn announce(job: &Job, stretch: &mut Stretch, arrival: &Arrival<'_>, decoded: &Decoded<'_>, outlets: &mut Outlets<'_>) {
    let Stretch { census, partition, clock, .. } = stretch;
    let (heard, bucket) = (census.now(), job.timing.start(clock.latest()));
    census.announce(arrival, bucket, &mut |word| {
        (outlets.output)(match word {
            Word::Entity => {
                Output::Entity(Box::new(name_of(arrival, decoded, &job.kinds, &partition.name, (job.timing.start(decoded.time), heard))))
            }
            Word::Metric(place) => Output::Metric(arrival.metrics[place], decoded.metrics[place].0.to_string(), heard),
        });
    });
}

/// Sends the event into the graph, in as many pieces as it takes.
fn send(partition: u32, arrival: &Arrival<'_>, decoded: &Decoded<'_>, outlets: &mut Outlets<'_>) {
    let (entity, time) = (arrival.entity, decoded.time);
    let mut event = Event::empty(entity, time, partition);
    for (metric, value) in arrival.metrics.iter().copied().zip(decoded.metrics.iter().map(|metric| metric.1)) {
        if !event.push(metric, value) {
            (outlets.event)(event);
            event = Event::empty(entity, time, partition);
            event.push(metric, value);
        }
    }
    (outlets.event)(event);
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
