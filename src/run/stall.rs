//! Whether the watermark stands still: no news may mean that all is well, or that nothing arrives.

use crate::instant;
use dataflows::Time;
use std::time::{Duration, Instant};

/// Who did not look for longer than this has waited for a history that is away, or was frozen: whether the watermark would have moved meanwhile nobody knows.
const UNWATCHED: Duration = Duration::from_secs(5);

/// What has become of the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has stood at the same moment for too long.
    Stands,
    /// It moves: for the first time since this process began, or again.
    Moves,
}

/// What there is to see of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// Where the watermark is.
    pub watermark: Time,
    /// Time counts only while the run watches, or cannot: what it reads again moves nothing.
    pub is_watching: bool,
    /// Records that were read so far...
    pub records: u64,
    /// ...and those of them that were refused.
    pub refused: u64,
}

/// How long the watermark has been where it is, by the wall clock of this process.
#[derive(Debug)]
pub struct Stall {
    after: Option<Duration>,
    /// When the watermark last moved.
    moved: Sight,
    since: Instant,
    looked_at: Instant,
    said: Option<Turn>,
    /// Whether nobody could be told of that.
    is_untold: bool,
}

impl Stall {
    /// A watermark that an earlier run left there, or `Time::MIN`. Without `after` it may stand still for as long as it likes.
    pub fn new(after: Option<Duration>, watermark: Time, now: Instant) -> Self {
        Self { after, moved: Sight { watermark, ..Sight::default() }, since: now, looked_at: now, said: None, is_untold: false }
    }

    /// Takes note of what there is to see; a turn where that is one.
    pub fn look(&mut self, seen: Sight, now: Instant) -> Option<Turn> {
        let unwatched = now.saturating_duration_since(std::mem::replace(&mut self.looked_at, now));
        if !seen.is_watching {
            self.since = now;
        } else if unwatched > UNWATCHED {
            self.since = (self.since + unwatched).min(now);
        }
        let turn = if seen.watermark > self.moved.watermark {
            (self.moved, self.since) = (seen, now);
            Turn::Moves
        } else if self.after.is_some_and(|after| now.saturating_duration_since(self.since) >= after) {
            Turn::Stands
        } else {
            self.said.filter(|_| self.is_untold)?
        };
        let is_news = std::mem::take(&mut self.is_untold) || self.said != Some(turn);
        self.said = Some(turn);
        is_news.then_some(turn)
    }

    /// Has the last turn come again with the next look: nobody could be told of it.
    pub fn again(&mut self) {
        self.is_untold = true;
    }

    /// Whether it was last said that the watermark stands.
    pub fn stands(&self) -> bool {
        self.said == Some(Turn::Stands)
    }

    /// Where the watermark is.
    pub fn watermark(&self) -> Time {
        self.moved.watermark
    }

    /// Where it stands, and what came since.
    pub fn problem(&self, seen: Sight) -> String {
        let stands = match self.moved.watermark {
            Time::MIN => "there was none yet".into(),
            watermark => format!("the watermark stands at {}", instant::format(watermark)),
        };
        let came = match (seen.records - self.moved.records, seen.refused - self.moved.refused) {
            (0, _) => "nothing was read since".into(),
            (1, 0) => "1 record was read since, and did not move it".into(),
            (1, _) => "1 record was read since, and refused: see `tidewatch dead-letters`".into(),
            (read, 0) => format!("{read} records were read since, and none moved it"),
            (read, refused) => format!("{read} records were read since, and {refused} refused: see `tidewatch dead-letters`"),
        };
        format!("{stands}; {came}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A stall that is looked at every second until so many minutes after its start.
    struct Watched {
        stall: Stall,
        now: Instant,
    }

    impl Watched {
        fn new(after: Option<Duration>, watermark: Time) -> Self {
            let now = Instant::now();
            Self { stall: Stall::new(after, watermark, now), now }
        }

        fn turns(&mut self, minutes: u32, watermark: Time, is_watching: bool) -> Vec<Turn> {
            let until = self.now + minutes * MINUTE;
            let mut turns = Vec::new();
            while self.now < until {
                self.now += Duration::from_secs(1);
                turns.extend(self.stall.look(Sight { watermark, is_watching, ..Sight::default() }, self.now));
            }
            turns
        }
    }

    #[test]
    fn a_watermark_that_stands_still_is_told_of_once_and_so_is_that_it_moves_again() {
        let mut watched = Watched::new(Some(15 * MINUTE), 1_000);
        assert_eq!(watched.turns(1, 1_000, true), []);
        assert_eq!(watched.turns(1, 1_001, true), [Turn::Moves], "an earlier process may have said that it stood");
        assert_eq!(watched.turns(14, 1_002, true), []);
        assert_eq!(watched.turns(2, 1_002, true), [Turn::Stands]);
        assert_eq!(watched.turns(90, 1_002, true), []);
        watched.stall.again();
        assert_eq!(watched.turns(1, 1_002, true), [Turn::Stands], "nobody could be told");
        assert_eq!(watched.turns(1, 1_003, true), [Turn::Moves]);
        watched.stall.again();
        assert_eq!(watched.turns(1, 1_003, true), [Turn::Moves], "also where it does not move on");
        assert_eq!(watched.turns(1, 1_004, true), []);
    }

    /// Failed once: of a producer whose records are all refused it was said that it sends nothing.
    #[test]
    fn what_came_meanwhile_is_told_and_whether_it_was_refused() {
        let start = Instant::now();
        let mut stall = Stall::new(Some(MINUTE), Time::MIN, start);
        let seen = |watermark, records, refused| Sight { watermark, is_watching: true, records, refused };
        assert_eq!(stall.problem(seen(Time::MIN, 0, 0)), "there was none yet; nothing was read since");
        stall.look(seen(1_768_780_800_000, 50, 2), start);
        let told = |records, refused| stall.problem(seen(1_768_780_800_000, records, refused));
        let stands = "the watermark stands at 2026-01-19T00:00:00Z";
        assert_eq!(told(50, 2), format!("{stands}; nothing was read since"));
        assert_eq!(told(60, 2), format!("{stands}; 10 records were read since, and none moved it"));
        assert_eq!(told(60, 12), format!("{stands}; 10 records were read since, and 10 refused: see `tidewatch dead-letters`"));
    }

    /// Failed once: who was told was never told of the end where the next run was not to watch for it.
    #[test]
    fn it_may_stand_still_where_nobody_wants_to_know_and_its_end_is_told_all_the_same() {
        let mut watched = Watched::new(None, Time::MIN);
        assert_eq!(watched.turns(1_000, Time::MIN, true), []);
        assert_eq!(watched.turns(1, 1, true), [Turn::Moves]);
    }

    /// Failed once: a history that was away for longer than the watermark may stand still was told as a source that brings nothing.
    #[test]
    fn time_counts_only_while_somebody_looks_and_watches() {
        let mut watched = Watched::new(Some(15 * MINUTE), 1_000);
        assert_eq!(watched.turns(10, 1_000, true), []);
        watched.now += 60 * MINUTE;
        assert_eq!(watched.turns(4, 1_000, true), []);
        assert_eq!(watched.turns(20, 1_000, false), [], "it reads again what an earlier run has read");
        assert_eq!(watched.turns(14, 1_000, true), []);
        assert_eq!(watched.turns(2, 1_000, true), [Turn::Stands]);
    }
}
