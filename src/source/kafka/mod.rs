//! `kafka:` one or more topics, their partitions assigned to workers, never subscribed: a group would move them at moments that the graph does not know of.

mod batch;
mod bootstrap;
#[cfg(test)]
mod fenced;
pub mod producer;
mod reader;
mod word;

use super::{Kinship, Partition, Reader, Source, SourceError};
use crate::secret::{Flag, PASSWORD_FILE};
use bootstrap::Bootstrap;
use dataflows::Time;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use reader::KafkaReader;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use word::Word;

/// How long brokers may take to answer a question before the run has begun.
const ANSWER: Duration = Duration::from_secs(10);
/// A question is asked again this often, to look in between whether the answer is no.
const QUESTION: Duration = Duration::from_secs(2);
/// Where one reader found no broker, the others are given so long.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// What a client has to say after a question, at most: a handful of errors.
const WORDS: usize = 16;
/// A partition's number within the source: the topic's place in the URL above, Kafka's number below.
const TOPIC_SHIFT: u32 = 16;

/// The client's name for the password of a user.
const PASSWORD: &str = "sasl.password";
/// What a URL with a user before its brokers is told: the client would take all of it for a host, and show it.
pub(super) const USER: &str = "user and password are parameters of Kafka: write ?sasl.username=USER&password_file=FILE";
/// What the client is told before the URL's own parameters.
const SETTINGS: [(&str, &str); 11] = [
    ("group.id", "tidewatch"),
    ("enable.auto.commit", "false"),
    ("enable.partition.eof", "true"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    // Per partition, 64 MiB by default; with many partitions that alone would fill a small machine.
    ("queued.max.messages.kbytes", "16384"),
    // Per partition, 100,000 by default: what waits for so long has left the processor's cache. One fetch brings a megabyte more.
    ("queued.min.messages", "10000"),
    // A partition that had enough waiting is fetched from again no sooner; after a second, the default, it would long have been read out.
    ("fetch.queue.backoff.ms", "10"),
    // While a broker waits for a record of a partition at its end, half a second by default, it is not asked for those that have more.
    ("fetch.wait.max.ms", "50"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// The number of a partition within the source.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // topics of one URL, partitions of one topic
fn id_of(topic: usize, number: i32) -> u32 {
    (topic as u32) << TOPIC_SHIFT | number as u32
}

/// The client of a reader, with its first brokers.
type Reading = (Weak<BaseConsumer<Word>>, Arc<Bootstrap>);

/// Topics of one Kafka cluster.
pub struct KafkaTopics {
    config: ClientConfig,
    brokers: String,
    cluster: String,
    topics: Vec<String>,
    until_end: bool,
    asking: BaseConsumer<Word>,
    word: Word,
    bootstrap: Bootstrap,
    reading: Mutex<Vec<Reading>>,
}

impl KafkaTopics {
    /// Finds `kafka://HOST:PORT,…/TOPIC,…`; parameters after a `?` go to librdkafka as they are (`?security.protocol=ssl`), but for
    /// `password_file`, which names the file of its `sasl.password`. With `until_end`, each partition ends where its log ended when it was opened.
    ///
    /// # Errors
    /// An address that does not answer within ten seconds, or a topic that is not there.
    pub fn open(url: &str, until_end: bool) -> Result<Self, SourceError> {
        let wrong = |problem: &str| SourceError::url(url, problem);
        let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
        let shape = "write kafka://HOST:PORT,…/TOPIC,…";
        let (brokers, topics) = address.strip_prefix("kafka://").and_then(|rest| rest.split_once('/')).ok_or_else(|| wrong(shape))?;
        // In whichever order they are named, they are one log.
        let topics: Vec<String> = topics.split(',').map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect();
        if brokers.is_empty() || topics.iter().any(String::is_empty) {
            return Err(wrong(shape));
        }
        if brokers.contains('@') {
            return Err(wrong(USER));
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        SETTINGS.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        configure(&mut config, parameters, Flag::Source).map_err(|problem| wrong(&problem))?;
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Critical);
        let word = Word::default();
        let asking = config.create_with_context(word.clone()).map_err(|error| wrong(&refusal(&error)))?;
        let (bootstrap, reading) = (Bootstrap::of(brokers), Mutex::default());
        let mut found =
            Self { config, brokers: brokers.into(), cluster: String::new(), topics, until_end, asking, word, bootstrap, reading };
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

    /// What the cluster says of a topic. A broker that lets nobody in is not asked for the whole time.
    fn metadata(&self, topic: &str) -> Result<Metadata, SourceError> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let error = match self.bootstrap.ask(self.asking.client(), topic, QUESTION) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // Nobody polls this consumer otherwise, and what it has to say waits for that, one word a call.
            for _ in 0..WORDS {
                drop(self.asking.poll(Duration::ZERO));
                if let Some(refusal) = self.word.refusal() {
                    return Err(self.error("", refused(&refusal), false));
                }
            }
            if Instant::now() >= deadline {
                let reason = self.word.reason().unwrap_or_else(|| error.to_string());
                let problem = format!("no broker answers ({reason}); is Kafka running there, and does the address fit its listeners?");
                return Err(self.error("", problem, true));
            }
        }
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

/// Hands a URL's parameters to the client, and the password from where it is kept.
pub(super) fn configure(config: &mut ClientConfig, parameters: &str, flag: Flag) -> Result<(), String> {
    let mut file = None;
    for (name, value) in url::form_urlencoded::parse(parameters.as_bytes()) {
        if name == PASSWORD_FILE {
            file = Some(value.into_owned());
        } else {
            config.set(name, value);
        }
    }
    if config.get(PASSWORD).is_none()
        && let Some(password) = flag.password(file.as_deref())?
    {
        config.set(PASSWORD, password);
    }
    Ok(())
}

/// What a broker that lets nobody in is reported as.
pub(super) fn refused(reason: &str) -> String {
    format!("{reason}: check ssl.ca.location, the host's name, sasl.mechanism, sasl.username and sasl.password after the '?' of the URL")
}

impl Source for KafkaTopics {
    fn identity(&self) -> String {
        format!("kafka:{}/{}", self.cluster, self.topics.join(","))
    }

    fn kinship(&self, identity: &str) -> Kinship {
        let theirs =
            identity.strip_prefix("kafka:").and_then(|rest| rest.strip_prefix(&*self.cluster)).and_then(|rest| rest.strip_prefix('/'));
        let is_ours = |topic: &str| self.topics.iter().any(|own| own == topic);
        match theirs.map(|theirs| (theirs.split(',').all(is_ours), theirs.split(',').any(is_ours))) {
            Some((true, _)) => Kinship::Successor,
            Some((_, true)) => Kinship::Overlapping,
            _ => Kinship::Stranger,
        }
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        let mut partitions = Vec::new();
        for (place, topic) in self.topics.iter().enumerate() {
            let metadata = self.metadata(topic)?;
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
        let word = Word::default();
        let consumer = self.config.create_with_context(word.clone()).map_err(|error| self.error("", error.to_string(), false))?;
        let mut reader = KafkaReader::new(consumer, word, self.topics.clone(), self.brokers.clone());
        for (partition, offset) in partitions {
            let (low, end) = self.bounds(partition)?;
            if let Some(offset) = offset.filter(|offset| *offset < low) {
                tracing::error!(partition = %partition.name, from = offset, until = low, "records were deleted by retention before they were read");
            }
            reader.expect(partition, *offset, Some(low), self.until_end.then_some(end));
        }
        reader.assign()?;
        let client = (reader.client(), Arc::new(Bootstrap::of(&self.brokers)));
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).push(client);
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

    /// Whoever knows no broker any more is told of the first ones.
    fn look_after_readers(&self) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.retain(|reader| reader.0.strong_count() > 0);
        let known: Vec<_> = reading.iter().filter_map(|(consumer, bootstrap)| Some((consumer.upgrade()?, Arc::clone(bootstrap)))).collect();
        drop(reading);
        let mut timeout = QUESTION;
        for (consumer, bootstrap) in known {
            if bootstrap.ask(consumer.client(), &self.topics[0], timeout).is_err() {
                // Kafka may be away, and the end of a run waits for this.
                timeout = AFTER_FAILURE;
            }
        }
    }

    fn now(&self) -> Time {
        crate::instant::now()
    }
}
