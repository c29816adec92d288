//! Writing records to a Kafka topic, keyed, in order, each of them once.

use super::bootstrap::Bootstrap;
use super::word::Word;
use super::{QUESTION, USER, WORDS, configure, refusal, refused};
use crate::secret::Flag;
use crate::source::SourceError;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long brokers and topic may take to answer at the beginning.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a record may take to be delivered, with all retries: longer than a broker's restart, shorter than a person's patience.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a full queue is given to make room before it is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);

/// While records wait and none is delivered, it is looked after so long, and then as often, whether the client still knows a broker.
const WATCH: Duration = Duration::from_secs(5);

/// Delivery reports are taken in after this many records.
const RECORDS_PER_POLL: u32 = 512;

/// What the client is told, before the URL's own settings. Its partitioner hashes the key (CRC-32), as that of most clients in C does.
/// Record timestamps are left to the wall clock: with event times, a backfill of fourteen days would be older than the usual retention of
/// seven and be deleted on arrival.
const SETTINGS: [(&str, &str); 5] = [
    ("enable.idempotence", "true"),
    ("partitioner", "consistent"),
    ("linger.ms", "20"),
    ("batch.size", "1000000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// A Kafka topic being written.
pub struct KafkaLog {
    producer: BaseProducer<Deliveries>,
    place: String,
    topic: String,
    since_poll: u32,
    bootstrap: Bootstrap,
    /// When it was looked last, and how many records were delivered then.
    watched: (Instant, u64),
}

/// Remembers the first record that could not be delivered, and counts those that were.
#[derive(Clone, Default)]
struct Deliveries {
    failure: Arc<Mutex<Option<String>>>,
    delivered: Arc<AtomicU64>,
    word: Word,
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.word.hear(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, record)) = result {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| format!("partition {} took no more records: {error}", record.partition()));
        } else {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A URL's parts.
struct Address {
    brokers: String,
    topic: String,
    parameters: String,
}

impl Address {
    fn parse(url: &str) -> Option<Self> {
        let (address, query) = url.strip_prefix("kafka://")?.split_once('?').unwrap_or((url.strip_prefix("kafka://")?, ""));
        let (brokers, topic) = address.split_once('/')?;
        let sound = !brokers.is_empty() && !topic.is_empty() && !topic.contains(['/', ',']);
        sound.then(|| Self { brokers: brokers.to_owned(), topic: topic.to_owned(), parameters: query.to_owned() })
    }
}

impl KafkaLog {
    /// Connects to `kafka://HOST:PORT,…/TOPIC`, waiting up to ten seconds for brokers and topic. What follows a `?` is handed to the client
    /// library: `?compression.type=zstd&security.protocol=ssl`. Without it records are not compressed.
    ///
    /// # Errors
    /// A URL of another shape, a setting that the library does not know, brokers that do not answer, a topic that does not exist where
    /// brokers do not create topics.
    pub fn open(url: &str) -> Result<Self, SourceError> {
        let wrong = |problem: String| SourceError::url(url, problem);
        let address = Address::parse(url).ok_or_else(|| wrong("write kafka://HOST:PORT/TOPIC, with one topic".into()))?;
        if address.brokers.contains('@') {
            return Err(wrong(USER.into()));
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &address.brokers).set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        for (name, value) in SETTINGS {
            config.set(name, value);
        }
        configure(&mut config, &address.parameters, Flag::To).map_err(wrong)?;
        let producer = config.create_with_context(Deliveries::default()).map_err(|error| wrong(refusal(&error)))?;
        let place = format!("{}/{}", address.brokers, address.topic);
        let bootstrap = Bootstrap::of(&address.brokers);
        let log = Self { producer, place, topic: address.topic, since_poll: 0, bootstrap, watched: (Instant::now(), 0) };
        log.wait_for_topic()?;
        Ok(log)
    }

    /// Asking for a topic makes brokers create it where they are allowed to, which takes them a moment.
    fn wait_for_topic(&self) -> Result<(), SourceError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        loop {
            let answer = self.bootstrap.ask(self.producer.client(), &self.topic, QUESTION);
            let found =
                |metadata: &Metadata| metadata.topics().iter().any(|topic| topic.error().is_none() && !topic.partitions().is_empty());
            if answer.as_ref().is_ok_and(found) {
                return Ok(());
            }
            // One event a call.
            (0..WORDS).for_each(|_| self.producer.poll(Duration::ZERO));
            let word = &self.producer.context().word;
            if let Some(refusal) = word.refusal() {
                return Err(self.error(refused(&refusal)));
            }
            if let Some(error) = answer.err().filter(|_| Instant::now() >= deadline) {
                let reason = word.reason().unwrap_or_else(|| error.to_string());
                return Err(self.error(format!("no broker answers ({reason}); is Kafka running there?")));
            }
            if Instant::now() >= deadline {
                let topic = &self.topic;
                return Err(self.error(format!(
                    "the topic does not exist; create it: kafka-topics.sh --create --topic {topic} --partitions 8 --bootstrap-server …"
                )));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Hands over one record, waiting while the client's queue is full. Records of one key keep their order.
    ///
    /// # Errors
    /// The record cannot be taken, or an earlier one could not be delivered.
    pub fn write(&mut self, key: &str, bytes: &[u8]) -> Result<(), SourceError> {
        loop {
            match self.producer.send(BaseRecord::to(&self.topic).key(key).payload(bytes)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(QUEUE_PAUSE);
                    self.check()?;
                    self.watch();
                }
                Err((error, _)) => return Err(self.error(error.to_string())),
            }
        }
        self.since_poll += 1;
        if self.since_poll >= RECORDS_PER_POLL {
            self.poll()?;
        }
        Ok(())
    }

    /// Takes in delivery reports without waiting.
    ///
    /// # Errors
    /// A record could not be delivered.
    pub fn poll(&mut self) -> Result<(), SourceError> {
        self.since_poll = 0;
        self.producer.poll(Duration::ZERO);
        self.watch();
        self.check()
    }

    /// Looks whether the client still knows a broker, where nothing is delivered any more.
    fn watch(&mut self) {
        if self.watched.0.elapsed() < WATCH {
            return;
        }
        let delivered = self.producer.context().delivered.load(Ordering::Relaxed);
        if delivered == self.watched.1 && self.producer.in_flight_count() > 0 {
            // Whoever knows none is told of the first ones.
            let _ = self.bootstrap.ask(self.producer.client(), &self.topic, QUESTION);
        }
        self.watched = (Instant::now(), delivered);
    }

    /// Waits until every record is delivered.
    ///
    /// # Errors
    /// Some record could not be delivered.
    pub fn finish(&mut self) -> Result<(), SourceError> {
        // A little longer than the records' own timeout, so that theirs is the error seen.
        let deadline = Instant::now() + DELIVERY_TIMEOUT + CONNECT_TIMEOUT;
        let flushed = loop {
            let flushed = self.producer.flush(WATCH);
            self.poll()?;
            if flushed.is_ok() || Instant::now() >= deadline {
                break flushed;
            }
        };
        flushed.map_err(|error| self.error(format!("records are left undelivered ({error}); is Kafka still running there?")))
    }

    fn check(&self) -> Result<(), SourceError> {
        let failure = self.producer.context().failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map_or(Ok(()), |problem| Err(self.error(problem.clone())))
    }

    fn error(&self, problem: String) -> SourceError {
        SourceError::Kafka { place: self.place.clone(), problem, transient: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use std::collections::HashMap;

    #[test]
    fn every_record_arrives_once_in_the_order_of_its_key() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("metrics", 4, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let mut log = KafkaLog::open(&format!("kafka://{brokers}/metrics?queue.buffering.max.messages=100")).unwrap();
        for i in 0..2000 {
            log.write(&format!("srv-{:03}", i % 10), i.to_string().as_bytes()).unwrap();
        }
        log.finish().unwrap();
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", "test").create().unwrap();
        let mut assigned = rdkafka::TopicPartitionList::new();
        (0..4).for_each(|partition| {
            assigned.add_partition_offset("metrics", partition, rdkafka::Offset::Beginning).unwrap();
        });
        consumer.assign(&assigned).unwrap();
        let mut last: HashMap<Vec<u8>, (i32, usize)> = HashMap::new();
        for _ in 0..2000 {
            let record = consumer.poll(Duration::from_secs(10)).expect("a record").unwrap();
            let number: usize = std::str::from_utf8(record.payload().unwrap()).unwrap().parse().unwrap();
            let before = last.insert(record.key().unwrap().to_vec(), (record.partition(), number));
            assert!(before.is_none_or(|(partition, before)| partition == record.partition() && before + 10 == number));
        }
        assert!(consumer.poll(Duration::from_millis(300)).is_none());
    }

    #[test]
    fn a_url_without_a_topic_and_a_setting_that_does_not_exist_are_refused() {
        for (url, problem) in [
            ("kafka://localhost:9092", "write kafka://HOST:PORT/TOPIC"),
            ("kafka:///metrics", "write kafka://HOST:PORT/TOPIC"),
            ("kafka://localhost:9092/a,b", "one topic"),
            ("kafka://me:secret@localhost:9092/a", "sasl.username"),
            ("kafka://localhost:9092/a?colour=red", "colour"),
        ] {
            let error = KafkaLog::open(url).err().expect(url).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
