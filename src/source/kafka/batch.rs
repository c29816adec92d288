//! The queue of one partition, emptied in batches: the client library has a call for that, which its binding does not wrap.
//!
//! To poll record by record takes a lock, an event and several looks at the clock for each of them.
//!
//! # Why this is sound
//!
//! * The library gives the queue of its client. It is let go once, in `Drop`, and not after the client, which the `Arc` beside it keeps.
//! * A batch is as many pointers as the library says that it wrote, and no more than the vector has room for. None of them is null.
//! * A message is its receiver's until it is destroyed, which is once, in `Drop`, whatever becomes of the others. Its bytes are lent for no longer
//!   than the message: they are its own, or those of a response that it keeps.
//! * A record without a value has no bytes: then the pointer may be null, and no slice is made of it.
//! * An error is read as the number that it is in C. One that the binding does not know would be no value of its enumeration.
//! * Pointers are neither `Send` nor `Sync`: all of this stays on the thread that made it.
#![allow(unsafe_code)]

use super::word::Word;
use dataflows::Time;
use rdkafka::bindings::{self, rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_timestamp_type_t};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use std::ffi::CString;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// What a queue hands over.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// A record.
    Record {
        /// Its place in the partition.
        offset: i64,
        /// When the broker took it, by its own clock. A producer's clock is as good as its event time, so it proves nothing.
        arrived_at: Option<Time>,
        /// Its value; empty where it has none.
        bytes: &'a [u8],
    },
    /// There is no more for now.
    End,
    /// Why the partition cannot be read just now.
    Trouble(KafkaError),
}

/// The records of one partition that have been fetched.
pub(super) struct BatchQueue {
    queue: NonNull<rd_kafka_queue_t>,
    batch: Vec<Message>,
    _consumer: Arc<BaseConsumer<Word>>,
}

impl BatchQueue {
    /// Gives an assigned partition a queue of its own, until partitions are assigned anew. `None` where the client has no such partition.
    pub(super) fn split(consumer: &Arc<BaseConsumer<Word>>, topic: &str, partition: i32) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client is there for as long as `consumer` is, and the name for as long as the call.
        let queue = unsafe { bindings::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let split = Self { queue: NonNull::new(queue)?, batch: Vec::new(), _consumer: Arc::clone(consumer) };
        // SAFETY: the queue is ours. Forwarded to nothing, it keeps what comes, which went to the client's queue before.
        unsafe { bindings::rd_kafka_queue_forward(split.queue.as_ptr(), null_mut()) };
        Some(split)
    }

    /// Hands over at most `most` of what was fetched, in order and without waiting; how many there were.
    pub(super) fn take(&mut self, most: usize, take: &mut dyn FnMut(Said<'_>)) -> usize {
        self.batch.clear();
        self.batch.reserve(most);
        // SAFETY: there is room for `most` messages, and a message is no more than the pointer that is written there.
        let count = unsafe { bindings::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.batch.as_mut_ptr().cast(), most) };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: so many were written, each a pointer to a message that is ours now.
        unsafe { self.batch.set_len(count) };
        // Each is destroyed as soon as it was looked at, while the processor has it at hand.
        self.batch.drain(..).for_each(|message| take(message.said()));
        count
    }
}

impl Drop for BatchQueue {
    fn drop(&mut self) {
        // SAFETY: it is let go nowhere else, and the client is still there.
        unsafe { bindings::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A message that is to be destroyed.
#[repr(transparent)]
struct Message(NonNull<rd_kafka_message_t>);

impl Message {
    fn said(&self) -> Said<'_> {
        let message = self.0.as_ptr();
        // SAFETY: the message is there until it is dropped; `err` is an enumeration of C, a number of this size.
        let code = unsafe { (&raw const (*message).err).cast::<i32>().read() };
        match rd_kafka_resp_err_t::try_from(code) {
            Ok(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR) => {}
            Ok(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF) => return Said::End,
            Ok(error) => return Said::Trouble(KafkaError::MessageConsumption(error.into())),
            Err(_) => return Said::Trouble(KafkaError::MessageConsumption(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN.into())),
        }
        // SAFETY: as above. The bytes are as many as `len`, and lent for as long as `self`.
        let (offset, bytes) = unsafe {
            let (payload, length) = ((*message).payload.cast::<u8>(), (*message).len);
            ((*message).offset, if payload.is_null() { &[] } else { std::slice::from_raw_parts(payload, length) })
        };
        Said::Record { offset, arrived_at: self.arrived_at(), bytes }
    }

    fn arrived_at(&self) -> Option<Time> {
        let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is there until it is dropped, and the library knows the same three kinds of time as the binding.
        let time = unsafe { bindings::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (kind == rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME && time != -1).then_some(time)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is destroyed nowhere else.
        unsafe { bindings::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::config::ClientConfig;
    use rdkafka::error::RDKafkaErrorCode;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
    use rdkafka::{Offset, TopicPartitionList};
    use std::time::{Duration, Instant};

    const RECORDS: i64 = 1000;

    /// The value of a record; every seventh has none.
    fn value(offset: i64) -> Option<String> {
        (offset % 7 != 0).then(|| format!("record {offset} ").repeat(usize::try_from(offset % 50).unwrap()))
    }

    /// A topic of one partition with [`RECORDS`] records.
    fn topic() -> MockCluster<'static, DefaultProducerContext> {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("batches", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        for value in (0..RECORDS).map(value) {
            let mut record = BaseRecord::<(), _>::to("batches").partition(0);
            record.payload = value.as_deref();
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        cluster
    }

    fn queue(cluster: &MockCluster<'_, DefaultProducerContext>, from: i64) -> BatchQueue {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "batches");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        let consumer: Arc<BaseConsumer<Word>> = Arc::new(config.create_with_context(Word::default()).unwrap());
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("batches", 0, Offset::Offset(from)).unwrap();
        consumer.assign(&list).unwrap();
        BatchQueue::split(&consumer, "batches", 0).unwrap()
    }

    /// Takes batches until `take` has enough.
    fn until(queue: &mut BatchQueue, most: usize, take: &mut dyn FnMut(Said<'_>) -> bool) {
        let (since, mut is_enough) = (Instant::now(), false);
        while !is_enough {
            let mut heard = 0;
            let given = queue.take(most, &mut |said| {
                heard += 1;
                is_enough |= take(said);
            });
            assert!(given <= most && given == heard);
            assert!(since.elapsed() < Duration::from_secs(60), "nothing comes");
        }
    }

    #[test]
    fn batches_hold_every_record_in_order_whatever_their_size() {
        let cluster = topic();
        for (from, most) in [(0, 1), (3, 7), (0, 5000)] {
            let (mut queue, mut next) = (queue(&cluster, from), from);
            until(&mut queue, most, &mut |said| match said {
                Said::Record { offset, arrived_at: None, bytes } => {
                    assert_eq!((offset, bytes), (next, value(offset).unwrap_or_default().as_bytes()));
                    next += 1;
                    false
                }
                Said::End => true,
                other => panic!("{other:?}"),
            });
            assert_eq!(next, RECORDS);
        }
    }

    #[test]
    fn what_was_not_taken_is_let_go_with_its_queue() {
        let cluster = topic();
        let mut queue = queue(&cluster, 0);
        until(&mut queue, 3, &mut |said| matches!(said, Said::Record { .. }));
    }

    #[test]
    fn a_partition_that_cannot_be_read_says_why() {
        let cluster = topic();
        let mut queue = queue(&cluster, RECORDS + 1);
        until(&mut queue, 10, &mut |said| matches!(said, Said::Trouble(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))));
    }
}
