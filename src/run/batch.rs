//! Outputs of the graph become a batch: who is meant is named, what was said and taken back cancels.

use super::ledger::Ledger;
use super::names::Directory;
use super::net::Net;
use super::output::{EntityName, Output, RawSamples};
use super::{Job, Kept, Observer, Restored};
use crate::history::incident::{EntityPlacement, NamedIncident};
use crate::history::{Batch, Change};
use crate::series::SeriesName;
use crate::source::Partition;
use dataflows::{EntityId, Episode, EpisodeId, Incident, IncidentId, MetricId, Placement, Provisional, Stage, State, Time, Verdict};
use std::collections::{BTreeMap, HashMap};

/// Makes batches. It knows what was said, of which the last may not be stored yet.
pub struct Batches<'a> {
    job: &'a Job,
    directory: Directory,
    partitions: HashMap<u32, String>,
    /// The end of the last bucket that was said, or the last watermark, whichever is later.
    latest_end: Time,
    ledger: Ledger,
    /// Where entities stand, and since when, as far as it was said.
    placed: HashMap<EntityId, Placement>,
    net: Net,
    /// Room that earlier batches took, some ten megabytes: to ask the system for it anew costs more than to fill it.
    room: Vec<Vec<Change>>,
}

impl<'a> Batches<'a> {
    /// Goes on from what an earlier run left.
    pub fn new(job: &'a Job, restored: &Restored, partitions: &[Partition]) -> Self {
        let position = &restored.position;
        let mut directory = Directory::default();
        position.last_seen.iter().for_each(|(series, last)| directory.recall(series, *last));
        Self {
            job,
            directory,
            partitions: partitions.iter().map(|partition| (partition.id, partition.name.clone())).collect(),
            latest_end: position.horizon.unwrap_or(Time::MIN),
            ledger: Ledger::new(&restored.unsettled),
            placed: restored.placements.iter().map(|placed| (placed.placement.entity, placed.placement.clone())).collect(),
            net: Net::new(job.kept),
            room: Vec::new(),
        }
    }

    /// The name of a series.
    pub fn name(&self, entity: EntityId, metric: MetricId) -> Option<SeriesName> {
        self.directory.name(entity, metric)
    }

    /// The oldest living episode of each series that has a name: when it opened.
    pub fn oldest(&self) -> BTreeMap<SeriesName, Time> {
        let oldest = self.ledger.oldest().into_iter();
        oldest.filter_map(|((entity, metric), opened)| Some((self.directory.name(entity, metric)?, opened))).collect()
    }

    /// Takes back what a batch was made of once it is stored and all was said of it, and forgets the names that nobody will ask for after its end.
    pub fn done(&mut self, changes: Vec<Change>, end: Time) {
        self.room.push(changes);
        self.directory.forget(end, &self.job.timing, &|| self.ledger.living());
    }

    /// What a group of epochs comes to: what is to be stored, and what is to be said then.
    pub fn batch(&mut self, mut outputs: Vec<Vec<Output>>) -> (Batch, Told) {
        let mut batch = Batch {
            source: self.job.source.identity(),
            bucket_width: self.job.timing.bucket_width,
            policy: self.job.policy.clone(),
            ..Batch::default()
        };
        let (mut raw, mut progress) = (Vec::new(), BTreeMap::new());
        let (mut episodes, mut incidents, mut provisionals) = (Vec::new(), Vec::new(), BTreeMap::new());
        for output in outputs.iter_mut().flatten() {
            // Nearly all are verdicts, and not moved before they are where they belong.
            if let Output::Verdict(verdict, sign) = output {
                self.net.take(verdict, *sign);
                continue;
            }
            match std::mem::replace(output, Output::Full) {
                Output::Verdict(..) | Output::Full => {}
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
        drop(outputs);
        batch.progress = progress.into_values().collect();
        batch.changes = self.net.changes(self.room.pop().unwrap_or_default());
        self.note(&mut batch);
        // The end of a file is not the end of time: more may be appended to it.
        let is_over = batch.horizon == Some(Time::MAX);
        if let Some(horizon) = batch.horizon.as_mut() {
            self.latest_end = if *horizon == Time::MAX { self.latest_end } else { self.latest_end.max(*horizon) };
            *horizon = self.latest_end;
        }
        batch.settled = batch.horizon.map(|horizon| self.job.timing.first_unsettled(horizon));
        // What is final is not provisional any more.
        let closed = if provisionals.is_empty() { &[] } else { batch.changes.as_slice() };
        for verdict in closed.iter().filter_map(Change::latest) {
            provisionals.remove(&(verdict.bucket.series(), verdict.bucket.start));
        }
        let (open, gone): (Vec<_>, Vec<_>) = provisionals.into_values().partition(|(_, sign)| *sign > 0);
        batch.provisionals = open.into_iter().map(|(provisional, _)| provisional).collect();
        let gone = gone.into_iter().map(|(gone, _)| (gone, calmed(&gone, &batch, &self.directory)));
        batch.provisionals_withdrawn = gone.collect();
        let open = batch.provisionals.iter().filter_map(|open| self.directory.unstored(open.entity, open.metric));
        batch.series.extend(open);
        let told = Told { end: self.latest_end, is_over, ..self.tell(&mut batch, episodes, incidents) };
        batch.subscriptions = self.job.alerts.subscriptions(self.latest_end);
        self.learn_partitions(&raw);
        batch.raw = raw.into_iter().map(|samples| self.directory.raw(*samples, &self.partitions)).collect();
        (batch, told)
    }

    /// Takes note of where the last bucket of a batch ends, and finds the series that are to be stored with it: in one pass, since tens of thousands of
    /// changes are more than a processor's cache holds.
    fn note(&mut self, batch: &mut Batch) {
        let is_stored = self.job.kept == Kept::Everything;
        let mut latest = Time::MIN;
        for change in &batch.changes {
            latest = change.new.as_ref().map_or(latest, |verdict| latest.max(verdict.bucket.start));
            if let Some(verdict) = change.latest().filter(|_| is_stored) {
                batch.series.extend(self.directory.unstored(verdict.bucket.entity, verdict.bucket.metric));
            }
        }
        if latest > Time::MIN {
            self.latest_end = self.latest_end.max(latest + batch.bucket_width);
        }
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
        for (withdrawn, incident) in changes.incidents_withdrawn {
            told.withdrawn.extend(incident.map(|incident| (self.named(incident), withdrawn.reason.clone())));
            batch.incidents_withdrawn.push(withdrawn);
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
}

/// Why an open bucket is provisionally anomalous no more. Whoever speaks for an entity in its place says so in the same epoch.
fn calmed(gone: &Provisional, batch: &Batch, directory: &Directory) -> String {
    let speaks = |open: &&Provisional| (open.entity, open.start) == (gone.entity, gone.start) && open.metric != gone.metric;
    if let Some(speaks) = batch.provisionals.iter().find(speaks) {
        return format!("{} of the same entity is further off, and speaks for it", directory.metric(speaks.metric));
    }
    let is_before =
        |verdict: &&Verdict| verdict.bucket.series() == gone.series() && verdict.bucket.start == gone.start - batch.bucket_width;
    match batch.changes.iter().filter_map(|change| change.new.as_ref()).find(is_before) {
        Some(before) if before.state == State::Anomalous => "the bucket before has told of it, and this one is not louder".into(),
        _ => "within its threshold by now, or a silence covers it".into(),
    }
}

/// What is to be said of a batch once it is durable.
#[derive(Default)]
pub struct Told {
    incidents: Vec<(NamedIncident, Option<Incident>)>,
    withdrawn: Vec<(NamedIncident, String)>,
    /// Episodes that can change no more.
    pub retired: Vec<EpisodeId>,
    /// The end of the last bucket so far.
    pub end: Time,
    /// Whether the log has come to its end with this batch.
    pub is_over: bool,
}

impl Told {
    /// How many incidents are new, and no news to whoever hears of what is open and has evidence since a time.
    pub fn unheard(&self, since: Time) -> usize {
        let is_past = |incident: &Incident| incident.last < since || incident.stage != Stage::Open;
        self.incidents.iter().filter(|(named, before)| before.is_none() && is_past(&named.incident)).count()
    }

    /// Says it.
    pub fn tell(&self, observer: &dyn Observer) {
        self.incidents.iter().for_each(|(incident, before)| observer.incident(incident, before.as_ref()));
        self.withdrawn.iter().for_each(|(incident, reason)| observer.incident_withdrawn(incident, reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, Number, Score, Severity};

    /// Failed once: three guesses were told, and of a silence that the bucket before had told of it.
    #[test]
    fn why_an_open_bucket_calmed_is_said_of_what_the_batch_knows() {
        let (entity, metric, number) = (EntityId(1), MetricId(2), Number(1.0));
        let score = Score { expected: number, sigma: number, z_score: Number(9.0) };
        let gone = Provisional { entity, metric, start: 600_000, value: number, score, severity: Severity::Critical };
        let aggregate = Some(Aggregate { count: 1, mean: number, min: number, max: number, stddev: number });
        let why = |start: Time, state: State| {
            let verdict = Verdict { bucket: Bucket { entity, metric, start, aggregate }, score: Some(score), state };
            let changes = vec![Change { old: None, new: Some(verdict) }];
            calmed(&gone, &Batch { bucket_width: 300_000, changes, ..Batch::default() }, &Directory::default())
        };
        assert_eq!(why(300_000, State::Anomalous), "the bucket before has told of it, and this one is not louder");
        let unknown = "within its threshold by now, or a silence covers it";
        assert_eq!([why(300_000, State::Silenced), why(0, State::Anomalous)], [unknown; 2].map(str::to_owned));
        let speaks = Provisional { metric: MetricId(3), ..gone };
        let batch = Batch { provisionals: vec![speaks], ..Batch::default() };
        assert!(calmed(&gone, &batch, &Directory::default()).ends_with("of the same entity is further off, and speaks for it"));
    }
}
