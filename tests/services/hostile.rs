//! Records that nobody should send, through a real broker into a real server: each is accounted for.

use crate::support::{Database, redis_database, services, tidewatch};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeMap;
use std::time::Duration;
use tidewatch::history::{self, EVENT, LetterFilter};

/// What is sent, without and with bytes, and what becomes of it. A record without a value marks a deletion in a compacted topic.
const RECORDS: [(Option<&[u8]>, &str); 9] = [
    (None, "empty"),
    (Some(b""), "empty"),
    (Some(b" "), "invalid_json"),
    (Some(b"\0\0\0\0"), "invalid_json"),
    (Some(b"\xef\xbb\xbf{}"), "invalid_json"),
    (Some(b"{\"server_id\":\"\xff\",\"timestamp\":1,\"cpu\":1}"), "invalid_json"),
    (Some(b"{\"server_id\":\"a\\u0000\",\"timestamp\":1,\"cpu\":1}"), "bad_entity"),
    (Some(b"{\"server_id\":\"new-1\",\"timestamp\":\"2026-01-19T00:09:55Z\",\"cpu\":1}"), "too_many_entities"),
    (Some(b"{\"server_id\":\"new-2\",\"timestamp\":\"9999-12-31T23:59:59Z\",\"cpu\":1}"), "future"),
];

#[test]
fn hostile_records_of_a_broker_are_dead_letters_with_their_offsets() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "hostile");
    let (history_url, models_url) = (database.url(), redis_database(&services.redis));
    let topic = format!("hostile-{}", std::process::id());
    let address = format!("kafka://{}/{topic}", services.kafka);
    let pinned =
        ["--preset", "dev", "--seed", "7", "--start", "2026-01-19T00:00:00Z", "--for", "10m", "--speed", "max", "--backfill", "1h"];
    tidewatch(&[&["generate", "--to", &address], pinned.as_slice()].concat());
    let checked = tidewatch(&["check", "--source", &address, "--history", &history_url, "--models", &models_url]);
    let understood = ["ok      records  of the first ", " events of kind server_metric (", " events of kind application_metric ("];
    assert!(understood.iter().all(|words| checked.contains(words)) && !checked.contains("refused"), "{checked}");
    let flags = ["--models", &models_url, "--until-end", "-w", "2", "--dead-letters-max", "5", "--forget", "1d"];
    let run =
        |limit: &str| tidewatch(&[&["run", "--source", &address, "--history", &history_url, "--entities-max", limit], &flags[..]].concat());
    run("100");
    let mut history = history::open(&history_url).unwrap();
    let good = history.outcomes().unwrap();
    assert_eq!(good.keys().collect::<Vec<_>>(), [EVENT], "{good:?}");

    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &services.kafka).create().unwrap();
    for round in 0..10 {
        for (payload, _) in RECORDS {
            let key = format!("key-{round}");
            let record = BaseRecord::<str, [u8]>::to(&topic).key(&key).partition(0);
            producer.send(payload.into_iter().fold(record, BaseRecord::payload)).unwrap();
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    // Read by a restart, which knows all entities already, and lets in no other; then once more, when there is nothing new.
    run("1");
    run("1");
    let mut expected = good.clone();
    RECORDS.iter().for_each(|(_, reason)| *expected.entry((*reason).to_string()).or_default() += 10);
    assert_eq!(history.outcomes().unwrap(), expected, "records in = events + dead letters");

    let all = LetterFilter { reason: None, from: i64::MIN, until: i64::MAX, limit: 1000 };
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for stored in history.letters(&all).unwrap() {
        assert_eq!(stored.letter.partition, format!("{topic}/0"));
        assert!(stored.letter.offset > 0);
        *kept.entry(stored.letter.reason).or_default() += 1;
    }
    // Twice as many where the hour ended meanwhile.
    assert!(kept.len() == 5 && kept.values().all(|count| (5..=10).contains(count)), "{kept:?}");
    let told = tidewatch(&["dead-letters", "--history", &history_url, "--reason", "too_many_entities", "--limit", "1"]);
    assert!(told.contains(r#"{"server_id":"new-1""#) && told.contains("        40  invalid_json"), "{told}");
}
