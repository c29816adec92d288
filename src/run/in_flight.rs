//! What a worker holds until it is durable, counted, so that reading can wait before memory runs out.

use dataflows::Epoch;
use std::collections::VecDeque;

/// Reading pauses while a worker has more records than this that are not durable yet: it bounds memory. The quickest epochs come to two fifths of it.
const IN_FLIGHT: u64 = 500_000;

/// What a worker has read and is not durable yet, by epoch: records and the bytes that they came to.
#[derive(Default)]
pub struct InFlight {
    batches: VecDeque<(Epoch, u64, usize)>,
    records: u64,
    bytes: usize,
}

impl InFlight {
    /// Takes note of what was read in an epoch.
    pub fn add(&mut self, epoch: Epoch, records: u64, bytes: usize) {
        self.records += records;
        self.bytes += bytes;
        match self.batches.back_mut() {
            Some(batch) if batch.0 == epoch => (batch.1, batch.2) = (batch.1 + records, batch.2 + bytes),
            _ if records > 0 || bytes > 0 => self.batches.push_back((epoch, records, bytes)),
            _ => {}
        }
    }

    /// Everything before `durable` is durable.
    pub fn let_go(&mut self, durable: Epoch) {
        while let Some((_, records, bytes)) = self.batches.front().filter(|batch| batch.0 < durable).copied() {
            self.batches.pop_front();
            self.records -= records;
            self.bytes -= bytes;
        }
    }

    /// Whether reading is to wait.
    pub fn is_full(&self, bytes_max: usize) -> bool {
        self.records > IN_FLIGHT || self.bytes > bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_waits_for_bytes_as_well_as_for_records() {
        let mut in_flight = InFlight::default();
        in_flight.add(1, 10, 500);
        in_flight.add(1, 10, 600);
        in_flight.add(2, IN_FLIGHT, 0);
        assert!(in_flight.is_full(usize::MAX), "by number");
        in_flight.let_go(2);
        assert!(!in_flight.is_full(0), "what is left has no bytes, and is just as many as may be");
        in_flight.add(3, 0, 1001);
        assert!(in_flight.is_full(1000) && !in_flight.is_full(1001));
        in_flight.let_go(Epoch::MAX);
        assert!(!in_flight.is_full(0));
    }
}
