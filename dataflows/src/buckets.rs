//! The buckets of one worker: what is open, what may still change, and who is silent.
//!
//! Plain state without timely; [`crate::operators::bucket_samples`] drives it.
//!
//! **Invariant.** What [`Buckets::finish`] has said of a bucket, all signs added up, depends only on the samples that were
//! added and on the watermarks, not on the order or the batches in which they came.

use crate::Time;
use crate::cells::{Cell, Cells, Part};
use crate::clock::{Report, Timing, Watermarks};
use crate::event::Event;
use crate::identity::{EntityId, HashedMap, MetricId};
use crate::intervals::{Interval, Intervals};
use crate::provisional::Open;
use crate::span::{Acquaintance, Known};
use crate::verdict::Bucket;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// The buckets of one worker.
pub struct Buckets {
    timing: Timing,
    /// Whether somebody looks at open buckets.
    is_looked_at: bool,
    watermarks: Watermarks,
    intervals: Intervals,
    known: HashedMap<u64, Known>,
    /// How much longer than others some series are waited for, and those of them that are to be looked for anew.
    patience: HashedMap<(u64, u32), Time>,
    patient: Vec<(u64, u32)>,
    /// Where a partition had records, and nobody looked yet who was silent there.
    unchecked: BTreeSet<(Time, u32)>,
    checked: BTreeSet<(Time, u32)>,
    /// Closed buckets that samples came to since the last `finish`, as they were before.
    revised: HashMap<(Time, u64, u32), Option<Bucket>>,
    behind: u64,
    /// Whether samples came since somebody last looked.
    news: bool,
    /// What the last bucket to be closed came to: entities and series.
    room: (usize, usize),
    /// The times of the bucket that the last event fell into, as long as it can change: most often the next one falls into it as well.
    latest: Range<Time>,
    /// The bucket that the common watermark was in when what is settled was last let go.
    settled: Time,
    /// The end of the last bucket that was closed, by this run or an earlier one.
    closed_until: Time,
}

impl Buckets {
    /// Nothing seen yet. `horizon` is the common watermark of an earlier run, `Time::MIN` on a first one: buckets that were settled by then stay as they are.
    /// Only where it `is_looked_at` has [`Buckets::look`] something to show.
    pub fn new(timing: Timing, horizon: Time, is_looked_at: bool) -> Self {
        Self {
            timing,
            is_looked_at,
            watermarks: Watermarks::new(horizon),
            intervals: Intervals::default(),
            known: HashedMap::default(),
            patience: HashedMap::default(),
            patient: Vec::new(),
            unchecked: BTreeSet::new(),
            checked: BTreeSet::new(),
            revised: HashMap::new(),
            behind: 0,
            news: false,
            room: (0, 0),
            latest: 0..0,
            settled: Time::MIN,
            closed_until: horizon,
        }
    }

    /// Takes note of what is known of a series.
    pub fn remember(&mut self, acquaintance: &Acquaintance) {
        match *acquaintance {
            Acquaintance::Seen { series: (entity, metric), partition, last } => self.note(entity.0, metric.0, partition, last),
            Acquaintance::Patience { series: (entity, metric), patience } => {
                // Models come and go: who waits for too long is put right by the scorer.
                let (known, patience) = (self.patience.entry((entity.0, metric.0)).or_default(), patience.min(self.timing.patience));
                if patience > *known {
                    *known = patience;
                    self.patient.push((entity.0, metric.0));
                }
            }
        }
    }

    /// Adds the samples of one event to their bucket. An event whose bucket is settled by the common watermark is left out and counted as behind: its
    /// partition was idle for longer than the lateness.
    pub fn add(&mut self, event: &Event) {
        if !self.latest.contains(&event.time) {
            let start = self.timing.start(event.time);
            if self.timing.is_settled(start, self.watermarks.low()) {
                self.behind += 1;
                return;
            }
            self.latest = start..start.saturating_add(self.timing.bucket_width);
        }
        let start = self.latest.start;
        let room = self.room;
        let begun = || Interval { cells: Cells::with_room(room), ..Interval::default() };
        let interval = self.intervals.begun(start, begun);
        if interval.closed {
            for (metric, _) in event.samples() {
                let before = || interval.bucket(start, event.entity, metric.0);
                self.revised.entry((start, event.entity, metric.0)).or_insert_with(before);
            }
        }
        self.news = true;
        interval.cells.add(event, self.is_looked_at);
    }

    /// Ends an epoch: takes the reports of the epoch, then says what changed, `+1` for what holds now and `-1` for what held before.
    pub fn finish(&mut self, reports: &[Report], say: &mut dyn FnMut(Bucket, isize)) {
        // Of the buckets before nobody is missed any more, whoever waits for whom from now on.
        let settled = self.timing.first_unsettled(self.watermarks.low()).saturating_sub(1);
        self.latest = 0..0;
        for report in reports {
            match *report {
                Report::Watermark { partition, watermark, activity } => self.watermarks.report(partition, watermark, activity),
                Report::Alive { partition, start } if self.is_open_to(partition, start) => {
                    self.unchecked.insert((start, partition));
                }
                Report::Alive { .. } => {}
            }
        }
        self.revise(say);
        self.close(say);
        for (entity, metric) in std::mem::take(&mut self.patient) {
            self.miss_after(settled, entity, metric, say);
        }
        self.settle();
    }

    /// Whether it is still to be found out who was silent in a bucket. One that is settled has been said, and is gone from here.
    fn is_open_to(&mut self, partition: u32, start: Time) -> bool {
        !self.checked.contains(&(start, partition)) && !self.timing.is_settled(start, self.watermarks.low())
    }

    /// The common watermark: every bucket that ends at or before it is closed.
    pub fn horizon(&mut self) -> Time {
        self.watermarks.low()
    }

    /// The common watermark, or, once all partitions have ended, how far event time really came: the largest of any, or the end of the last bucket, which was
    /// closed then and is settled as if it had been over.
    pub fn reached(&mut self) -> Time {
        match self.watermarks.low() {
            Time::MAX => self.watermarks.high().max(self.closed_until),
            low => low,
        }
    }

    /// Whether samples came since [`Buckets::look`] was last called.
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// Shows the open buckets that samples came to since the last time.
    pub fn look(&mut self, show: &mut dyn FnMut(Open)) {
        self.news = false;
        for (start, interval) in self.intervals.open() {
            interval.cells.look(&mut |entity, part, last| {
                let (entity, metric) = (EntityId(entity), MetricId(part.metric));
                show(Open { bucket: Bucket { entity, metric, start: *start, aggregate: part.accumulator.aggregate() }, last });
            });
        }
    }

    /// Events that were left out because their partition lay behind the others by more than the lateness.
    pub fn behind(&self) -> u64 {
        self.behind
    }

    fn note(&mut self, entity: u64, metric: u32, partition: u32, start: Time) {
        let known = self.known.entry(entity).or_insert_with(|| Known::new(partition));
        known.note(metric, 0, partition, start, self.timing.forget);
    }

    /// Closed buckets that late samples came to.
    fn revise(&mut self, say: &mut dyn FnMut(Bucket, isize)) {
        for ((start, entity, metric), old) in std::mem::take(&mut self.revised) {
            let Some(interval) = self.intervals.get_mut(start) else { continue };
            interval.missing.remove(&(entity, metric));
            let partition = interval.cells.get(entity).map(|cell| cell.partition).unwrap_or_default();
            let new = interval.bucket(start, entity, metric);
            if old != new {
                old.into_iter().for_each(|bucket| say(bucket, -1));
                new.into_iter().for_each(|bucket| say(bucket, 1));
            }
            if old.is_none_or(|bucket| bucket.aggregate.is_none()) {
                self.note(entity, metric, partition, start);
                self.miss_after(start, entity, metric, say);
            }
        }
    }

    /// A series turns out to have begun, or gone on, earlier than was known: it is missing where it was silent since.
    fn miss_after(&mut self, start: Time, entity: u64, metric: u32, say: &mut dyn FnMut(Bucket, isize)) {
        let Some(known) = self.known.get(&entity) else { return };
        let Some(span) = known.spans.iter().find(|span| span.metric == metric) else { return };
        let forget = forget_of(&self.timing, &self.patience, entity, metric);
        for (start, interval) in self.intervals.after(start).filter(|(_, interval)| interval.closed) {
            let silent = interval.cells.get(entity).is_none_or(|cell| cell.find(metric).is_none());
            let looked = self.checked.contains(&(*start, known.partition));
            if silent && looked && span.is_expected_at(*start, forget) && interval.missing.insert((entity, metric)) {
                say(Bucket { entity: EntityId(entity), metric: MetricId(metric), start: *start, aggregate: None }, 1);
            }
        }
    }

    /// Buckets that the common watermark has passed, oldest first, and the silences among them.
    fn close(&mut self, say: &mut dyn FnMut(Bucket, isize)) {
        let low = self.watermarks.low();
        let width = self.timing.bucket_width;
        let ripe = |start: Time| start.saturating_add(width) <= low;
        let mut starts: BTreeSet<Time> = self.intervals.open().map(|interval| interval.0).filter(|start| ripe(*start)).collect();
        starts.extend(self.unchecked.iter().map(|entry| entry.0).filter(|start| ripe(*start)));
        for start in starts {
            self.close_one(start, say);
            let partitions: BTreeSet<u32> = self
                .unchecked
                .range((start, 0)..=(start, u32::MAX))
                .map(|entry| entry.1)
                .filter(|p| start + width <= self.watermarks.of(*p))
                .collect();
            self.miss(start, &partitions, say);
            for partition in partitions {
                self.unchecked.remove(&(start, partition));
                self.checked.insert((start, partition));
            }
        }
    }

    fn close_one(&mut self, start: Time, say: &mut dyn FnMut(Bucket, isize)) {
        let interval = self.intervals.begun(start, Interval::default);
        if std::mem::replace(&mut interval.closed, true) {
            return;
        }
        self.room = interval.cells.room();
        self.closed_until = self.closed_until.max(start.saturating_add(self.timing.bucket_width));
        for Cell { entity, partition, parts } in interval.cells.iter() {
            let known = self.known.entry(entity).or_insert_with(|| Known::new(partition));
            for (hint, Part { metric, accumulator }) in parts.iter().enumerate() {
                known.note(*metric, hint, partition, start, self.timing.forget);
                say(Bucket { entity: EntityId(entity), metric: MetricId(*metric), start, aggregate: accumulator.aggregate() }, 1);
            }
        }
        if self.intervals.after(start).any(|(_, interval)| interval.closed) {
            let seen = self.intervals.get(start).into_iter().flat_map(|interval| interval.cells.iter());
            let seen: Vec<_> = seen.flat_map(|cell| cell.parts.iter().map(move |part| (cell.entity, part.metric))).collect();
            seen.into_iter().for_each(|(entity, metric)| self.miss_after(start, entity, metric, say));
        }
    }

    /// The series at home in `partitions` that are silent in a closed bucket though they were seen before it.
    fn miss(&mut self, start: Time, partitions: &BTreeSet<u32>, say: &mut dyn FnMut(Bucket, isize)) {
        let Some(interval) = self.intervals.get_mut(start).filter(|_| !partitions.is_empty()) else { return };
        for (entity, known) in self.known.iter().filter(|(_, known)| partitions.contains(&known.partition)) {
            let cell = interval.cells.get(*entity);
            for span in &known.spans {
                let silent = cell.is_none_or(|cell| cell.find(span.metric).is_none());
                let forget = || forget_of(&self.timing, &self.patience, *entity, span.metric);
                if silent && span.is_expected_at(start, forget()) && interval.missing.insert((*entity, span.metric)) {
                    say(Bucket { entity: EntityId(*entity), metric: MetricId(span.metric), start, aggregate: None }, 1);
                }
            }
        }
    }

    /// Lets go of what can change no more.
    fn settle(&mut self) {
        let low = self.watermarks.low();
        if self.timing.start(low) == self.settled {
            return;
        }
        self.settled = self.timing.start(low);
        self.intervals.settle(|start| self.timing.is_settled(start, low));
        for marks in [&mut self.unchecked, &mut self.checked] {
            while marks.first().is_some_and(|mark| self.timing.is_settled(mark.0, low)) {
                marks.pop_first();
            }
        }
        if low < Time::MAX {
            let forgotten = low.saturating_sub(self.timing.known_for());
            self.known.retain(|_, known| {
                known.spans.iter_mut().for_each(|span| span.runs.retain(|run| run.1 >= forgotten));
                known.spans.retain(|span| !span.runs.is_empty());
                !known.spans.is_empty()
            });
        }
    }
}

/// How long a series may be silent before it is forgotten.
fn forget_of(timing: &Timing, patience: &HashedMap<(u64, u32), Time>, entity: u64, metric: u32) -> Time {
    timing.forget + patience.get(&(entity, metric)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Activity;

    const TIMING: Timing =
        Timing { bucket_width: 300, out_of_orderness: 0, lateness: 600, skew: 100, forget: 100_000, patience: 0, floor: Time::MIN };

    /// Failed once: a partition that came back after longer than the lateness turned the buckets of its backlog into missing ones.
    #[test]
    fn a_partition_that_comes_back_late_overwrites_nothing() {
        let mut buckets = Buckets::new(TIMING, Time::MIN, true);
        let mut event = Event::empty(EntityId(7), 310, 0);
        event.push(MetricId(1), 1.0);
        buckets.add(&Event { time: 10, ..event });
        buckets.add(&event);
        let alive = [Report::Alive { partition: 0, start: 0 }, Report::Alive { partition: 0, start: 300 }];
        let mut said = Vec::new();
        buckets.finish(&[alive[0], alive[1], Report::Watermark { partition: 0, watermark: 700, activity: Activity::Idle }], &mut |b, s| {
            said.push((b, s));
        });
        buckets.finish(&[Report::Watermark { partition: 1, watermark: 9_000, activity: Activity::Active }], &mut |b, s| said.push((b, s)));
        assert_eq!(said.len(), 2);
        buckets.add(&event);
        buckets.finish(&[alive[1], Report::Watermark { partition: 0, watermark: 9_000, activity: Activity::Active }], &mut |b, s| {
            said.push((b, s));
        });
        assert_eq!((said.len(), buckets.behind()), (2, 1), "{said:?}");
    }
}
