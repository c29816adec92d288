//! The operators, the only place that touches capabilities and frontiers.

mod bucket_samples;
mod collect_epochs;
mod score_buckets;
mod stamp_updates;

pub use bucket_samples::{BucketSamples, Horizon, bucket_samples};
pub use collect_epochs::{Epochs, collect_epochs};
pub use score_buckets::{Fact, ScoreBuckets, score_buckets};
pub use stamp_updates::stamp_updates;

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::frontier::MutableAntichain;

/// A timely timestamp: one step of the log's progress. Event time is data.
pub type Epoch = u64;

/// What arrived and waits for the frontier, by epoch.
struct Pending<T> {
    by_epoch: BTreeMap<Epoch, Arrivals<T>>,
    /// Room that an earlier epoch took: to ask the system for megabytes anew costs more than to fill them.
    room: Option<T>,
}

/// What arrived for one epoch, with the right to answer in that epoch on each output.
struct Arrivals<T> {
    capabilities: Vec<Capability<Epoch>>,
    data: T,
}

impl<T: Default> Pending<T> {
    fn new() -> Self {
        Self { by_epoch: BTreeMap::new(), room: None }
    }

    /// What arrived so far for the epoch of a message, to be added to. The operator has `outputs` outputs.
    fn at(&mut self, message: &InputCapability<Epoch>, outputs: usize) -> &mut T {
        let epoch = *message.least().expect("every message has a time");
        let Self { by_epoch, room } = self;
        let capabilities = || (0..outputs).map(|output| message.delayed(&epoch, output)).collect();
        let open = || Arrivals { capabilities: capabilities(), data: room.take().unwrap_or_default() };
        &mut by_epoch.entry(epoch).or_insert_with(open).data
    }

    /// Takes back what an epoch was given room for, emptied.
    fn reuse(&mut self, room: T) {
        self.room = Some(room);
    }

    /// Takes the oldest epoch out if the frontier has passed it; `None` as frontier: all input has ended.
    fn completed(&mut self, frontier: Option<Epoch>) -> Option<(Epoch, Arrivals<T>)> {
        self.by_epoch.first_entry().filter(|entry| frontier.is_none_or(|frontier| *entry.key() < frontier)).map(OccupiedEntry::remove_entry)
    }
}

/// The smallest epoch that may still bring input, over all inputs of an operator; `None` once there will be no more.
fn smallest(frontiers: &[&MutableAntichain<Epoch>]) -> Option<Epoch> {
    frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min()
}
