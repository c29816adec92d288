//! `kafka:` one or more topics, their partitions assigned to workers, never subscribed: a group would move them at moments that the graph does not know of.

use super::{Partition, Poll, Reader, Record, Source, SourceError};
use dataflows::Time;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long brokers may take to answer a question before the run has begun.
const ANSWER: Duration = Duration::from_secs(10);
/// A partition's number within the source: the topic's place in the URL above, Kafka's number below.
const TOPIC_SHIFT: u32 = 16;

/// What the client is told before the URL's own parameters.
const SETTINGS: [(&str, &str); 8] = [
    ("group.id", "tidewatch"),
    ("enable.auto.commit", "false"),
    ("enable.partition.eof", "true"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    // Per partition, 64 MiB by default; with many partitions that alone would fill a small machine.
    ("queued.max.messages.kbytes", "16384"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Topics of one Kafka cluster.
pub struct KafkaTopics {
    config: ClientConfig,
    brokers: String,
    cluster: String,
    topics: Vec<String>,
    until_end: bool,
    asking: BaseConsumer,
}

impl KafkaTopics {
    /// Finds `kafka://HOST:PORT,…/TOPIC,…`; parameters after a `?` go to librdkafka as they are (`?security.protocol=ssl`). With `until_end`,
    /// each partition ends where its log ended when it was opened.
    ///
    /// # Errors
    /// An address that does not answer within ten seconds, or a topic that is not there.
    pub fn open(url: &str, until_end: bool) -> Result<Self, SourceError> {
        let wrong = |problem: &str| SourceError::url(url, problem);
        let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
        let shape = "write kafka://HOST:PORT,…/TOPIC,…";
        let (brokers, topics) = address.strip_prefix("kafka://").and_then(|rest| rest.split_once('/')).ok_or_else(|| wrong(shape))?;
        let topics: Vec<String> = topics.split(',').map(str::to_owned).collect();
        if brokers.is_empty() || topics.iter().any(String::is_empty) {
            return Err(wrong(shape));
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        SETTINGS.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        for (name, value) in url::form_urlencoded::parse(parameters.as_bytes()) {
            config.set(name, value);
        }
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Critical);
        let asking: BaseConsumer = config.create().map_err(|error| wrong(&refusal(&error)))?;
        let mut found = Self { config, brokers: brokers.into(), cluster: String::new(), topics, until_end, asking };
        found.partitions()?;
        found.cluster = found.asking.client().fetch_cluster_id(ANSWER).unwrap_or_else(|| brokers.into());
        Ok(found)
    }

    fn error(&self, place: &str, problem: String, transient: bool) -> SourceError {
        let place = if place.is_empty() { self.brokers.clone() } else { format!("{} {place}", self.brokers) };
        SourceError::Kafka { place, problem, transient }
    }

    fn topic(&self, partition: &Partition) -> (&str, i32) {
        #[allow(clippy::cast_possible_wrap)] // 16 bits
        (&self.topics[(partition.id >> TOPIC_SHIFT) as usize], (partition.id & ((1 << TOPIC_SHIFT) - 1)) as i32)
    }

    /// The offset behind the last record, having made sure that `offset` is a place of this log.
    fn end(&self, partition: &Partition, offset: Option<i64>) -> Result<i64, SourceError> {
        let (topic, number) = self.topic(partition);
        let (low, high) = self
            .asking
            .fetch_watermarks(topic, number, ANSWER)
            .map_err(|error| self.error(&partition.name, format!("cannot be read: {error}"), true))?;
        if let Some(offset) = offset.filter(|offset| *offset > high) {
            let problem =
                format!("was read up to offset {offset}, but ends at {high}: the topic was made anew; give the new one another name");
            return Err(self.error(&partition.name, problem, false));
        }
        if let Some(offset) = offset.filter(|offset| *offset < low) {
            tracing::error!(partition = %partition.name, from = offset, until = low, "records were deleted by retention before they were read");
        }
        Ok(high)
    }
}

/// Why the client library takes a setting not, without the setting's value, which may be a password.
pub(super) fn refusal(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, problem, ..) => format!("{problem}; the parameters after '?' are those of librdkafka"),
        _ => error.to_string(),
    }
}

impl Source for KafkaTopics {
    fn identity(&self) -> String {
        format!("kafka:{}/{}", self.cluster, self.topics.join(","))
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        let mut partitions = Vec::new();
        for (place, topic) in self.topics.iter().enumerate() {
            let metadata = self.asking.fetch_metadata(Some(topic), ANSWER).map_err(|error| {
                self.error(
                    "",
                    format!("no broker answers ({error}); is Kafka running there, and does the address fit its listeners?"),
                    true,
                )
            })?;
            let found = metadata.topics().iter().find(|found| found.name() == topic).filter(|found| found.error().is_none());
            let Some(found) = found.filter(|found| !found.partitions().is_empty()) else {
                let problem = format!("topic '{topic}' does not exist; create it, or start its producer first");
                return Err(self.error("", problem, false));
            };
            for number in found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id) {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // topics of one URL, partitions of one topic
                let id = (place as u32) << TOPIC_SHIFT | number as u32;
                partitions.push(Partition { id, name: format!("{topic}/{number}") });
            }
        }
        partitions.sort_by_key(|partition| partition.id);
        Ok(partitions)
    }

    fn open(&self, partitions: &[(Partition, Option<i64>)]) -> Result<Box<dyn Reader>, SourceError> {
        let consumer: BaseConsumer = self.config.create().map_err(|error| self.error("", error.to_string(), false))?;
        let mut reader = KafkaReader {
            consumer: Arc::new(consumer),
            names: self.topics.clone(),
            brokers: self.brokers.clone(),
            assignment: BTreeMap::new(),
            queues: HashMap::new(),
            trouble: Trouble::default(),
        };
        for (partition, offset) in partitions {
            let end = self.end(partition, *offset)?;
            let place = Place { name: partition.name.clone(), next: *offset, end: self.until_end.then_some(end) };
            reader.assignment.insert(partition.id, place);
        }
        reader.assign()?;
        Ok(Box::new(reader))
    }

    fn now(&self) -> Time {
        crate::instant::now()
    }
}

/// Where one partition is being read.
struct Place {
    name: String,
    next: Option<i64>,
    end: Option<i64>,
}

/// Whether the brokers are away. The client library tries again by itself and says so often; once is enough for a person.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    fn note(&mut self, brokers: &str, error: &KafkaError) {
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!(%brokers, %error, "Kafka is away; nothing is lost, reading goes on when it is back");
        }
    }

    fn is_over(&mut self, brokers: &str) {
        if std::mem::take(&mut self.0) {
            tracing::info!(%brokers, "Kafka is back");
        }
    }
}

/// The partitions of one worker.
struct KafkaReader {
    consumer: Arc<BaseConsumer>,
    names: Vec<String>,
    brokers: String,
    assignment: BTreeMap<u32, Place>,
    queues: HashMap<u32, PartitionQueue<DefaultConsumerContext>>,
    trouble: Trouble,
}

impl KafkaReader {
    /// Assigns all partitions, each at its place, with a queue of its own so that one can wait while others go on.
    fn assign(&mut self) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        for (id, place) in &self.assignment {
            let offset = place.next.map_or(Offset::Beginning, Offset::Offset);
            let (topic, number) = self.topic(*id);
            list.add_partition_offset(topic, number, offset).map_err(|error| self.error(&place.name, error.to_string()))?;
        }
        self.queues.clear();
        self.consumer.assign(&list).map_err(|error| self.error("", format!("cannot assign partitions: {error}")))?;
        for (id, place) in &self.assignment {
            let (topic, number) = self.topic(*id);
            let queue = self.consumer.split_partition_queue(topic, number);
            let queue = queue.ok_or_else(|| self.error(&place.name, "has no queue".into()))?;
            self.queues.insert(*id, queue);
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
        // Serves the client's own events; records come through the partitions' queues.
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            event.err().iter().for_each(|error| self.trouble.note(&self.brokers, error));
        }
        let Self { assignment, queues, trouble, brokers, .. } = self;
        let (Some(place), Some(queue)) = (assignment.get_mut(&partition), queues.get(&partition)) else { return Ok(Poll::Ended) };
        let mut count = 0;
        while count < most && place.end.is_none_or(|end| place.next.unwrap_or(0) < end) {
            let message = match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    // Behind the last record there may be offsets that no record has: transaction markers, or what compaction took.
                    place.next = place.next.max(place.end);
                    break;
                }
                Some(Err(error)) => {
                    trouble.note(brokers, &error);
                    continue;
                }
            };
            let offset = message.offset();
            // The broker's own clock is part of the log; a producer's is as good as its event time, so it proves nothing.
            let arrived_at = if let Timestamp::LogAppendTime(time) = message.timestamp() { Some(time) } else { None };
            take(Record { offset, next_offset: offset + 1, bytes: message.payload().unwrap_or_default(), arrived_at });
            place.next = Some(offset + 1);
            count += 1;
            trouble.is_over(brokers);
        }
        let ended = place.end.is_some_and(|end| place.next.unwrap_or(0) >= end);
        Ok(if count > 0 {
            Poll::Read(count)
        } else if ended {
            Poll::Ended
        } else {
            Poll::Idle
        })
    }

    fn add(&mut self, partition: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        self.assignment.insert(partition.id, Place { name: partition.name.clone(), next: offset, end: None });
        self.assign()
    }
}
