//! Reading the simulated log: offsets are arithmetic, so a reader can begin anywhere.

use super::clock::Clock;
use super::render::{Template, TimeText};
use super::world::{Cursor, World};
use super::{PARTITIONS, Part, entities_of};
use crate::source::{Partition, Poll, Reader, Record, SourceError};
use std::sync::Arc;

/// One worker's share of the simulated log.
pub(super) struct SimulatedReader {
    world: Arc<World>,
    clock: Arc<Clock>,
    part: Part,
    places: Vec<Option<Place>>,
    time_text: TimeText,
    buffer: Vec<u8>,
}

/// Where a partition is read.
struct Place {
    tick: i64,
    /// Which of the partition's entities is next.
    next: usize,
    members: Vec<Member>,
}

/// An entity of a partition.
struct Member {
    entity: usize,
    template: Template,
    cursor: Cursor,
}

impl SimulatedReader {
    /// A reader of no partition yet.
    pub(super) fn new(world: Arc<World>, clock: Arc<Clock>, part: Part) -> Self {
        let places = (0..PARTITIONS).map(|_| None).collect();
        Self { world, clock, part, places, time_text: TimeText::default(), buffer: Vec::with_capacity(320) }
    }

    /// How many ticks may be handed out now, and how many there will ever be.
    fn due(&self) -> (i64, Option<i64>) {
        let timeline = &self.world.timeline;
        match (self.part, self.clock.horizon()) {
            (Part::Backfill, _) => (timeline.backfill, Some(timeline.backfill)),
            (Part::All, None) => (timeline.backfill, timeline.total),
            (Part::All, Some(now)) => (timeline.due(now), timeline.total),
        }
    }

    /// Looks at the next records of a partition, and hands over those that no outage takes.
    fn turn(&mut self, partition: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
        let (due, total) = self.due();
        let Some(place) = self.places.get_mut(partition as usize).and_then(Option::as_mut) else {
            return Err(no_such(&format!("partition {partition} was not opened by this reader")));
        };
        let width = place.members.len();
        let offset = place.tick * width as i64 + place.next as i64;
        let count = (due * width as i64).saturating_sub(offset).clamp(0, most as i64);
        if count == 0 {
            let ended = total.is_some_and(|total| place.tick >= total);
            return Ok(if ended { Poll::Ended } else { Poll::Idle });
        }
        self.clock.reach(self.world.timeline.time((offset + count - 1) / width as i64));
        let mut taken = 0;
        for offset in offset..offset + count {
            let member = &mut place.members[place.next];
            if self.world.is_out(member.entity, place.tick) {
                (place.tick, place.next) = following(place);
                continue;
            }
            taken += 1;
            let values = self.world.values(member.entity, place.tick, &mut member.cursor);
            let time = self.time_text.of(self.world.timeline.time(place.tick));
            member.template.render(time, &values, &mut self.buffer);
            (place.tick, place.next) = following(place);
            take(Record { offset, next_offset: offset + 1, bytes: &self.buffer, arrived_at: None, origin: None });
        }
        Ok(Poll::Read(taken))
    }
}

impl Reader for SimulatedReader {
    fn poll(&mut self, partition: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
        loop {
            let poll = self.turn(partition, most, take)?;
            // All of them may have been left out: what follows may be there.
            if poll != Poll::Read(0) {
                return Ok(poll);
            }
        }
    }

    fn add(&mut self, partition: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        let Some(place) = self.places.get_mut(partition.id as usize) else {
            return Err(no_such(&format!("partition {} is not one of its {PARTITIONS}", partition.id)));
        };
        let member = |entity: usize| Member { entity, template: Template::new(&self.world.fleet[entity]), cursor: Cursor::default() };
        let members: Vec<Member> = entities_of(&self.world.fleet, partition.id).map(member).collect();
        let (width, offset) = (members.len() as i64, offset.unwrap_or(0).max(0));
        *place = Some(Place { tick: offset / width, next: (offset % width) as usize, members });
        Ok(())
    }
}

/// The tick and the turn after those of a place.
fn following(place: &Place) -> (i64, usize) {
    if place.next + 1 == place.members.len() { (place.tick + 1, 0) } else { (place.tick, place.next + 1) }
}

fn no_such(problem: &str) -> SourceError {
    SourceError::Url { url: "simulate:".into(), problem: problem.to_owned() }
}
