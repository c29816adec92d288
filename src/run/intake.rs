//! The decision on every record: an event for the graph, a dead letter, or, on a restart, neither.

use super::Job;
use super::census::{Arrival, Word};
use super::names::{Metrics, entity_of, entity_type, labels_of, name_of};
use super::output::Output;
use super::regulars::Heard;
use super::share::Outlets;
use super::statistics::Statistics;
use super::stretch::Stretch;
use crate::history::{DeadLetter, has_raw_table};
use crate::instant;
use crate::source::decode::{Decoded, Refusal};
use crate::source::decoder::{Decoder, Filled, Read};
use crate::source::{Origin, Partition, Record};
use dataflows::{Admission, EVENT_WIDTH, EntityId, Event, MetricId, Report, Time, Timing};
use smallvec::SmallVec;

/// A refused record is kept up to this length.
const DEAD_LETTER_BYTES: usize = 1024;

/// More regulars than series are hardly ever known: a record that is written in several ways is one of each.
const REGULARS_MORE: usize = 1024;

/// No clock is wrong by so much: what comes from then was counted in another unit.
const CENTURY: Time = 36_525 * 86_400_000;

/// The one reason that depends on a clock.
const FUTURE: &str = "future";

/// Where a record stands.
struct Place {
    offset: i64,
    /// The start of its bucket.
    start: Time,
    /// How far event time has come with it, and the clock that the future was measured from.
    latest: Time,
    now: Time,
    /// Whether an earlier run has read it.
    replayed: bool,
}

/// The metrics of an event and their values, in one order.
type Metered<'a> = (&'a [MetricId], &'a [f64]);

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
        stretch.pass(record.offset, record.next_offset);
        if !replayed {
            stretch.records += 1;
        }
        let fits = decoder.fits(record.bytes, stretch.regulars.expected());
        if fits && !replayed && self.passes(stretch, record, &decoder.filled(record.bytes), outlets) {
            stretch.events += 1;
        } else {
            self.take_anew(decoder, stretch, record, (fits, replayed), outlets);
        }
    }

    /// Lets a record pass that is like nearly all: from a plain time, and of a regular. Nothing else is to be asked of it.
    #[inline(always)] // what is known of it stays in registers
    fn passes(&self, stretch: &mut Stretch, record: &Record<'_>, filled: &Filled<'_>, outlets: &mut Outlets<'_>) -> bool {
        let time = filled.time();
        let is_future = |arrived_at: Time| time > arrived_at.saturating_add(self.job.timing.skew);
        let is_plain = stretch.plain.contains(&time) && !record.arrived_at.is_some_and(is_future);
        if is_plain && let Some((entity, metrics)) = self.regular(stretch, filled, time.max(stretch.clock.latest())) {
            stretch.clock.advance(time);
            self.send_regular(stretch, (entity, time, record.offset), metrics, filled, outlets);
            return true;
        }
        false
    }

    /// The regular that a record is of, and the metrics that it has, when event time has come to `latest`: the census would let it in and say nothing.
    #[inline(always)] // in each of two ways
    fn regular(&self, stretch: &mut Stretch, filled: &Filled<'_>, latest: Time) -> Option<(EntityId, &[MetricId])> {
        let metrics = self.metrics.of_form(filled.form()).filter(|_| stretch.census.is_now(latest))?;
        Some((stretch.regulars.find(filled, stretch.census.now())?, metrics))
    }

    /// Sends what a regular said, and keeps it if that is wanted.
    #[inline(always)]
    fn send_regular(
        &self,
        stretch: &mut Stretch,
        (entity, time, offset): (EntityId, Time, i64),
        metrics: &[MetricId],
        filled: &Filled<'_>,
        outlets: &mut Outlets<'_>,
    ) {
        send(stretch, (entity, time), (metrics, filled.values()), outlets);
        self.keep(stretch, (entity, time, offset), (metrics, filled.values()), filled.kind());
    }

    /// Takes a record that is to be looked at.
    #[cold]
    fn take_anew(
        &mut self,
        decoder: &mut Decoder,
        stretch: &mut Stretch,
        record: &Record<'_>,
        (fits, replayed): (bool, bool),
        outlets: &mut Outlets<'_>,
    ) {
        let read = if fits { Ok(Read::Filled(decoder.filled(record.bytes))) } else { decoder.read_anew(record.bytes) };
        if replayed {
            stretch.replayed.note(read.is_ok());
        }
        match read.and_then(|read| self.admit(stretch, record, read, replayed, outlets)) {
            // It was counted then.
            _ if replayed => {}
            Ok(()) => stretch.events += 1,
            Err(refusal) => self.refuse(stretch, record, refusal, outlets),
        }
    }

    /// Counts a refused record, and keeps it as long as there is room for its kind.
    #[cold]
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

    /// Decides by the clock of the partition.
    fn admit(
        &mut self,
        stretch: &mut Stretch,
        record: &Record<'_>,
        read: Read<'_>,
        replayed: bool,
        outlets: &mut Outlets<'_>,
    ) -> Result<(), Refusal> {
        let time = read.time();
        let place = self.place(stretch, record, time, replayed)?;
        if !replayed
            && let Read::Filled(filled) = &read
            && let Some((entity, metrics)) = self.regular(stretch, filled, place.latest)
        {
            if self.is_open(stretch, &place, time, outlets)? {
                self.send_regular(stretch, (entity, time, place.offset), metrics, filled, outlets);
            }
            return Ok(());
        }
        self.admit_anew(stretch, read, &place, outlets)
    }

    /// Decides by the clock of the partition where a record stands.
    fn place(&mut self, stretch: &mut Stretch, record: &Record<'_>, time: Time, replayed: bool) -> Result<Place, Refusal> {
        let timing = &self.job.timing;
        let before = stretch.clock.latest();
        let start = timing.start(time);
        let now = match (replayed, stretch.refused.contains(&record.offset)) {
            (true, true) => Time::MIN,
            (true, false) => Time::MAX,
            (false, _) => self.now_for(time, record),
        };
        let admission = stretch.clock.admit(time, now, timing);
        let latest = stretch.clock.latest();
        // Whoever moved the clock on, and whatever becomes of that record.
        if latest >= stretch.plain.end {
            stretch.plain = 0..0;
        }
        match admission {
            Admission::Accepted => {}
            Admission::TooLate => return Err(Refusal::new("too_late", late(time, before, timing))),
            Admission::Future => return Err(Refusal::new(FUTURE, future(time, now))),
        }
        stretch.mark(record.offset, before, latest > before && timing.start(latest) > timing.start(before));
        Ok(Place { offset: record.offset, start, latest, now, replayed })
    }

    /// Decides by the census of the partition, which comes after the clock: time goes on for those who are forgotten, even where only strangers speak.
    #[cold]
    fn admit_anew(&mut self, stretch: &mut Stretch, read: Read<'_>, place: &Place, outlets: &mut Outlets<'_>) -> Result<(), Refusal> {
        let Place { offset, latest, replayed, .. } = *place;
        let said =
            if let Read::Filled(filled) = &read { Some((filled.entity_id().to_vec(), filled.entity(), filled.form())) } else { None };
        let decoded = read.decoded();
        let (entity, time) = (entity_of(&decoded, &self.job.kinds), decoded.time);
        let (metrics, form) = self.metrics.of(&decoded);
        let arrival = Arrival { entity, metrics: &metrics, form, labels: labels_of(&decoded), offset, replayed };
        if !stretch.census.is_usual(&arrival, latest) {
            stretch.census.admit(&arrival, latest, &mut |stay| (outlets.output)(Output::Stay(Box::new(stay))))?;
        }
        if !self.is_open(stretch, place, time, outlets)? {
            return Ok(());
        }
        if !stretch.census.is_usual(&arrival, latest) {
            announce(self.job, stretch, &arrival, &decoded, outlets);
        }
        let step = stretch.census.is_usual(&arrival, latest).then(|| stretch.census.now());
        let heard = Heard { entity, labels: arrival.labels, step };
        match said {
            Some((name, said, form)) => stretch.regulars.note((&name, &said, form), heard, stretch.census.series() + REGULARS_MORE),
            None => stretch.regulars.hear(heard),
        }
        let values: SmallVec<[f64; EVENT_WIDTH]> = decoded.metrics.iter().map(|metric| metric.1).collect();
        send(stretch, (entity, time), (&metrics, &values), outlets);
        if !replayed {
            self.keep(stretch, (entity, time, offset), (&metrics, &values), decoded.kind);
        }
        Ok(())
    }

    /// Whether an event's bucket can change still, and is not merely one that an earlier run has settled; the first one in it is said to all.
    ///
    /// # Errors
    /// A refusal: `too_late`.
    fn is_open(&self, stretch: &mut Stretch, place: &Place, time: Time, outlets: &mut Outlets<'_>) -> Result<bool, Refusal> {
        let Place { start, latest, now, replayed, .. } = *place;
        let timing = &self.job.timing;
        if replayed && timing.is_settled(start, self.restored_horizon) {
            return Ok(false);
        }
        if timing.is_settled(start, self.horizon) {
            return Err(Refusal::new("too_late", behind(time, self.horizon)));
        }
        if stretch.speaks_in(start) {
            (outlets.report)(Report::Alive { partition: stretch.partition.id, start });
        }
        // While the clock is in this bucket, nothing in it is late.
        let until = start.saturating_add(timing.bucket_width);
        if !replayed && latest < until {
            stretch.plain = start..until.min(now.saturating_add(timing.skew).saturating_add(1));
        }
        Ok(true)
    }

    /// Keeps an event, its entity, time and offset, to be stored as it came, if that is wanted.
    fn keep(&self, stretch: &mut Stretch, event: (EntityId, Time, i64), (metrics, values): Metered<'_>, kind: usize) {
        if self.job.raw && has_raw_table(entity_type(kind, &self.job.kinds)) {
            stretch.raw.push(event, metrics, values.iter().copied());
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

/// Sends an event into the graph, in as many pieces as it takes.
fn send(stretch: &Stretch, (entity, time): (EntityId, Time), (metrics, values): Metered<'_>, outlets: &mut Outlets<'_>) {
    let (mut metrics, mut values) = (metrics, values);
    while !metrics.is_empty() {
        Event::add(outlets.events, (entity, time, stretch.partition.id), metrics, values);
        // Not `chunks`, whose number takes a division by six.
        (metrics, values) = (metrics.get(EVENT_WIDTH..).unwrap_or_default(), values.get(EVENT_WIDTH..).unwrap_or_default());
    }
}

fn late(time: Time, latest: Time, timing: &Timing) -> String {
    if timing.start(time) < timing.floor {
        return format!("{} falls into a bucket that an earlier run has settled", instant::format(time));
    }
    let (time, latest) = (instant::format(time), instant::format(latest));
    format!("{time} is later than the lateness allows: its partition had come to {latest}")
}

fn behind(time: Time, horizon: Time) -> String {
    let (time, horizon) = (instant::format(time), instant::format(horizon));
    format!("{time} is later than the lateness allows: its partition was idle while the others came to {horizon}")
}

/// What is said of a record whose time is `now` not there yet.
pub fn future(time: Time, now: Time) -> String {
    let unit = if time.saturating_sub(now) > CENTURY { "; a number is seconds or milliseconds since 1970, not less" } else { "" };
    format!("{} lies beyond the clock, {}, by more than the skew allows{unit}", instant::format(time), instant::format(now))
}

fn dead_letter(partition: &Partition, record: &Record<'_>, refusal: Refusal) -> DeadLetter {
    let detail = record.origin.map(|origin| origin.problem(record.offset, refusal.reason, &refusal.detail));
    let text = record.origin.and_then(Origin::text);
    let bytes = text.as_deref().unwrap_or(record.bytes);
    DeadLetter {
        partition: partition.name.clone(),
        offset: record.offset,
        reason: refusal.reason.into(),
        detail: detail.unwrap_or(refusal.detail),
        bytes: bytes[..bytes.len().min(DEAD_LETTER_BYTES)].to_vec(),
    }
}
