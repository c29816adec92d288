//! Whether the watermark stands still: no news may mean that all is well, or that nothing arrives.

use dataflows::Time;
use std::time::{Duration, Instant};

/// What has become of the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has stood at the same moment for too long.
    Stands,
    /// It moves: for the first time since this process began, or again.
    Moves,
}

/// How long the watermark has been where it is, by the wall clock of this process.
#[derive(Debug)]
pub struct Stall {
    after: Option<Duration>,
    watermark: Time,
    since: Instant,
    said: Option<Turn>,
}

impl Stall {
    /// A watermark that an earlier run left there, or `Time::MIN`. Without `after` it may stand still for as long as it likes.
    pub fn new(after: Option<Duration>, watermark: Time, now: Instant) -> Self {
        Self { after, watermark, since: now, said: None }
    }

    /// Takes note of where the watermark is; a turn where that is one.
    pub fn look(&mut self, watermark: Time, now: Instant) -> Option<Turn> {
        let after = self.after?;
        let turn = if watermark > self.watermark {
            (self.watermark, self.since) = (watermark, now);
            Turn::Moves
        } else if now.saturating_duration_since(self.since) >= after {
            Turn::Stands
        } else {
            return None;
        };
        (self.said != Some(turn)).then(|| *self.said.insert(turn))
    }

    /// Has the last turn come again: nobody could be told of it.
    pub fn again(&mut self) {
        self.said = None;
    }

    /// Where the watermark is.
    pub fn watermark(&self) -> Time {
        self.watermark
    }

    /// How long it may stand still.
    pub fn after(&self) -> Duration {
        self.after.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_watermark_that_stands_still_is_told_of_once_and_so_is_that_it_moves_again() {
        let start = Instant::now();
        let mut stall = Stall::new(Some(15 * MINUTE), 1_000, start);
        assert_eq!(stall.look(1_000, start + MINUTE), None);
        assert_eq!(stall.look(1_001, start + 2 * MINUTE), Some(Turn::Moves), "an earlier process may have said that it stood");
        assert_eq!(stall.look(1_002, start + 3 * MINUTE), None);
        assert_eq!(stall.look(1_002, start + 17 * MINUTE), None);
        assert_eq!(stall.look(1_002, start + 18 * MINUTE), Some(Turn::Stands));
        assert_eq!(stall.look(1_002, start + 90 * MINUTE), None);
        stall.again();
        assert_eq!(stall.look(1_002, start + 91 * MINUTE), Some(Turn::Stands), "nobody could be told");
        assert_eq!(stall.look(1_003, start + 92 * MINUTE), Some(Turn::Moves));
        assert_eq!(stall.look(1_003, start + 93 * MINUTE), None);
    }

    #[test]
    fn it_may_stand_still_where_nobody_wants_to_know() {
        let start = Instant::now();
        let mut stall = Stall::new(None, Time::MIN, start);
        assert_eq!(stall.look(Time::MIN, start + 10_000 * MINUTE), None);
        assert_eq!(stall.look(1, start + 10_001 * MINUTE), None);
    }
}
