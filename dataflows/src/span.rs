//! When a series was heard: what it takes to know that it has fallen silent.

use crate::Time;
use crate::identity::{EntityId, MetricId};
use serde::{Deserialize, Serialize};

/// What is known of a series besides its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Acquaintance {
    /// It was seen before the process started, by history.
    Seen {
        /// Whose series it is.
        series: (EntityId, MetricId),
        /// The partition that it was seen in.
        partition: u32,
        /// The start of the last bucket with samples.
        last: Time,
    },
    /// A model waits for it so many milliseconds longer than for others: see [`crate::Cadence::patience`].
    Patience {
        /// Whose series it is.
        series: (EntityId, MetricId),
        /// So long.
        patience: Time,
    },
}

impl Acquaintance {
    /// The entity that it is about.
    pub fn entity(&self) -> EntityId {
        let (Self::Seen { series, .. } | Self::Patience { series, .. }) = self;
        series.0
    }
}

/// When a series had samples: runs of bucket starts, oldest first, in which no silence is longer than `forget`.
pub(crate) struct Span {
    pub(crate) metric: u32,
    pub(crate) runs: Vec<(Time, Time)>,
}

impl Span {
    pub(crate) fn note(&mut self, start: Time, forget: Time) {
        // Nearly always it goes on.
        if let Some(latest) = self.runs.last_mut().filter(|run| run.0 <= start && start - run.1 <= forget) {
            latest.1 = latest.1.max(start);
            return;
        }
        let place = self.runs.partition_point(|run| run.0 <= start);
        self.runs.insert(place, (start, start));
        self.runs.dedup_by(|later, earlier| {
            let joined = later.0 - earlier.1 <= forget;
            if joined {
                earlier.1 = earlier.1.max(later.1);
            }
            joined
        });
    }

    /// Whether a sample came before `start` and is not forgotten by then.
    pub(crate) fn is_expected_at(&self, start: Time, forget: Time) -> bool {
        self.runs.iter().any(|run| run.0 < start && start - run.1 <= forget)
    }
}

/// An entity that was seen: where, and its series.
pub(crate) struct Known {
    pub(crate) partition: u32,
    pub(crate) spans: Vec<Span>,
}

impl Known {
    pub(crate) fn new(partition: u32) -> Self {
        Self { partition, spans: Vec::new() }
    }

    /// Takes note of a metric that has samples in a bucket; `hint` is where it probably is.
    pub(crate) fn note(&mut self, metric: u32, hint: usize, partition: u32, start: Time, forget: Time) {
        self.partition = self.partition.min(partition);
        let place = match self.spans.get(hint) {
            Some(span) if span.metric == metric => Some(hint),
            _ => self.spans.iter().position(|span| span.metric == metric),
        };
        match place {
            Some(place) => self.spans[place].note(start, forget),
            None => self.spans.push(Span { metric, runs: vec![(start, start)] }),
        }
    }
}
