//! One worker's partitions of a Kafka cluster, each with a queue of its own.

use super::batch::{BatchQueue, Said};
use super::word::Word;
use super::{TOPIC_SHIFT, id_of};
use crate::source::{Partition, Poll, Reader, Record, SourceError};
use dataflows::Time;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// After a broker's error a partition that stays silent for this long is away: its leader's place is being taken, or nobody takes it.
const GRACE: Duration = Duration::from_secs(3);
/// Partitions are assigned anew at most this often.
const RENEWAL: Duration = Duration::from_secs(10);
/// Records that are taken from the client at once, at most: each of them is some 700 bytes, which are looked at twice.
const BATCH: usize = 256;

/// Where one partition is being read.
struct Place {
    name: String,
    /// The first offset that was not handed over; `None` before there was any.
    next: Option<i64>,
    /// Where reading begins while there is none.
    first: Offset,
    /// Where reading is to stop; `None` to go on for ever.
    end: Option<i64>,
    /// Whether the broker has said that there is no more for now.
    at_end: bool,
    /// Records that came before the partition had a queue of its own: offset, arrival, bytes.
    early: VecDeque<(i64, Option<Time>, Vec<u8>)>,
    /// Whether nothing has come since the last error of a broker.
    doubted: bool,
    /// Since when it was asked in vain while doubted.
    silent_since: Option<Instant>,
}

impl Place {
    fn new(partition: &Partition, next: Option<i64>) -> Self {
        let first = Offset::Beginning;
        Self {
            name: partition.name.clone(),
            next,
            first,
            end: None,
            at_end: false,
            early: VecDeque::new(),
            doubted: false,
            silent_since: None,
        }
    }

    /// The broker has said something of this partition.
    fn is_heard(&mut self) {
        (self.doubted, self.silent_since) = (false, None);
    }

    fn is_ended(&self) -> bool {
        self.end.is_some_and(|end| self.next.unwrap_or(0) >= end)
    }

    /// Hands a record over, unless it was handed over before: after a reset the broker begins anew. Behind the end none is.
    fn hand_over(&mut self, offset: i64, arrived_at: Option<Time>, bytes: &[u8], take: &mut dyn FnMut(Record<'_>)) -> usize {
        if self.next.is_some_and(|next| offset < next) {
            return 0;
        }
        if self.end.is_some_and(|end| offset >= end) {
            self.next = self.end;
            return 0;
        }
        take(Record { offset, next_offset: offset + 1, bytes, arrived_at, origin: None });
        (self.next, self.at_end) = (Some(offset + 1), false);
        1
    }
}

/// As in [`Said::Record`].
fn arrival(message: &BorrowedMessage<'_>) -> Option<Time> {
    if let Timestamp::LogAppendTime(time) = message.timestamp() { Some(time) } else { None }
}

/// The partitions of one worker.
pub(super) struct KafkaReader {
    consumer: Arc<BaseConsumer<Word>>,
    word: Word,
    names: Vec<String>,
    brokers: String,
    assignment: BTreeMap<u32, Place>,
    queues: HashMap<u32, BatchQueue>,
    /// Whether all brokers are away, as far as is known.
    all_down: bool,
    /// Whether partitions are to be assigned anew, and when that was done last.
    renewal: (bool, Option<Instant>),
}

impl KafkaReader {
    /// A reader of no partitions yet.
    pub(super) fn new(consumer: BaseConsumer<Word>, word: Word, topics: Vec<String>, brokers: String) -> Self {
        let (assignment, queues, renewal) = (BTreeMap::new(), HashMap::new(), (false, None));
        Self { consumer: Arc::new(consumer), word, names: topics, brokers, assignment, queues, all_down: false, renewal }
    }

    /// Its client, for as long as it is there.
    pub(super) fn client(&self) -> Weak<BaseConsumer<Word>> {
        Arc::downgrade(&self.consumer)
    }

    /// Takes up a partition, to be assigned: from an offset or its beginning, whose offset is `first` where that is known, to an end or for ever.
    pub(super) fn expect(&mut self, partition: &Partition, offset: Option<i64>, first: Option<i64>, end: Option<i64>) {
        // Asked for the beginning, the client looks for the leader first, and again only after half a second.
        let first = first.map_or(Offset::Beginning, Offset::Offset);
        self.assignment.insert(partition.id, Place { first, end, ..Place::new(partition, offset) });
    }

    /// Assigns all partitions, each at its place, with a queue of its own so that one can wait while others go on.
    pub(super) fn assign(&mut self) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        for (id, place) in &self.assignment {
            let offset = place.next.map_or(place.first, Offset::Offset);
            let (topic, number) = self.topic(*id);
            list.add_partition_offset(topic, number, offset).map_err(|error| self.error(&place.name, error.to_string()))?;
        }
        self.queues.clear();
        self.consumer.assign(&list).map_err(|error| self.error("", format!("cannot assign partitions: {error}")))?;
        for (id, place) in &self.assignment {
            let (topic, number) = self.topic(*id);
            let queue = BatchQueue::split(&self.consumer, topic, number);
            let queue = queue.ok_or_else(|| self.error(&place.name, "has no queue".into()))?;
            self.queues.insert(*id, queue);
        }
        Ok(())
    }

    /// Serves the client's own events. Records come through the partitions' queues, but for those that were fetched before there was one.
    fn serve(&mut self) {
        let consumer = Arc::clone(&self.consumer);
        while let Some(event) = consumer.poll(Duration::ZERO) {
            match event {
                Ok(message) => {
                    let id = self.names.iter().position(|name| name == message.topic()).map(|topic| id_of(topic, message.partition()));
                    if let Some(place) = id.and_then(|id| self.assignment.get_mut(&id)) {
                        place.early.push_back((message.offset(), arrival(&message), message.payload().unwrap_or_default().to_vec()));
                    }
                }
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => {
                    self.all_down |= error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
                    // The client says once that an end is reached; assigned anew, it says so again once the broker has answered again.
                    self.renewal.0 |= self.assignment.values().any(|place| place.at_end);
                    // Whoever is away may hold more.
                    self.assignment.values_mut().for_each(|place| (place.at_end, place.doubted) = (false, true));
                }
            }
        }
    }

    /// Assigns the partitions anew where that is due.
    fn renew(&mut self) -> Result<(), SourceError> {
        if self.renewal.0 && self.renewal.1.is_none_or(|last| last.elapsed() > RENEWAL) {
            self.renewal = (false, Some(Instant::now()));
            self.assign()?;
        }
        Ok(())
    }

    fn topic(&self, id: u32) -> (&str, i32) {
        #[allow(clippy::cast_possible_wrap)] // 16 bits
        (&self.names[(id >> TOPIC_SHIFT) as usize], (id & ((1 << TOPIC_SHIFT) - 1)) as i32)
    }

    fn error(&self, place: &str, problem: String) -> SourceError {
        SourceError::Kafka { place: format!("{} {place}", self.brokers).trim_end().into(), problem, transient: true }
    }
}

impl Reader for KafkaReader {
    fn poll(&mut self, partition: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
        self.serve();
        self.renew()?;
        let Self { assignment, queues, word, all_down, .. } = self;
        let (Some(place), Some(queue)) = (assignment.get_mut(&partition), queues.get_mut(&partition)) else { return Ok(Poll::Ended) };
        let mut count = 0;
        while let Some((offset, arrived_at, bytes)) = place.early.pop_front() {
            count += place.hand_over(offset, arrived_at, &bytes, take);
        }
        while count < most && !place.is_ended() {
            let asked = BATCH.min(most - count);
            let given = queue.take(asked, &mut |said| {
                let heard = match said {
                    Said::Record { offset, arrived_at, bytes } => {
                        count += place.hand_over(offset, arrived_at, bytes, take);
                        true
                    }
                    Said::End => {
                        // Behind the last record there may be offsets that no record has: transaction markers, or what compaction took.
                        place.next = place.next.max(place.end);
                        place.at_end = true;
                        true
                    }
                    Said::Trouble(error) => {
                        word.hear(&error, &format!("{}: {error}", place.name));
                        (place.at_end, place.doubted) = (false, true);
                        false
                    }
                };
                if heard {
                    place.is_heard();
                    *all_down = false;
                }
            });
            if given < asked {
                break;
            }
        }
        if count == 0 && place.doubted {
            place.silent_since.get_or_insert_with(Instant::now);
        }
        Ok(match count {
            1.. => Poll::Read(count),
            0 if place.is_ended() => Poll::Ended,
            0 if place.at_end => Poll::Idle,
            0 => Poll::Waiting,
        })
    }

    fn absence(&self) -> Option<String> {
        let silent = |place: &Place| place.silent_since.is_some_and(|since| since.elapsed() > GRACE);
        (self.all_down || self.assignment.values().any(silent)).then(|| {
            let reason = self.word.reason().unwrap_or_else(|| "no broker answers".into());
            format!("kafka {}: {reason}", self.brokers)
        })
    }

    fn add(&mut self, partition: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        self.expect(partition, offset, None, None);
        self.assign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::source::kafka::KafkaTopics;
    use crate::source::kafka::fenced::Fence;
    use crate::source::kafka::producer::KafkaLog;
    use rdkafka::mocking::MockCluster;

    /// The client says once that an end is reached. A quiet partition whose broker had been away would count as unread for ever.
    #[test]
    fn a_quiet_partition_is_away_with_its_broker_and_at_its_end_again_afterwards() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("quiet", 1, 1).unwrap();
        let topics = KafkaTopics::open(&format!("kafka://{}/quiet", cluster.bootstrap_servers()), false).unwrap();
        let partition = topics.partitions().unwrap().remove(0);
        let mut reader = topics.open(&[(partition.clone(), None)]).unwrap();
        let mut until = |wanted: Poll, is_away: bool| {
            let since = Instant::now();
            while reader.poll(partition.id, 10, &mut |_| {}).unwrap() != wanted || reader.absence().is_some() != is_away {
                assert!(since.elapsed() < Duration::from_secs(60), "never {wanted:?}: {:?}", reader.absence());
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        until(Poll::Idle, false);
        cluster.broker_down(1).unwrap();
        until(Poll::Waiting, true);
        cluster.broker_up(1).unwrap();
        until(Poll::Idle, false);
    }

    /// Failed once: told that there are no brokers, as by one that is about to end or has just begun, the client forgot all of them, and was deaf for good.
    #[test]
    fn a_cluster_that_names_no_broker_is_read_again_when_it_does() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("metrics", 1, 1).unwrap();
        let fence = Fence::before(&cluster.bootstrap_servers());
        let url = format!("kafka://{}/metrics?topic.metadata.refresh.interval.ms=100", fence.address);
        let topics = KafkaTopics::open(&url, false).unwrap();
        let partition = topics.partitions().unwrap().remove(0);
        let mut reader = topics.open(&[(partition.clone(), None)]).unwrap();
        let mut log = KafkaLog::open(&url).unwrap();
        for round in 0..2 {
            fence.stand(Duration::from_secs(2));
            log.write("a", format!("{round}").as_bytes()).unwrap();
            log.finish().unwrap();
            let since = Instant::now();
            while reader.poll(partition.id, 10, &mut |record| assert_eq!(record.offset, round)).unwrap() != Poll::Read(1) {
                assert!(since.elapsed() < Duration::from_secs(60), "never {round}: {:?}", reader.absence());
                // As a run does now and then.
                topics.look_after_readers();
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
