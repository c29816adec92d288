//! What the workers send to the one that commits.

use crate::history::{DeadLetter, Outcome, Progress, Stay};
use dataflows::{EntityId, Episode, Incident, MetricId, Placement, Provisional, SeriesId, Settled, Time, Verdict};
use serde::{Deserialize, Serialize};

/// One piece of an epoch, on its way to worker 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Output {
    /// A verdict that holds (+1) or no longer holds (-1).
    Verdict(Verdict, isize),
    /// An episode that holds (+1) or no longer holds (-1).
    Episode(Episode, isize),
    /// An incident that holds (+1) or no longer holds (-1).
    Incident(Box<Incident>, isize),
    /// An open bucket that looks anomalous (+1) or no longer does (-1).
    Provisional(Provisional, isize),
    /// The state of a series that a restart goes on from, and how its model's promise was kept.
    Settled(SeriesId, Box<Settled>),
    /// The common watermark.
    Horizon(Time),
    /// The name behind an identity, at or before its first use.
    Entity(Box<EntityName>),
    /// The name behind an identity, at or before its first use, and when in event time it was heard.
    Metric(MetricId, String, Time),
    /// Events as they came.
    Raw(Box<RawSamples>),
    /// A refused record.
    DeadLetter(Box<DeadLetter>),
    /// A series that a partition knows, or knew.
    Stay(Box<Stay>),
    /// A record that was refused by the clock: its partition and offset.
    Refusal(Box<(String, i64)>),
    /// How many records of a partition came to the same so far.
    Outcome(Box<Outcome>),
    /// How far a partition was read, and how many records that took since the last time.
    Progress(Box<Progress>, u64),
    /// A worker has no room for more before what was said so far is durable.
    Full,
}

impl Output {
    /// The memory that this takes until it is durable, nearly.
    pub fn bytes(&self) -> usize {
        let behind = match self {
            Self::Verdict(..) | Self::Episode(..) | Self::Provisional(..) | Self::Horizon(_) | Self::Full => 0,
            Self::Settled(_, settled) => size_of_val(&**settled) + size_of_val(&*settled.track.calibration) + size_of_val(&*settled.days),
            Self::Incident(incident, _) => size_of_val(&**incident) + size_of_val(&*incident.episodes),
            Self::Entity(name) => {
                let labels = name.labels.iter().map(|label| size_of_val(label) + label.0.len() + label.1.len());
                size_of_val(&**name) + name.entity_type.len() + name.entity_id.len() + name.partition.len() + labels.sum::<usize>()
            }
            Self::Metric(_, name, _) => name.len(),
            Self::Raw(samples) => samples.bytes(),
            Self::DeadLetter(letter) => {
                size_of_val(&**letter) + letter.partition.len() + letter.reason.len() + letter.detail.len() + letter.bytes.len()
            }
            Self::Stay(stay) => size_of_val(&**stay) + stay.partition.len(),
            Self::Refusal(refusal) => size_of_val(&**refusal) + refusal.0.len(),
            Self::Outcome(outcome) => size_of_val(&**outcome) + outcome.partition.len() + outcome.outcome.len(),
            Self::Progress(progress, _) => size_of_val(&**progress) + progress.partition.len(),
        };
        size_of::<Self>() + behind
    }
}

/// The name and labels of an entity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntityName {
    /// Its identity.
    pub id: EntityId,
    /// What kind of thing it is.
    pub entity_type: String,
    /// Its name.
    pub entity_id: String,
    /// Rack, zone and other labels, by name.
    pub labels: Vec<(String, String)>,
    /// The one of the labels that is the rack; empty where there is none.
    pub rack: String,
    /// The one of the labels that is the zone; empty where there is none.
    pub zone: String,
    /// The start of the bucket that it was first seen in with these labels.
    pub since: Time,
    /// The partition that it was seen in.
    pub partition: String,
    /// When it was heard, in event time, rounded down.
    pub heard: Time,
    /// Whether an earlier run read the record: where the entity stands was stored then.
    pub is_repeated: bool,
}

impl EntityName {
    /// Where it stands.
    pub fn placement(&self) -> Placement {
        let (entity_type, zone, rack) = (self.entity_type.clone(), self.zone.clone(), self.rack.clone());
        Placement { since: self.since, entity: self.id, entity_type, zone, rack }
    }
}

/// Events of one partition as they came, one after another, names still as identities: an allocation for each of them would cost as much as its row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RawSamples {
    /// The number of the partition.
    pub partition: u32,
    /// The events.
    pub events: Vec<RawSample>,
    /// Lists of metrics; an event has one of them.
    pub forms: Vec<Vec<MetricId>>,
    /// The values of all events, one event after another.
    pub values: Vec<f64>,
}

/// One event among [`RawSamples`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RawSample {
    /// The thing measured.
    pub entity: EntityId,
    /// Event time.
    pub time: Time,
    /// The record's place in its partition.
    pub offset: i64,
    /// Which of the forms it has.
    pub form: usize,
}

impl RawSamples {
    /// Adds an event, with a value for each of its metrics.
    pub fn push(&mut self, (entity, time, offset): (EntityId, Time, i64), metrics: &[MetricId], values: impl Iterator<Item = f64>) {
        // A producer writes few lists; where each event has another, to look through all would take ever longer.
        let recent = self.forms.len().saturating_sub(RECENT_FORMS);
        let known = self.forms[recent..].iter().position(|form| form == metrics).map(|place| recent + place);
        let form = known.unwrap_or_else(|| {
            self.forms.push(metrics.to_vec());
            self.forms.len() - 1
        });
        self.events.push(RawSample { entity, time, offset, form });
        self.values.extend(values);
    }

    /// What was added; room for as much is left.
    pub fn take(&mut self) -> Self {
        let (events, values) = (Vec::with_capacity(self.events.len()), Vec::with_capacity(self.values.len()));
        let mut taken = std::mem::replace(self, Self { partition: self.partition, events, forms: Vec::new(), values });
        // What waits for a commit waits in no more memory than it needs.
        if 2 * taken.events.len() < taken.events.capacity() {
            taken.events.shrink_to_fit();
            taken.values.shrink_to_fit();
        }
        taken
    }

    fn bytes(&self) -> usize {
        let forms = self.forms.iter().map(|form| size_of_val(form) + size_of_val(&**form));
        size_of::<Self>() + size_of_val(&*self.events) + size_of_val(&*self.values) + forms.sum::<usize>()
    }
}

/// Lists of metrics that are looked through for that of an event.
const RECENT_FORMS: usize = 4;
