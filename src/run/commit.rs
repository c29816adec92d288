//! The committing thread: batches in, one transaction each, an acknowledgement out.

use super::batch::{Batches, Told};
use super::minute::MinuteCounter;
use super::stall::{Sight, Stall, Turn};
use super::statistics::{Statistics, Tallied};
use super::{Job, Kept, Observer, Part, Restored, SILENCES, Stage};
use crate::history::silence::{self, SilenceRow};
use crate::history::{Batch, Change, History, HistoryError, stall, unsettled};
use dataflows::{Bucket, Past, SeriesId, Silence, State, Time, Verdict};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// After a failure that may pass, the next try waits this long, then twice as long, up to a limit.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Applies batches, trying again for as long as the store is merely away.
pub struct Committer<'a> {
    job: &'a Job,
    history: &'a mut dyn History,
    /// Where the next batch is made meanwhile.
    batches: &'a Mutex<Batches<'a>>,
    /// Verdicts on buckets that had ended by then were announced by an earlier run...
    restored_horizon: Time,
    /// ...but for anomalies that were not stored yet, which a new model brings to light.
    restored_anomalies: HashSet<(SeriesId, Time)>,
    /// The silences that hold, and when they were last looked at.
    silences: (Vec<Silence>, Instant),
    minute: MinuteCounter,
    /// Series that drift, as far as it is stored.
    drifting: HashSet<SeriesId>,
    stall: Stall,
    /// Whether the log has come to its end.
    is_over: bool,
    statistics: &'a Statistics,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
}

impl<'a> Committer<'a> {
    /// A committer that goes on from what an earlier run left.
    ///
    /// # Errors
    /// A history that cannot be read.
    pub fn new(
        job: &'a Job,
        history: &'a mut dyn History,
        restored: &Restored,
        batches: &'a Mutex<Batches<'a>>,
        statistics: &'a Statistics,
        observer: &'a dyn Observer,
        stop: &'a AtomicBool,
    ) -> Result<Self, HistoryError> {
        let position = &restored.position;
        let restored_horizon = position.horizon.unwrap_or(Time::MIN);
        let unsettled = job.timing.first_unsettled(restored_horizon);
        let stored = if position.horizon.is_some() { history.anomalies(unsettled, Time::MAX)? } else { Vec::new() };
        let open = stored.iter().filter(|anomaly| anomaly.status == "open");
        let restored_anomalies = open.map(|anomaly| (anomaly.name.id(), anomaly.start)).collect();
        let tracked = restored.tracked.iter().filter(|one| one.track.as_ref().is_some_and(|track| track.watch.drifting_since.is_some()));
        let drifting: HashSet<SeriesId> = tracked.map(|one| one.name.id()).collect();
        statistics.drifting.store(drifting.len() as u64, Ordering::Relaxed);
        Ok(Self {
            job,
            history,
            batches,
            restored_horizon,
            restored_anomalies,
            silences: (restored.silences.clone(), Instant::now()),
            minute: MinuteCounter::new(job.source.identity(), &position.outcomes),
            drifting,
            stall: Stall::new(job.alerts.stalled_after, restored_horizon, Instant::now()),
            is_over: false,
            statistics,
            observer,
            stop,
        })
    }

    /// Makes a batch durable, and says what is to be said of it.
    ///
    /// # Errors
    /// A failure that will not pass by waiting, or any failure once the run is to stop.
    pub fn commit(&mut self, mut batch: Batch, told: &Told) -> Result<(), HistoryError> {
        let unkept = match self.job.kept {
            Kept::Everything => None,
            Kept::NoVerdicts => {
                (batch.series, batch.tracks, batch.calibration) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
                batch.ledger.stays = Vec::new();
                Some(std::mem::take(&mut batch.changes))
            }
        };
        let mut wait = RETRY.0;
        let took = loop {
            let since = Instant::now();
            match self.history.commit(&batch) {
                Ok(()) => break since.elapsed(),
                Err(HistoryError::Operation { transient: true, problem, place, .. }) if !self.stop.load(Ordering::Relaxed) => {
                    self.statistics.health.note(Part::History, 0, Some(&format!("{place}: {problem}")));
                    self.sleep(wait);
                    wait = (wait * 2).min(RETRY.1);
                }
                Err(error) => return Err(error),
            }
        };
        self.statistics.health.note(Part::History, 0, None);
        self.statistics.commit_seconds.add(took);
        batch.changes = unkept.unwrap_or(batch.changes);
        self.announce(&batch);
        self.count_drifting(&batch);
        self.minute.count(&batch, took);
        let past = batch.subscriptions.iter().map(|subscription| told.unheard(subscription.since)).max();
        self.statistics.past.add(past.unwrap_or(0) as u64);
        self.minute.store_if_over(self.history, self.statistics);
        told.tell(self.observer);
        batch.settled.iter().for_each(|before| self.observer.settled(*before));
        self.batches().done(batch.changes, told.end);
        self.is_over |= told.is_over;
        Ok(())
    }

    /// The silences that hold, if that has changed, and the verdicts that living episodes go on from, which a silence may have changed in history. A
    /// history that is away is asked again later.
    pub fn silences(&mut self) -> Option<(Vec<Silence>, Vec<Past>)> {
        if self.silences.1.elapsed() < SILENCES {
            return None;
        }
        self.silences.1 = Instant::now();
        let now: Vec<Silence> = silence::all(self.history).ok()?.iter().map(SilenceRow::silence).collect();
        if now == self.silences.0 {
            return None;
        }
        let oldest = self.batches().oldest();
        let pasts = unsettled::pasts(self.history, &self.job.source.identity(), &oldest, Time::MAX).ok()?;
        self.silences.0.clone_from(&now);
        Some((now, pasts))
    }

    /// Says that this process is still there, while there is nothing to commit.
    ///
    /// # Errors
    /// Another process has taken over. That the store is away is no error: there is nothing to be stored.
    pub fn stay(&mut self) -> Result<(), HistoryError> {
        self.minute.store_if_over(self.history, self.statistics);
        match self.history.stay() {
            Err(error @ HistoryError::Operation { transient: true, .. }) => {
                self.statistics.health.note(Part::History, 0, Some(&error.to_string()));
                Ok(())
            }
            outcome => {
                self.statistics.health.note(Part::History, 0, None);
                outcome
            }
        }
    }

    /// Says when the watermark has stood still for too long, and when it moves again.
    pub fn watch(&mut self) {
        let (count, now) = (self.statistics, Instant::now());
        let watermark = count.horizon().unwrap_or(self.stall.watermark());
        // Where the source is away, what is read again is not read.
        let is_watching = count.health.stage() == Stage::Watching || count.health.away().iter().any(|absence| absence.what == Part::Source);
        let seen = Sight { watermark, is_watching, records: self.minute.records(), refused: self.minute.refused() };
        let turn = self.stall.look(seen, now);
        if self.stall.stands() {
            // What comes meanwhile is part of it.
            count.health.note(Part::Records, 0, Some(&self.stall.problem(seen)));
        }
        let (source, alerts) = (self.job.source.identity(), &self.job.alerts);
        let told = match turn {
            None => return,
            // That is told at the end.
            Some(_) if self.is_over => return,
            Some(Turn::Stands) => stall::tell(self.history, (&source, &alerts.source), watermark, &alerts.subscriptions(watermark)),
            Some(Turn::Moves) => {
                count.health.note(Part::Records, 0, None);
                stall::tell_end(self.history, &source, stall::End::Moved(watermark))
            }
        };
        if let Err(error) = told {
            // It is tried again with the next look; that history is away is said elsewhere.
            tracing::debug!(%error, "that the watermark stands, or moves, could not be stored");
            self.stall.again();
        }
    }

    /// Says that there is nothing more to be committed. A store that is away has forgotten this process anyway.
    pub fn rest(&mut self) {
        // Whatever somebody was told that the log lacked.
        if self.is_over
            && let Err(error) = stall::tell_end(self.history, &self.job.source.identity(), stall::End::Log)
        {
            tracing::warn!(%error, "that the log has come to its end could not be stored: who was told that it stands is not told of that");
        }
        self.minute.store(self.history, self.statistics);
        let _ = self.history.rest();
    }

    fn batches(&self) -> MutexGuard<'a, Batches<'a>> {
        self.batches.lock().expect("a panic has ended the process")
    }

    /// Counts the series that drift.
    fn count_drifting(&mut self, batch: &Batch) {
        for (series, track) in &batch.tracks {
            if track.watch.drifting_since.is_some() {
                self.drifting.insert(*series)
            } else {
                self.drifting.remove(series)
            };
        }
        self.statistics.drifting.store(self.drifting.len() as u64, Ordering::Relaxed);
    }

    /// Waits, or returns early when the run is to stop.
    fn sleep(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(RETRY.0 / 4);
        }
    }

    /// Whether the bucket had ended when an earlier run committed for the last time.
    fn had_ended(&self, verdict: &Verdict) -> bool {
        verdict.bucket.start + self.job.timing.bucket_width <= self.restored_horizon
    }

    /// Whether an earlier run has said the same.
    fn is_repeated(&self, verdict: &Verdict) -> bool {
        let bucket = &verdict.bucket;
        self.had_ended(verdict) && (verdict.state != State::Anomalous || self.restored_anomalies.contains(&(bucket.series(), bucket.start)))
    }

    /// Counts what was committed and shows the anomalies among it.
    fn announce(&self, batch: &Batch) {
        let count = &self.statistics;
        count.commits.add(1);
        batch.horizon.into_iter().for_each(|horizon| count.set_horizon(horizon));
        let mut tallied = Tallied::default();
        let is_news = |change: &&Change| change.old.is_some() || !change.new.as_ref().is_some_and(|verdict| self.is_repeated(verdict));
        let mut changes = batch.changes.iter().filter(is_news).inspect(|change| tallied.add(change));
        let name = |bucket: &Bucket| self.batches().name(bucket.entity, bucket.metric);
        self.observer.verdicts(&mut changes, &name, &self.job.policy);
        // Those that nobody looked at count as well.
        changes.for_each(drop);
        count.add(&tallied);
        for provisional in &batch.provisionals {
            if let Some(name) = self.batches().name(provisional.entity, provisional.metric) {
                self.observer.provisional(&name, provisional, self.job.policy.limits(provisional.metric).threshold);
            }
        }
        for (provisional, reason) in &batch.provisionals_withdrawn {
            let name = self.batches().name(provisional.entity, provisional.metric);
            name.iter().for_each(|name| self.observer.provisional_withdrawn(name, provisional.start, reason));
        }
    }
}
