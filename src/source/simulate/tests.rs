//! What is promised of the simulated log, from its outside.

use super::*;
use crate::source::{Poll, Record};
use std::collections::HashSet;

/// 2026-01-19T00:00:00Z, a Monday.
const START: Time = 1_768_780_800_000;

const HOUR: Duration = Duration::from_secs(3600);

fn options() -> Options {
    Options { backfill: 6 * HOUR, live: Some(HOUR / 4), pace: Pace::Max, ..Options::at(START) }
}

fn dev(options: &Options) -> Simulator {
    open("dev", options).unwrap()
}

/// Everything a partition has to give, in polls of at most `most`.
fn read(simulator: &Simulator, partition: u32, offset: Option<i64>, most: usize) -> (Vec<(i64, String)>, Poll) {
    let partition = simulator.partitions().unwrap().swap_remove(partition as usize);
    let mut reader = Source::open(simulator, &[(partition.clone(), offset)]).unwrap();
    let mut records = Vec::new();
    loop {
        let mut take = |record: Record<'_>| {
            assert_eq!(record.next_offset, record.offset + 1);
            records.push((record.offset, String::from_utf8(record.bytes.to_vec()).unwrap()));
        };
        match reader.poll(partition.id, most, &mut take).unwrap() {
            Poll::Read(count) => assert!(0 < count && count <= most),
            poll => return (records, poll),
        }
    }
}

fn all(simulator: &Simulator) -> Vec<String> {
    simulator.go_live();
    (0..PARTITIONS).flat_map(|partition| read(simulator, partition, None, 1000).0).map(|(_, text)| text).collect()
}

#[test]
fn a_seed_is_a_log_and_another_seed_another() {
    let once = all(&dev(&options()));
    assert_eq!(once.len() as u64, dev(&options()).records().unwrap());
    assert_eq!(once, all(&dev(&options())));
    let other = all(&dev(&Options { seed: 8, ..options() }));
    assert_eq!(once.len(), other.len());
    assert!(once.iter().zip(&other).all(|(one, other)| one != other));
}

#[test]
fn a_record_is_the_same_wherever_reading_began() {
    let simulator = dev(&options());
    simulator.go_live();
    let (whole, _) = read(&simulator, 3, None, 1000);
    for offset in (0..whole.len()).step_by(137).chain([whole.len() - 1, whole.len()]) {
        let (rest, poll) = read(&simulator, 3, Some(offset as i64), 7);
        assert_eq!(rest, whole[offset..]);
        assert_eq!(poll, Poll::Ended);
    }
}

#[test]
fn the_backfill_can_be_read_alone_and_live_waits_for_its_start() {
    let simulator = dev(&options());
    let (backfill, poll) = read(&simulator.backfill(), 2, None, 100);
    assert_eq!((backfill.len() as i64, poll), (simulator.backfill_end_offset(2), Poll::Ended));
    let (waiting, poll) = read(&simulator, 2, None, 100);
    assert_eq!((&waiting, poll), (&backfill, Poll::Idle));
    assert_eq!(simulator.now(), START);
    simulator.go_live();
    let (live, poll) = read(&simulator, 2, Some(simulator.backfill_end_offset(2)), 100);
    assert_eq!((live.len(), poll), (180 * simulator.entities(2), Poll::Ended));
    assert_eq!(simulator.now(), START + 895_000, "the clock follows the newest record");
    assert_eq!(simulator.end(), Some(START + 900_000));
}

#[test]
fn real_time_hands_out_only_what_has_happened_and_catches_up_on_resuming() {
    let real = Options { pace: Pace::Real, live: None, ..options() };
    let simulator = dev(&real);
    simulator.go_live();
    let from = simulator.backfill_end_offset(0);
    let (begun, poll) = read(&simulator, 0, Some(from), 100);
    assert_eq!((begun.len(), poll), (simulator.entities(0), Poll::Idle));
    let resumed = dev(&real);
    resumed.go_live_at(START + 60_000);
    let (caught_up, _) = read(&resumed, 0, Some(from), 100);
    assert_eq!(caught_up.len(), 13 * simulator.entities(0));
    assert_eq!(resumed.time_at(0, caught_up.last().unwrap().0), START + 60_000);
}

#[test]
fn every_event_has_the_fields_of_its_kind_in_order() {
    let common = |text: &str, fields: &[&str]| {
        let event: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(event.as_object().unwrap().len(), fields.len(), "{text}");
        let places = fields.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap());
        assert!(places.is_sorted(), "{text}");
        assert!(instant::parse(event["timestamp"].as_str().unwrap()).is_some());
    };
    let mut entities = HashSet::new();
    for text in all(&dev(&options())) {
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        if event["type"] == "server_metric" {
            common(&text, &[&["type", "timestamp", "server_id", "rack_id", "zone_id"][..], &server::METRICS].concat());
            entities.insert(event["server_id"].to_string());
        } else {
            assert_eq!(event["type"], "application_metric");
            common(&text, &[&["type", "timestamp", "service_name", "zone_id"][..], &service::METRICS].concat());
            entities.insert(event["service_name"].to_string());
        }
    }
    assert_eq!(entities.len(), 38);
}

#[test]
fn an_entity_is_found_by_its_offset() {
    let simulator = dev(&options());
    for partition in 0..PARTITIONS {
        for (offset, text) in read(&simulator.backfill(), partition, None, 50).0 {
            assert!(text.contains(&format!("\"{}\"", simulator.entity_at(partition, offset))));
            assert!(text.contains(&instant::format(simulator.time_at(partition, offset))));
        }
    }
}

#[test]
fn each_preset_opens_and_another_name_lists_them() {
    for preset in ["normal", "chaos", "temperature", "network", "production", "dev"] {
        let simulator = open(preset, &options()).unwrap();
        let start = instant::format(START);
        assert_eq!(simulator.identity(), format!("simulate:{preset}?seed=7&start={start}&backfill=21600s&interval=5000ms"));
    }
    let error = open("prod", &options()).unwrap_err().to_string();
    assert_eq!(error, "source 'simulate:prod': no such preset; there are dev, normal, chaos, temperature, network, production");
    assert!(open("dev", &Options { interval: Duration::ZERO, ..options() }).is_err());
}

/// Run it with `cargo test --release -p tidewatch --lib nanoseconds -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn nanoseconds_per_record() {
    let simulator = open("normal", &Options { live: Some(6 * HOUR), pace: Pace::Max, ..Options::at(START) }).unwrap();
    let measure = |simulator: &Simulator, offset: &dyn Fn(u32) -> Option<i64>| {
        let (mut count, mut bytes, begun) = (0, 0, std::time::Instant::now());
        for partition in simulator.partitions().unwrap() {
            let mut reader = Source::open(simulator, &[(partition.clone(), offset(partition.id))]).unwrap();
            while let Poll::Read(read) = reader.poll(partition.id, 512, &mut |record| bytes += record.bytes.len()).unwrap() {
                count += read;
            }
        }
        (begun.elapsed().as_nanos() as usize / count, bytes / count)
    };
    simulator.go_live();
    let (backfill, _) = measure(&simulator.backfill(), &|_| None);
    let (live, bytes) = measure(&simulator, &|partition| Some(simulator.backfill_end_offset(partition)));
    eprintln!("{backfill} ns per backfill record, {live} ns per live record of {bytes} bytes");
}
