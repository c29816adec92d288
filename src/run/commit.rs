//! The committing thread: whole epochs in, one transaction each, an acknowledgement out.

use super::ledger::Ledger;
use super::minute::MinuteCounter;
use super::names::Directory;
use super::net::net_changes;
use super::output::{EntityName, Output, RawSamples};
use super::statistics::Statistics;
use super::{Job, Kept, Observer, Part, Restored, SILENCES};
use crate::history::incident::{EntityPlacement, NamedIncident};
use crate::history::silence::{self, SilenceRow};
use crate::history::{Batch, Change, History, HistoryError};
use crate::source::Partition;
use dataflows::{EntityId, Episode, EpisodeId, Incident, IncidentId, Placement, Provisional, SeriesId, Silence, State, Time, Verdict};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After a failure that may pass, the next try waits this long, then twice as long, up to a limit.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Turns outputs into batches and applies them, trying again for as long as the store is merely away.
pub struct Committer<'a> {
    job: &'a Job,
    history: &'a mut dyn History,
    directory: Directory,
    partitions: HashMap<u32, String>,
    /// Verdicts on buckets that had ended by then were announced by an earlier run...
    restored_horizon: Time,
    /// ...but for anomalies that were not stored yet, which a new model brings to light.
    restored_anomalies: HashSet<(SeriesId, Time)>,
    /// The end of the last bucket that was said, or the last watermark, whichever is later.
    latest_end: Time,
    ledger: Ledger,
    /// Where entities stand, and since when, as far as it is stored.
    placed: HashMap<EntityId, Placement>,
    /// The silences that hold, and when they were last looked at.
    silences: (Vec<Silence>, Instant),
    minute: MinuteCounter,
    /// Series that drift, as far as it is stored.
    drifting: HashSet<SeriesId>,
    statistics: &'a Statistics,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    /// Room that the last batch took, some ten megabytes: to ask the system for it anew costs more than to fill it.
    room: (Vec<(Verdict, isize)>, Vec<Change>),
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
        partitions: &[Partition],
        statistics: &'a Statistics,
        observer: &'a dyn Observer,
        stop: &'a AtomicBool,
    ) -> Result<Self, HistoryError> {
        let position = &restored.position;
        let mut directory = Directory::default();
        position.last_seen.iter().for_each(|(series, last)| directory.recall(series, *last));
        let partitions = partitions.iter().map(|partition| (partition.id, partition.name.clone())).collect();
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
            directory,
            partitions,
            restored_horizon,
            restored_anomalies,
            latest_end: restored_horizon,
            ledger: Ledger::new(&restored.unsettled),
            placed: restored.placements.iter().map(|placed| (placed.placement.entity, placed.placement.clone())).collect(),
            silences: (restored.silences.clone(), Instant::now()),
            minute: MinuteCounter::new(job.source.identity(), &position.outcomes),
            drifting,
            statistics,
            observer,
            stop,
            room: (Vec::new(), Vec::new()),
        })
    }

    /// Makes one group of epochs durable; returns the episodes that can change no more.
    ///
    /// # Errors
    /// A failure that will not pass by waiting, or any failure once the run is to stop.
    pub fn commit(&mut self, outputs: Vec<Vec<Output>>) -> Result<Vec<EpisodeId>, HistoryError> {
        let (mut batch, told) = self.batch(outputs);
        let unkept = match self.job.kept {
            Kept::Everything => None,
            Kept::NoVerdicts => {
                (batch.series, batch.tracks, batch.calibration) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
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
        self.minute.store_if_over(self.history, self.statistics);
        told.tell(self.observer);
        batch.settled.iter().for_each(|before| self.observer.settled(*before));
        self.room.1 = batch.changes;
        Ok(told.retired)
    }

    /// The silences that hold, if that has changed, and the verdicts that living episodes go on from, which a silence may have changed in history. A
    /// history that is away is asked again later.
    pub fn silences(&mut self) -> Option<(Vec<Silence>, Vec<Vec<Verdict>>)> {
        if self.silences.1.elapsed() < SILENCES {
            return None;
        }
        self.silences.1 = Instant::now();
        let now: Vec<Silence> = silence::all(self.history).ok()?.iter().map(SilenceRow::silence).collect();
        if now == self.silences.0 {
            return None;
        }
        let mut verdicts = Vec::new();
        for ((entity, metric), opened) in self.ledger.oldest() {
            let Some(name) = self.directory.name(entity, metric) else { continue };
            let read = self.history.verdicts_of(&name, opened, Time::MAX).ok()?;
            verdicts.extend((!read.is_empty()).then_some(read));
        }
        self.silences.0.clone_from(&now);
        Some((now, verdicts))
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

    /// Says that there is nothing more to be committed. A store that is away has forgotten this process anyway.
    pub fn rest(&mut self) {
        self.minute.store(self.history, self.statistics);
        let _ = self.history.rest();
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

    fn batch(&mut self, outputs: Vec<Vec<Output>>) -> (Batch, Told) {
        let mut batch = Batch {
            source: self.job.source.identity(),
            bucket_width: self.job.timing.bucket_width,
            policy: self.job.policy.clone(),
            ..Batch::default()
        };
        let (mut verdicts, mut changes) = std::mem::take(&mut self.room);
        let (mut raw, mut progress) = (Vec::new(), BTreeMap::new());
        let (mut episodes, mut incidents, mut provisionals) = (Vec::new(), Vec::new(), BTreeMap::new());
        for output in outputs.into_iter().flatten() {
            match output {
                Output::Verdict(verdict, sign) => verdicts.push((verdict, sign)),
                Output::Episode(episode, sign) => episodes.push((episode, sign)),
                Output::Incident(incident, sign) => incidents.push((*incident, sign)),
                Output::Provisional(provisional, sign) => {
                    provisionals.insert((provisional.series(), provisional.start), (provisional, sign));
                }
                Output::Settled(series, settled) => {
                    batch.calibration.extend(settled.days.into_iter().map(|day| ((day.tally.day, series), day)));
                    batch.tracks.insert(series, settled.track);
                }
                Output::Horizon(horizon) => batch.horizon = batch.horizon.max(Some(horizon)),
                Output::Entity(name) => {
                    batch.placements.extend(self.place(&name));
                    self.directory.hear_entity(*name);
                }
                Output::Metric(id, name, heard) => self.directory.hear_metric(id, name, heard),
                Output::Stay(stay) => batch.ledger.stays.push(*stay),
                Output::Refusal(refusal) => batch.ledger.refusals.push(*refusal),
                Output::Outcome(outcome) => batch.ledger.outcomes.push(*outcome),
                Output::Raw(samples) => raw.push(samples),
                Output::DeadLetter(letter) => batch.dead_letters.push(*letter),
                Output::Progress(place, _) => {
                    progress.insert(place.partition.clone(), *place);
                }
            }
        }
        batch.progress = progress.into_values().collect();
        net_changes(&verdicts, &mut changes);
        batch.changes = changes;
        verdicts.clear();
        self.room.0 = verdicts;
        let ends = batch.changes.iter().filter_map(|change| change.new).map(|verdict| verdict.bucket.start + batch.bucket_width);
        self.latest_end = ends.fold(self.latest_end, Time::max);
        // The end of a file is not the end of time: more may be appended to it.
        if let Some(horizon) = batch.horizon.as_mut() {
            self.latest_end = if *horizon == Time::MAX { self.latest_end } else { self.latest_end.max(*horizon) };
            *horizon = self.latest_end;
        }
        batch.settled = batch.horizon.map(|horizon| self.job.timing.first_unsettled(horizon));
        // What is final is not provisional any more.
        for verdict in batch.changes.iter().filter_map(|change| change.new.or(change.old)) {
            provisionals.remove(&(verdict.bucket.series(), verdict.bucket.start));
        }
        let (open, gone): (Vec<_>, Vec<_>) = provisionals.into_values().partition(|(_, sign)| *sign > 0);
        batch.provisionals = open.into_iter().map(|(provisional, _)| provisional).collect();
        let gone = gone.into_iter().map(|(gone, _)| (gone, calmed(&gone, &batch.provisionals, &self.directory)));
        batch.provisionals_withdrawn = gone.collect();
        let buckets = batch.changes.iter().filter_map(|change| change.new.or(change.old)).map(|verdict| verdict.bucket);
        let open = batch.provisionals.iter().map(|provisional| (provisional.entity, provisional.metric));
        let series = buckets.map(|bucket| (bucket.entity, bucket.metric)).chain(open);
        batch.series = series.filter_map(|(entity, metric)| self.directory.unstored(entity, metric)).collect();
        let told = self.tell(&mut batch, episodes, incidents);
        batch.subscriptions = self.job.alerts.subscriptions(self.latest_end);
        self.learn_partitions(&raw);
        batch.raw = raw.into_iter().map(|samples| self.directory.raw(*samples, &self.partitions)).collect();
        self.directory.forget(self.latest_end, &self.job.timing, &|| self.ledger.living());
        (batch, told)
    }

    /// Where an entity stands, if that is news: the first time, after a move, and where it turns out to have stood there for longer.
    fn place(&mut self, name: &EntityName) -> Option<EntityPlacement> {
        let placement = name.placement();
        let same_place = |known: &Placement| (&known.zone, &known.rack) == (&placement.zone, &placement.rack);
        if name.is_repeated || self.placed.get(&name.id).is_some_and(|known| same_place(known) && known.since <= placement.since) {
            return None;
        }
        self.placed.insert(name.id, placement.clone());
        Some(EntityPlacement { entity_id: name.entity_id.clone(), placement })
    }

    /// Adds what has become of episodes and incidents to a batch; what is to be said of it once it is durable.
    fn tell(&mut self, batch: &mut Batch, episodes: Vec<(Episode, isize)>, incidents: Vec<(Incident, isize)>) -> Told {
        let mut told = Told::default();
        let repeated: Vec<IncidentId> = incidents.iter().map(|one| one.0.id).filter(|id| self.ledger.was_told(*id)).collect();
        let changes = self.ledger.apply(episodes, incidents);
        batch.episodes = changes.episodes;
        batch.episodes_withdrawn = changes.episodes_withdrawn;
        told.retired = changes.retired;
        for (incident, before) in changes.incidents {
            let named = self.named(incident);
            batch.incidents.push(named.clone());
            // What an earlier run has told of is news again only when it changes.
            if !repeated.contains(&named.incident.id) {
                told.incidents.push((named, before));
            }
        }
        for (id, reason, incident) in changes.incidents_withdrawn {
            batch.incidents_withdrawn.push((id, reason.clone()));
            told.withdrawn.extend(incident.map(|incident| (self.named(incident), reason)));
        }
        told.incidents.sort_by_key(|(named, _)| (named.incident.opened, named.incident.id));
        told
    }

    fn named(&self, incident: Incident) -> NamedIncident {
        let entity_id = self.directory.entity(incident.place.entity);
        let mut metrics: Vec<String> = incident.metrics.iter().map(|metric| self.directory.metric(*metric)).collect();
        metrics.sort_unstable();
        let peak = incident.peak.and_then(|(entity, metric, _)| self.directory.name(entity, metric));
        NamedIncident { incident, entity_id, metrics, peak }
    }

    /// The names of partitions that appeared after the start.
    fn learn_partitions(&mut self, raw: &[Box<RawSamples>]) {
        if raw.iter().any(|samples| !self.partitions.contains_key(&samples.partition))
            && let Ok(found) = self.job.source.partitions()
        {
            self.partitions.extend(found.into_iter().map(|partition| (partition.id, partition.name)));
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
        for change in &batch.changes {
            let repeated = change.old.is_none() && change.new.is_some_and(|verdict| self.is_repeated(&verdict));
            if repeated {
                continue;
            }
            count.verdicts.add(1);
            count.revisions.add(u64::from(change.old.is_some()));
            let is_anomalous = |verdict: Option<Verdict>| verdict.is_some_and(|verdict| verdict.state == State::Anomalous);
            count.withdrawn.add(u64::from(is_anomalous(change.old) && !is_anomalous(change.new)));
            match change.new.map(|verdict| verdict.state) {
                Some(State::Anomalous) => count.anomalies.add(1),
                Some(State::Accompanying) => count.accompanying.add(1),
                Some(State::Missing) => count.missing.add(1),
                Some(State::Unscored(_)) => count.unscored.add(1),
                Some(State::Silenced) => count.silenced.add(1),
                Some(State::Normal) => count.normal.add(1),
                None => {}
            }
            if let Some(Verdict { bucket, .. }) = change.new.or(change.old) {
                let name = || self.directory.name(bucket.entity, bucket.metric);
                self.observer.verdict(change, &name, self.job.policy.limits(bucket.metric).threshold);
            }
        }
        for provisional in &batch.provisionals {
            if let Some(name) = self.directory.name(provisional.entity, provisional.metric) {
                self.observer.provisional(&name, provisional, self.job.policy.limits(provisional.metric).threshold);
            }
        }
        for (provisional, reason) in &batch.provisionals_withdrawn {
            let name = self.directory.name(provisional.entity, provisional.metric);
            name.iter().for_each(|name| self.observer.provisional_withdrawn(name, provisional.start, reason));
        }
    }
}

/// Why an open bucket is provisionally anomalous no more. Whoever speaks for an entity in its place says so in the same epoch.
fn calmed(gone: &Provisional, open: &[Provisional], directory: &Directory) -> String {
    let speaks = open.iter().find(|open| (open.entity, open.start) == (gone.entity, gone.start) && open.metric != gone.metric);
    match speaks {
        Some(speaks) => format!("{} of the same entity is further off, and speaks for it", directory.metric(speaks.metric)),
        None => "what came after it in the same bucket was as expected".into(),
    }
}

/// What is to be said of a batch once it is durable.
#[derive(Default)]
struct Told {
    incidents: Vec<(NamedIncident, Option<Incident>)>,
    withdrawn: Vec<(NamedIncident, String)>,
    retired: Vec<EpisodeId>,
}

impl Told {
    fn tell(&self, observer: &dyn Observer) {
        self.incidents.iter().for_each(|(incident, before)| observer.incident(incident, before.as_ref()));
        self.withdrawn.iter().for_each(|(incident, reason)| observer.incident_withdrawn(incident, reason));
    }
}
