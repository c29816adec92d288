//! `kafka:` one or more topics, their partitions assigned to workers, never subscribed: a group would move them at moments that the graph does not know of.

use super::{Partition, Poll, Reader, Record, Source, SourceError};
use dataflows::Time;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use std::collections::{BTreeMap, HashMap, VecDeque};
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

/// The number of a partition within the source.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // topics of one URL, partitions of one topic
fn id_of(topic: usize, number: i32) -> u32 {
    (topic as u32) << TOPIC_SHIFT | number as u32
}

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
        let unnamed = || found.error("", "the cluster does not tell its id, under which progress is stored".into(), true);
        found.cluster = found.asking.client().fetch_cluster_id(ANSWER).ok_or_else(unnamed)?;
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

    /// The first offset of a partition, and the one behind its last.
    fn bounds(&self, partition: &Partition) -> Result<(i64, i64), SourceError> {
        let (topic, number) = self.topic(partition);
        let bounds = self.asking.fetch_watermarks(topic, number, ANSWER);
        bounds.map_err(|error| self.error(&partition.name, format!("cannot be read: {error}"), true))
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
                partitions.push(Partition { id: id_of(place, number), name: format!("{topic}/{number}") });
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
            let (low, end) = self.bounds(partition)?;
            if let Some(offset) = offset.filter(|offset| *offset < low) {
                tracing::error!(partition = %partition.name, from = offset, until = low, "records were deleted by retention before they were read");
            }
            let place = Place { end: self.until_end.then_some(end), ..Place::new(partition, *offset) };
            reader.assignment.insert(partition.id, place);
        }
        reader.assign()?;
        Ok(Box::new(reader))
    }

    fn check(&self, partition: &Partition, offset: i64) -> Result<(), SourceError> {
        let (_, end) = self.bounds(partition)?;
        if offset <= end {
            return Ok(());
        }
        let problem = format!("was read up to offset {offset}, but ends at {end}: the topic was made anew; give the new one another name");
        Err(self.error(&partition.name, problem, false))
    }

    fn now(&self) -> Time {
        crate::instant::now()
    }
}

/// Where one partition is being read.
struct Place {
    name: String,
    next: Option<i64>,
    /// Where reading is to stop; `None` to go on for ever.
    end: Option<i64>,
    /// Whether the broker has said that there is no more for now.
    at_end: bool,
    /// Records that came before the partition had a queue of its own: offset, arrival, bytes.
    early: VecDeque<(i64, Option<Time>, Vec<u8>)>,
}

impl Place {
    fn new(partition: &Partition, next: Option<i64>) -> Self {
        Self { name: partition.name.clone(), next, end: None, at_end: false, early: VecDeque::new() }
    }

    /// Hands a record over, unless it was handed over before: after a reset the broker begins anew.
    fn hand_over(&mut self, offset: i64, arrived_at: Option<Time>, bytes: &[u8], take: &mut dyn FnMut(Record<'_>)) -> usize {
        if self.next.is_some_and(|next| offset < next) {
            return 0;
        }
        take(Record { offset, next_offset: offset + 1, bytes, arrived_at });
        (self.next, self.at_end) = (Some(offset + 1), false);
        1
    }
}

/// When the broker took a record, by its own clock. A producer's clock is as good as its event time, so it proves nothing.
fn arrival(message: &BorrowedMessage<'_>) -> Option<Time> {
    if let Timestamp::LogAppendTime(time) = message.timestamp() { Some(time) } else { None }
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
                    self.trouble.note(&self.brokers, &error);
                    // Whoever is away may hold more.
                    self.assignment.values_mut().for_each(|place| place.at_end = false);
                }
            }
        }
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
        let Self { assignment, queues, trouble, brokers, .. } = self;
        let (Some(place), Some(queue)) = (assignment.get_mut(&partition), queues.get(&partition)) else { return Ok(Poll::Ended) };
        let mut count = 0;
        while let Some((offset, arrived_at, bytes)) = place.early.pop_front() {
            count += place.hand_over(offset, arrived_at, &bytes, take);
        }
        while count < most && place.end.is_none_or(|end| place.next.unwrap_or(0) < end) {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    count += place.hand_over(message.offset(), arrival(&message), message.payload().unwrap_or_default(), take);
                    trouble.is_over(brokers);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    // Behind the last record there may be offsets that no record has: transaction markers, or what compaction took.
                    place.next = place.next.max(place.end);
                    place.at_end = true;
                    trouble.is_over(brokers);
                }
                Some(Err(error)) => {
                    trouble.note(brokers, &error);
                    place.at_end = false;
                }
            }
        }
        let ended = place.end.is_some_and(|end| place.next.unwrap_or(0) >= end);
        Ok(match count {
            1.. => Poll::Read(count),
            0 if ended => Poll::Ended,
            0 if place.at_end => Poll::Idle,
            0 => Poll::Waiting,
        })
    }

    fn add(&mut self, partition: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        self.assignment.insert(partition.id, Place::new(partition, offset));
        self.assign()
    }
}
