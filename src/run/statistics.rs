//! What a run counts, for the status line, the summary and the server.

use super::health::Health;
use super::histogram::Histogram;
use crate::history::{Change, EVENT, Outcome};
use dataflows::{State, Time, Verdict};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows, added to by many threads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Work before the watching, or beside it, that people wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// `backfill` or `training`.
    pub what: &'static str,
    /// What is counted: `records` or `series`.
    pub unit: &'static str,
    /// So many are done...
    pub done: u64,
    /// ...of so many; `None` where that is not known.
    pub total: Option<u64>,
}

/// The counters of one run in one process, and what it cannot reach.
#[derive(Debug)]
pub struct Statistics {
    /// Records read.
    pub records: Counter,
    /// Records refused.
    pub dead_letters: Counter,
    /// Verdicts committed, revisions included.
    pub verdicts: Counter,
    /// Verdicts that took the place of an earlier one.
    pub revisions: Counter,
    /// Buckets as they should be.
    pub normal: Counter,
    /// Anomalies committed.
    pub anomalies: Counter,
    /// Deviations that another metric of their entity speaks for.
    pub accompanying: Counter,
    /// Buckets of series that fell silent.
    pub missing: Counter,
    /// Buckets without a model.
    pub unscored: Counter,
    /// Deviations that a silence covers.
    pub silenced: Counter,
    /// Anomalies that a revision took back.
    pub withdrawn: Counter,
    /// Transactions.
    pub commits: Counter,
    /// How long they took.
    pub commit_seconds: Histogram,
    /// Events left out because their partition had been idle for longer than the lateness.
    pub behind: Counter,
    /// Incidents that were over for too long to tell anybody of them, where somebody is told of any.
    pub past: Counter,
    /// The generation of the models in use.
    pub generation: AtomicU64,
    /// The series whose deviations are larger than their models promised, as far as it is committed.
    pub drifting: AtomicU64,
    /// What is away.
    pub health: Health,
    /// Whether nothing is said of the first record that is refused for a reason: the end will say it.
    is_quiet: bool,
    /// Records refused, by reason, as far as they were counted by their partitions.
    refused: Mutex<BTreeMap<String, u64>>,
    activity: Mutex<Option<Activity>>,
    /// The models in use, and where the trainings of the oldest and of the newest of them ended.
    trained: Mutex<(u64, Option<(Time, Time)>)>,
    horizon: AtomicI64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            dead_letters: Counter::default(),
            verdicts: Counter::default(),
            revisions: Counter::default(),
            normal: Counter::default(),
            anomalies: Counter::default(),
            accompanying: Counter::default(),
            missing: Counter::default(),
            unscored: Counter::default(),
            silenced: Counter::default(),
            withdrawn: Counter::default(),
            commits: Counter::default(),
            commit_seconds: Histogram::default(),
            behind: Counter::default(),
            past: Counter::default(),
            generation: AtomicU64::new(0),
            drifting: AtomicU64::new(0),
            health: Health::default(),
            is_quiet: false,
            refused: Mutex::default(),
            activity: Mutex::default(),
            trained: Mutex::default(),
            horizon: AtomicI64::new(Time::MIN),
        }
    }
}

/// What the changes of one batch add to the counters. Those are shared by threads, so that to add to them costs as much as to look at a change.
#[derive(Default)]
pub struct Tallied {
    verdicts: u64,
    revisions: u64,
    withdrawn: u64,
    normal: u64,
    anomalies: u64,
    accompanying: u64,
    missing: u64,
    silenced: u64,
    unscored: u64,
}

impl Tallied {
    /// Counts a change.
    pub fn add(&mut self, change: &Change) {
        let is_anomalous = |verdict: Option<&Verdict>| verdict.is_some_and(|verdict| verdict.state == State::Anomalous);
        self.verdicts += 1;
        self.revisions += u64::from(change.old.is_some());
        self.withdrawn += u64::from(is_anomalous(change.old.as_deref()) && !is_anomalous(change.new.as_ref()));
        match change.new.as_ref().map(|verdict| verdict.state) {
            Some(State::Normal) => self.normal += 1,
            Some(State::Anomalous) => self.anomalies += 1,
            Some(State::Accompanying) => self.accompanying += 1,
            Some(State::Missing) => self.missing += 1,
            Some(State::Silenced) => self.silenced += 1,
            Some(State::Unscored(_)) => self.unscored += 1,
            Some(State::NotDue) | None => {}
        }
    }
}

impl Statistics {
    /// Those of a run whose end will say what was refused.
    pub fn quiet() -> Self {
        Self { is_quiet: true, ..Self::default() }
    }

    /// Adds what a batch came to.
    pub fn add(&self, batch: &Tallied) {
        self.verdicts.add(batch.verdicts);
        self.revisions.add(batch.revisions);
        self.withdrawn.add(batch.withdrawn);
        self.normal.add(batch.normal);
        self.anomalies.add(batch.anomalies);
        self.accompanying.add(batch.accompanying);
        self.missing.add(batch.missing);
        self.silenced.add(batch.silenced);
        self.unscored.add(batch.unscored);
    }

    /// Moves the watermark that people are shown.
    pub fn set_horizon(&self, horizon: Time) {
        self.horizon.fetch_max(horizon, Ordering::Relaxed);
    }

    /// Takes note that `more` records of a partition came to the same. The first that is refused for a reason is worth a word.
    pub fn note(&self, outcome: &Outcome, more: u64) {
        if outcome.outcome == EVENT {
            return;
        }
        let mut refused = self.refused.lock().expect("no holder panics");
        let is_first = !refused.contains_key(&outcome.outcome);
        *refused.entry(outcome.outcome.clone()).or_default() += more;
        if !is_first || self.is_quiet {
            return;
        }
        let (partition, reason) = (&outcome.partition, outcome.outcome.as_str());
        match reason {
            "too_many_entities" | "too_many_metrics" | "too_many_series" => {
                tracing::warn!(%partition, %reason, "a limit is reached: what is new is refused, what is known goes on; see `tidewatch dead-letters`");
            }
            // Every log has some.
            "too_late" => {}
            _ => tracing::warn!(%partition, %reason, "a record is refused, the first for this reason; see `tidewatch dead-letters`"),
        }
    }

    /// What was refused, by reason: `3 future, 1 invalid_json`; empty if nothing was.
    pub fn refusals(&self) -> String {
        let refused = self.refused.lock().expect("no holder panics");
        refused.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
    }

    /// The number of refused records by reason.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        self.refused.lock().expect("no holder panics").clone()
    }

    /// Says what people wait for, or `None` when that is over.
    pub fn set_activity(&self, activity: Option<Activity>) {
        *self.activity.lock().expect("no holder panics") = activity;
    }

    /// What people wait for.
    pub fn activity(&self) -> Option<Activity> {
        *self.activity.lock().expect("no holder panics")
    }

    /// Takes note of the models in use, one per series, by the ends of their trainings.
    pub fn set_trained(&self, ends: &[Time]) {
        let span = ends.iter().min().copied().zip(ends.iter().max().copied());
        *self.trained.lock().expect("no holder panics") = (ends.len() as u64, span);
    }

    /// The number of models in use, and where the trainings of the oldest and of the newest of them ended.
    pub fn trained(&self) -> (u64, Option<(Time, Time)>) {
        *self.trained.lock().expect("no holder panics")
    }

    /// The common watermark that was committed last; `None` before the first.
    pub fn horizon(&self) -> Option<Time> {
        Some(self.horizon.load(Ordering::Relaxed)).filter(|horizon| (Time::MIN + 1..Time::MAX).contains(horizon))
    }
}
