//! Events as they came, for the wide raw tables: many of them together, what they have in common only once.

use dataflows::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What raw events are of.
#[derive(Clone, Debug, PartialEq)]
pub struct RawEntity {
    /// `server` or `application`: the entity type of the two built-in kinds. Others are not stored raw.
    pub entity_type: String,
    /// The thing measured.
    pub entity_id: String,
    /// Rack, zone and other labels.
    pub labels: BTreeMap<String, String>,
}

/// Events of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct RawEvents {
    /// The partition's name. With the time and the offset, the natural key of a row.
    pub partition: String,
    /// Lists of metrics, by name and in the order of their values; an event has one of them. Metrics without a column of their own are left out of the
    /// raw table.
    pub forms: Vec<Vec<Arc<str>>>,
    /// The events.
    pub events: Vec<RawEvent>,
    /// The values of all of them, one event after another.
    pub values: Vec<f64>,
}

/// One event among [`RawEvents`].
#[derive(Clone, Debug, PartialEq)]
pub struct RawEvent {
    /// The thing measured.
    pub entity: Arc<RawEntity>,
    /// Event time.
    pub time: Time,
    /// The record's place in its partition.
    pub offset: i64,
    /// Which of the forms it has.
    pub form: usize,
    /// Where its values begin.
    pub first: usize,
}
