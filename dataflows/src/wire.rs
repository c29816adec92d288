//! How events travel between workers: a vector of plain records, whose bytes between processes are those that abomonation writes.
//!
//! Between the threads of a process the vector itself is handed over. Between processes timely asks for bytes; its own answer for a
//! `Vec` is bincode, field by field.
//!
//! # Why this is sound
//!
//! Abomonation transmutes between values and bytes, which is undefined behaviour for values with padding or with bit patterns that are
//! no value, and where the bytes are not aligned. None of that happens here:
//!
//! * `T: Pod` (bytemuck's derive checks it) has no padding, and every bit pattern is a value.
//! * [`abomonation::decode`] is never called: it makes a `&mut T` of a `&mut [u8]`, and timely's bytes are shared and read-only. The bytes
//!   are copied into a `Vec<T>`, which is aligned, and `exhume`, the part of `decode` that mends pointers, must consume nothing.
//!
//! The bytes mean the same on processes of one build on one kind of machine, and nothing anywhere else: they are never stored.

use abomonation::Abomonation;
use bytemuck::Pod;
use timely::bytes::arc::Bytes;
use timely::container::{Accountable, DrainContainer, PushInto, SizableContainer};
use timely::dataflow::channels::ContainerBytes;

/// Messages of 32 KiB instead of timely's 8: between processes that halves what a record costs the kernel.
const MESSAGE_BYTES: usize = 32 << 10;

/// Plain records on their way to another worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain<T>(pub Vec<T>);

impl<T> Default for Plain<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: 'static> Accountable for Plain<T> {
    fn record_count(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }
}

impl<T: 'static> DrainContainer for Plain<T> {
    type Item<'a>
        = T
    where
        T: 'a;
    type DrainIter<'a>
        = std::vec::Drain<'a, T>
    where
        T: 'a;

    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.0.drain(..)
    }
}

impl<T: 'static> SizableContainer for Plain<T> {
    fn at_capacity(&self) -> bool {
        self.0.len() == self.0.capacity()
    }

    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        if self.0.capacity() == 0 {
            *self = stash.take().unwrap_or_default();
            self.0.clear();
        }
        let wanted = MESSAGE_BYTES / size_of::<T>().max(1);
        if self.0.capacity() < wanted {
            self.0.reserve_exact(wanted - self.0.len());
        }
    }
}

impl<T> PushInto<T> for Plain<T> {
    fn push_into(&mut self, item: T) {
        self.0.push(item);
    }
}

impl<T: Abomonation + Pod> ContainerBytes for Plain<T> {
    fn length_in_bytes(&self) -> usize {
        // Timely wants every part to be a multiple of eight bytes long; so is every `T` that is used here.
        size_of_val(self.0.as_slice())
    }

    #[allow(unsafe_code)]
    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        for record in &self.0 {
            // SAFETY: `T: Pod` has no padding, so that every byte of it that is written has been initialised.
            unsafe { abomonation::encode(record, writer) }.expect("timely's buffer has the length that was asked for");
        }
    }

    #[allow(unsafe_code)]
    fn from_bytes(bytes: Bytes) -> Self {
        let size = size_of::<T>();
        assert!(size.is_multiple_of(8) && bytes.len().is_multiple_of(size), "a message from another build: {} bytes", bytes.len());
        let mut records = vec![T::zeroed(); bytes.len() / size];
        bytemuck::cast_slice_mut::<T, u8>(&mut records).copy_from_slice(&bytes);
        for record in &mut records {
            // SAFETY: `exhume` follows the pointers that a value owns, and a `Pod` value owns none; the assertion sees to it.
            let rest = unsafe { record.exhume(&mut []) };
            assert!(rest.is_some_and(|rest| rest.is_empty()), "a plain record owns nothing");
        }
        Self(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::identity::{EntityId, MetricId};
    use timely::bytes::arc::BytesMut;

    fn travel(records: &Plain<Event>) -> Plain<Event> {
        let mut written = Vec::new();
        records.into_bytes(&mut written);
        assert_eq!(written.len(), records.length_in_bytes());
        let length = written.len();
        Plain::from_bytes(BytesMut::from(written).extract_to(length))
    }

    #[test]
    fn events_arrive_as_they_were_sent() {
        let event = |number: i64| {
            let mut event = Event::empty(EntityId(u64::MAX), -number, 7);
            event.push(MetricId(3), 0.1);
            // Empty places hold NaN, which equals nothing.
            event.values = event.values.map(|value| if value.is_nan() { 0.0 } else { value });
            event
        };
        for count in [0, 1, 1000] {
            let records = Plain((0..count).map(event).collect());
            assert_eq!(travel(&records), records);
        }
    }

    #[test]
    #[should_panic(expected = "another build")]
    fn a_message_of_another_shape_is_not_read() {
        Plain::<Event>::from_bytes(BytesMut::from(vec![0; 8]).extract_to(8));
    }
}
