//! Counts what a minute's commits came to, and stores it when the minute is over.

use super::Statistics;
use crate::history::minute::{self, Minute};
use crate::history::{Batch, EVENT, History, Outcome};
use crate::instant;
use dataflows::{State, Time};
use std::collections::HashMap;
use std::time::Duration;

/// A minute of the wall clock, in milliseconds.
const MINUTE: Time = 60_000;

/// The minute under way.
pub struct MinuteCounter {
    minute: Minute,
    /// Records by partition and outcome, as far as they were counted: the ledger says sums.
    counted: HashMap<(String, String), u64>,
    /// Records of this run, of all processes, and those of them that were refused.
    records: u64,
    refused: u64,
}

impl MinuteCounter {
    /// Goes on from the sums of an earlier run.
    pub fn new(source: String, outcomes: &[Outcome]) -> Self {
        let counted = outcomes.iter().map(|one| ((one.partition.clone(), one.outcome.clone()), one.records)).collect();
        Self { minute: Minute { source, minute_at: now(), ..Minute::default() }, counted, records: 0, refused: 0 }
    }

    /// Adds a commit that is durable.
    pub fn count(&mut self, batch: &Batch, took: Duration) {
        let minute = &mut self.minute;
        let milliseconds = took.as_secs_f64() * 1e3;
        minute.commits += 1;
        minute.milliseconds += milliseconds;
        minute.milliseconds_max = minute.milliseconds_max.max(milliseconds);
        for outcome in &batch.ledger.outcomes {
            let before = self.counted.entry((outcome.partition.clone(), outcome.outcome.clone())).or_default();
            let more = outcome.records.saturating_sub(*before);
            *before += more;
            let refused = if outcome.outcome == EVENT { 0 } else { more };
            minute.records += more;
            minute.dead_letters += refused;
            self.records += more;
            self.refused += refused;
        }
        for change in &batch.changes {
            minute.verdicts += u64::from(change.new.is_some());
            minute.revisions += u64::from(change.old.is_some());
            minute.anomalies += u64::from(change.new.is_some_and(|verdict| verdict.state == State::Anomalous));
        }
    }

    /// The records of this run so far, of all processes.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Those of them that were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Stores the minute if it is over. One that could not be stored goes on: what it holds is stored with the next.
    pub fn store_if_over(&mut self, history: &mut dyn History, statistics: &Statistics) {
        if self.minute.minute_at != now() {
            self.store(history, statistics);
        }
    }

    /// Stores the minute as far as it has come, if anything was committed in it.
    pub fn store(&mut self, history: &mut dyn History, statistics: &Statistics) {
        if self.minute.commits > 0 {
            self.minute.watermark = statistics.horizon();
            self.minute.generation = statistics.generation.load(std::sync::atomic::Ordering::Relaxed);
            (self.minute.models, self.minute.trained_until) = statistics.trained();
            if let Err(error) = minute::store(history, &self.minute) {
                tracing::debug!(%error, "how the commits went is not stored yet");
                return;
            }
        }
        self.minute = Minute { source: std::mem::take(&mut self.minute.source), minute_at: now(), ..Minute::default() };
    }
}

/// The beginning of this minute.
fn now() -> Time {
    instant::now().div_euclid(MINUTE) * MINUTE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{self, statement::Shape, statement::Statement};

    fn outcome(outcome: &str, records: u64) -> Outcome {
        Outcome { partition: "log/0".into(), outcome: outcome.into(), records }
    }

    #[test]
    fn a_minute_counts_what_is_new_since_the_last_run_and_adds_to_what_is_stored_of_it() {
        let mut history = history::open("embedded::memory:").unwrap();
        history.migrate().unwrap();
        let statistics = Statistics::default();
        let mut counter = MinuteCounter::new("log".into(), &[outcome(EVENT, 100)]);
        counter.minute.minute_at = 0;
        let mut batch = Batch::default();
        batch.ledger.outcomes = vec![outcome(EVENT, 107), outcome("invalid_json", 2), outcome(EVENT, 110)];
        counter.count(&batch, Duration::from_millis(4));
        counter.count(&batch, Duration::from_millis(2));
        counter.store(&mut *history, &statistics);
        counter.minute.minute_at = 0;
        batch.ledger.outcomes = vec![outcome(EVENT, 111)];
        counter.count(&batch, Duration::from_millis(3));
        counter.store_if_over(&mut *history, &statistics);
        counter.store_if_over(&mut *history, &statistics);
        let sql = "SELECT commits, records, dead_letters, milliseconds, milliseconds_max FROM commits";
        let shapes = [Shape::Integer, Shape::Integer, Shape::Integer, Shape::Number, Shape::Number];
        let rows = history.select(&Statement { sql, values: Vec::new() }, &shapes).unwrap();
        let [columns] = &mut { rows }[..] else { panic!("one minute is one row") };
        assert_eq!((columns.integer(), columns.integer(), columns.integer()), (3, 13, 2));
        assert_eq!((columns.number(), columns.number()), (Some(9.0), Some(4.0)));
    }
}
