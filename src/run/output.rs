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
    /// An event as it came.
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
}

impl Output {
    /// The memory that this takes until it is durable, nearly.
    pub fn bytes(&self) -> usize {
        let behind = match self {
            Self::Verdict(..) | Self::Episode(..) | Self::Provisional(..) | Self::Horizon(_) => 0,
            Self::Settled(_, settled) => size_of_val(&**settled) + size_of_val(&*settled.track.calibration) + size_of_val(&*settled.days),
            Self::Incident(incident, _) => size_of_val(&**incident) + size_of_val(&*incident.episodes),
            Self::Entity(name) => {
                let labels = name.labels.iter().map(|label| size_of_val(label) + label.0.len() + label.1.len());
                size_of_val(&**name) + name.entity_type.len() + name.entity_id.len() + name.partition.len() + labels.sum::<usize>()
            }
            Self::Metric(_, name, _) => name.len(),
            Self::Raw(samples) => size_of_val(&**samples) + size_of_val(&*samples.samples),
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

/// An event as it came, names still as identities.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawSamples {
    /// The thing measured.
    pub entity: EntityId,
    /// Event time.
    pub time: Time,
    /// The number of the partition.
    pub partition: u32,
    /// The record's place in it.
    pub offset: i64,
    /// Its metrics.
    pub samples: Vec<(MetricId, f64)>,
}
