//! `simulate:PRESET`: a datacenter that never was, as a log that is a pure function of its preset, seed, start and backfill.
//!
//! Nothing is stored. The record at a partition and offset is computed from hashes, so that reading again from any offset, by any
//! number of workers, gives the same bytes. First comes the *backfill*, one record per entity and five minutes that looks like the mean of
//! the samples it stands for; then the *live* part, one record per entity and interval, as the simulated clock allows.
//!
//! ```text
//! offset of a partition:   0 … backfill_end_offset        … endless, or the end that `live` sets
//! event time:              start - backfill … start       … start + live
//! ```

mod anomaly;
mod clock;
mod effect;
mod entity;
mod fleet;
mod hash;
mod noise;
mod outage;
mod preset;
mod reader;
mod render;
mod server;
mod service;
mod shape;
mod timeline;
mod truth;
mod world;

pub use clock::Pace;
pub use outage::Outage;
pub use truth::{Injection, write_truth};

use crate::instant;
use crate::source::{Partition, Reader, Source, SourceError};
use clock::Clock;
use dataflows::Time;
use entity::{BUCKET_MS, Entity};
use reader::SimulatedReader;
use std::sync::Arc;
use std::time::Duration;
use timeline::Timeline;
use world::World;

/// Partitions, always: enough for eight workers, and independent of how many there are.
pub const PARTITIONS: u32 = 8;

/// How long one backfill record stands for. Fixed, as the noise of the simulator is made for means of this length.
pub const BACKFILL_STEP: Duration = Duration::from_millis(BUCKET_MS as u64);

/// The longest backfill and live part: a hundred years, within which no arithmetic on times overflows.
const SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// What to simulate, beside the preset.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Chooses among logs of the same preset.
    pub seed: u64,
    /// Where the backfill ends and the live part begins; rounded down to a whole second.
    pub start: Time,
    /// How much comes before `start`, one record per entity and [`BACKFILL_STEP`].
    pub backfill: Duration,
    /// Between two live records of an entity: 1 ms to [`BACKFILL_STEP`].
    pub interval: Duration,
    /// After how much simulated time the live part ends; `None` for never.
    pub live: Option<Duration>,
    /// How fast simulated time passes in the live part.
    pub pace: Pace,
    /// Who says nothing for a while.
    pub outages: Vec<Outage>,
}

impl Options {
    /// Seed 7, fourteen days before `start`, then every five seconds in real time without end.
    pub fn at(start: Time) -> Self {
        let day = Duration::from_secs(86_400);
        Self { seed: 7, start, backfill: 14 * day, interval: Duration::from_secs(5), live: None, pace: Pace::Real, outages: Vec::new() }
    }
}

/// Opens the log of a preset: `dev`, `normal`, `chaos`, `temperature`, `network` or `production`.
///
/// # Errors
/// An unknown preset, or options out of range; the message says what would be right.
pub fn open(preset: &str, options: &Options) -> Result<Simulator, SourceError> {
    let found = preset::find(preset)?;
    let invalid = |problem: &str| Err(SourceError::Url { url: format!("simulate:{preset}"), problem: problem.to_owned() });
    if options.interval < Duration::from_millis(1) || options.interval > BACKFILL_STEP {
        return invalid("the interval must be from 1ms to 5m");
    }
    if options.backfill > SPAN_MAX || options.live.is_some_and(|live| live > SPAN_MAX) {
        return invalid("backfill and duration must be at most 100 years");
    }
    let milliseconds = |duration: Duration| duration.as_millis() as i64;
    let live = options.live.map(milliseconds);
    let timeline = Timeline::new(options.start, milliseconds(options.backfill), milliseconds(options.interval), live);
    let world = World { outages: options.outages.clone(), ..World::new(found, options.seed, timeline.clone()) };
    if let Some(outage) = options.outages.iter().find(|outage| !world.fleet.iter().any(|entity| outage.is_of(&entity.id))) {
        return invalid(&format!("there is no '{}' that could stop; write an entity of the preset, such as srv-001, or *", outage.entity));
    }
    let (first, end) = (timeline.first, timeline.end());
    if let Some(outage) = options.outages.iter().find(|outage| outage.end <= first || end.is_some_and(|end| outage.start >= end)) {
        let until = end.map_or_else(String::new, |end| format!(" to {}", instant::format(end)));
        return invalid(&format!("the log goes from {}{until}, and the outage '{outage}' lies outside of it", instant::format(first)));
    }
    let outages: String = options.outages.iter().map(|outage| format!("&outage={outage}")).collect();
    let identity = format!(
        "simulate:{preset}?seed={}&start={}&backfill={}s&interval={}ms{outages}",
        options.seed,
        instant::format(timeline.start),
        options.backfill.as_secs(),
        timeline.interval
    );
    let clock = Arc::new(Clock::new(timeline.start, options.pace));
    Ok(Simulator { world: Arc::new(world), clock, part: Part::All, identity })
}

/// How much of the log is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    Backfill,
}

/// A simulated log. Clones share one clock.
#[derive(Clone, Debug)]
pub struct Simulator {
    world: Arc<World>,
    clock: Arc<Clock>,
    part: Part,
    identity: String,
}

impl Simulator {
    /// The same log, ending where the live part begins: its readers say [`Ended`](crate::source::Poll::Ended) there.
    #[must_use]
    pub fn backfill(&self) -> Self {
        Self { part: Part::Backfill, ..self.clone() }
    }

    /// Starts the simulated clock at [`start`](Self::start). Until then readers have only the backfill, and then are idle.
    pub fn go_live(&self) {
        self.clock.go_live(self.start());
    }

    /// Starts the simulated clock at a later time, to resume: what is older comes as fast as it can be read. Give it the wall clock where
    /// simulated time is real time, or else [`time_at`](Self::time_at) the offset that was reached.
    pub fn go_live_at(&self, from: Time) {
        self.clock.go_live(from);
    }

    /// Where the backfill ends and the live part begins.
    pub fn start(&self) -> Time {
        self.world.timeline.start
    }

    /// The time of the first record.
    pub fn first(&self) -> Time {
        self.world.timeline.time(0).min(self.start())
    }

    /// The first time after the log; `None` when it has no end.
    pub fn end(&self) -> Option<Time> {
        if self.part == Part::Backfill { Some(self.start()) } else { self.world.timeline.end() }
    }

    /// How many records there are in all partitions, those that an outage leaves out included; `None` when there is no end.
    pub fn records(&self) -> Option<u64> {
        let timeline = &self.world.timeline;
        let ticks = if self.part == Part::Backfill { Some(timeline.backfill) } else { timeline.total };
        ticks.map(|ticks| ticks as u64 * self.world.fleet.len() as u64)
    }

    /// How many entities a partition has; they take turns in it, so each tick is this many records.
    pub fn entities(&self, partition: u32) -> usize {
        entities_of(&self.world.fleet, partition).count()
    }

    /// The name of the entity whose record has this offset.
    pub fn entity_at(&self, partition: u32, offset: i64) -> &str {
        let turn = offset.rem_euclid(self.entities(partition) as i64) as usize;
        &self.world.fleet[partition as usize + turn * PARTITIONS as usize].id
    }

    /// The event time of the record at an offset.
    pub fn time_at(&self, partition: u32, offset: i64) -> Time {
        self.world.timeline.time(offset.div_euclid(self.entities(partition) as i64))
    }

    /// The offset of the first live record of a partition.
    pub fn backfill_end_offset(&self, partition: u32) -> i64 {
        self.world.timeline.backfill * self.entities(partition) as i64
    }

    /// What was injected with a start in `from..until`, ordered by start. An anomaly lasts at most six hours, so one that is still under way at
    /// a time began at most that long before.
    pub fn truth(&self, from: Time, until: Time) -> Vec<Injection> {
        self.world.truth(from, until)
    }
}

impl Source for Simulator {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        Ok((0..PARTITIONS).map(|id| Partition { id, name: format!("simulate/{id}") }).collect())
    }

    fn open(&self, partitions: &[(Partition, Option<i64>)]) -> Result<Box<dyn Reader>, SourceError> {
        let mut reader = SimulatedReader::new(self.world.clone(), self.clock.clone(), self.part);
        for (partition, offset) in partitions {
            reader.add(partition, *offset)?;
        }
        Ok(Box::new(reader))
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

/// The entities of a partition, as indices in the fleet: every eighth.
fn entities_of(fleet: &[Entity], partition: u32) -> impl Iterator<Item = usize> + use<> {
    (partition as usize..fleet.len()).step_by(PARTITIONS as usize)
}

#[cfg(test)]
mod tests;
