//! The two wide tables of raw events: which column holds what.

use super::{RawEvent, RawEvents};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A raw table: one row per event, one column per metric it knows.
pub(super) struct Wide {
    /// Its name.
    pub table: &'static str,
    /// The entity type whose events it holds.
    pub entity_type: &'static str,
    /// The column of the entity.
    pub entity: &'static str,
    /// The labels that have a column.
    pub labels: &'static [&'static str],
    /// The metrics that have a column.
    pub metrics: &'static [&'static str],
}

/// The raw tables of the two built-in kinds.
pub(super) const WIDES: [Wide; 2] = [
    Wide {
        table: "server_metrics",
        entity_type: "server",
        entity: "server_id",
        labels: &["rack_id", "zone_id"],
        metrics: &[
            "cpu_usage_percent",
            "memory_usage_percent",
            "cpu_temperature_celsius",
            "power_consumption_watts",
            "network_rx_mbps",
            "network_tx_mbps",
        ],
    },
    Wide {
        table: "application_metrics",
        entity_type: "application",
        entity: "service_name",
        labels: &[],
        metrics: &["request_rate_rps", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "error_rate_percent"],
    },
];

/// Whether events of an entity type have a raw table.
pub fn has_raw_table(entity_type: &str) -> bool {
    WIDES.iter().any(|wide| wide.entity_type == entity_type)
}

impl Wide {
    /// All columns, in the order in which they are written: time, entity, labels, metrics, all labels, partition, offset.
    pub fn columns(&self) -> Vec<&'static str> {
        let mut columns = vec!["timestamp", self.entity];
        columns.extend(self.labels);
        columns.extend(self.metrics);
        columns.extend(["labels", "partition", "record_offset"]);
        columns
    }

    /// The events among these that this table holds.
    pub fn events<'a>(&self, raw: &'a RawEvents) -> impl Iterator<Item = &'a RawEvent> {
        let entity_type = self.entity_type;
        raw.events.iter().filter(move |event| event.entity.entity_type == entity_type)
    }

    /// Of each form, where each column finds its value among those of an event.
    pub fn places(&self, raw: &RawEvents) -> Vec<Vec<Option<usize>>> {
        let place = |form: &Vec<Arc<str>>, column: &str| form.iter().position(|name| **name == *column);
        raw.forms.iter().map(|form| self.metrics.iter().map(|column| place(form, column)).collect()).collect()
    }
}

/// A label by its column: `rack_id`, or `rack` where a kind calls it so.
pub(super) fn label<'a>(labels: &'a BTreeMap<String, String>, column: &str) -> Option<&'a str> {
    labels.get(column).or_else(|| labels.get(column.trim_end_matches("_id"))).map(String::as_str)
}
