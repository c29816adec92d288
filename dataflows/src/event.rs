//! One decoded record on its way to the worker that owns its entity.

use crate::identity::{EntityId, MetricId};

/// The number of metrics an [`Event`] has room for; a record with more becomes several events.
pub const EVENT_WIDTH: usize = 6;

/// A time in milliseconds since 1970-01-01T00:00:00Z, always event time.
pub type Time = i64;

pub use plain::Event;

// The derive of abomonation writes its `impl` inside a constant, which newer compilers warn of.
#[allow(non_local_definitions)]
mod plain {
    use super::{EVENT_WIDTH, Time};

    /// One record's metrics of one entity at one event time.
    ///
    /// Names are identities here (see [`crate::identity`]), so that an event is 96 plain bytes without padding, which travel as they are (see
    /// [`crate::wire`]). Empty places hold metric 0 and NaN.
    #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, abomonation_derive::Abomonation)]
    #[repr(C)]
    pub struct Event {
        /// The thing measured.
        pub entity: u64,
        /// When it was measured, in milliseconds since the epoch.
        pub time: Time,
        /// What was measured; as many as `count` are meant.
        pub metrics: [u32; EVENT_WIDTH],
        /// How many of `metrics` and `values` are meant.
        pub count: u32,
        /// The partition of the log that the record came from.
        pub partition: u32,
        /// The measured values, finite and within [`crate::accumulator::VALUE_LIMIT`].
        pub values: [f64; EVENT_WIDTH],
    }
}

impl Event {
    const EMPTY: Self = Self { entity: 0, time: 0, metrics: [0; EVENT_WIDTH], count: 0, partition: 0, values: [f64::NAN; EVENT_WIDTH] };

    /// An event without metrics yet.
    pub fn empty(entity: EntityId, time: Time, partition: u32) -> Self {
        Self { entity: entity.0, time, partition, ..Self::EMPTY }
    }

    /// Adds an event with the first metrics that there are, as many as it has room for, to others: where it stays, since one that is made elsewhere and moved
    /// at once keeps a processor waiting for what it has just written.
    #[inline]
    pub fn add(events: &mut Vec<Self>, (entity, time, partition): (EntityId, Time, u32), metrics: &[MetricId], values: &[f64]) {
        if let (Some(metrics), Some(values)) = (metrics.first_chunk::<EVENT_WIDTH>(), values.first_chunk()) {
            let (metrics, count) = (metrics.map(|metric| metric.0), EVENT_WIDTH as u32);
            events.push(Self { entity: entity.0, time, metrics, count, partition, values: *values });
            return;
        }
        events.push(Self::empty(entity, time, partition));
        let Some(event) = events.last_mut() else { return };
        for (metric, value) in metrics.iter().zip(values) {
            event.push(*metric, *value);
        }
    }

    /// Adds a metric; `false` when the event is full and nothing was added.
    pub fn push(&mut self, metric: MetricId, value: f64) -> bool {
        let place = self.count as usize;
        if place == EVENT_WIDTH {
            return false;
        }
        self.metrics[place] = metric.0;
        self.values[place] = value;
        self.count += 1;
        true
    }

    /// The samples of the event.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (MetricId, f64)> + '_ {
        let count = (self.count as usize).min(EVENT_WIDTH);
        self.metrics[..count].iter().zip(&self.values[..count]).map(|(metric, value)| (MetricId(*metric), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_holds_the_first_metrics_that_there_are_and_nothing_else() {
        let (metrics, values): (Vec<MetricId>, Vec<f64>) = (1..=13).map(|i| (MetricId(i), f64::from(i) / 2.0)).unzip();
        for count in 0..=13 {
            let mut events = Vec::new();
            Event::add(&mut events, (EntityId(7), 9, 3), &metrics[..count], &values[..count]);
            let [event] = events[..] else { panic!("{count} metrics are {} events", events.len()) };
            assert_eq!((event.entity, event.time, event.partition, event.count as usize), (7, 9, 3, count.min(EVENT_WIDTH)));
            let samples: Vec<(MetricId, f64)> = metrics.iter().copied().zip(values.iter().copied()).take(count.min(EVENT_WIDTH)).collect();
            assert_eq!(event.samples().collect::<Vec<_>>(), samples);
            assert!(event.metrics.iter().zip(&event.values).skip(count).all(|(metric, value)| *metric == 0 && value.is_nan()));
        }
    }
}
