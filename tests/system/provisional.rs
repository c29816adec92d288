//! Soon, then sure: a spike is told of while its bucket is open.

use crate::support::Place;
use serde_json::Value;
use std::io::Write;

const SIMULATION: &str =
    "generate --preset dev --seed 7 --start 2026-01-19T00:00:00Z --backfill 3d --for 30m --speed max --to file:log.jsonl";

/// The time of a record, in seconds after the start of the live part.
fn seconds(record: &Value) -> i64 {
    tidewatch::instant::parse(record["timestamp"].as_str().unwrap()).unwrap() / 1000 - 1_768_780_800
}

/// A spike of eight sigma at the simulator's five-second interval, wherever in a bucket it begins, is there as soon as fifteen seconds of it have been
/// read, and nothing later has: the log ends there until it is.
#[test]
fn a_spike_of_eight_sigma_shows_within_fifteen_seconds_of_event_time() {
    let place = Place::new();
    place.run(SIMULATION).well();
    let log = std::fs::read_to_string(place.path("log.jsonl")).unwrap();
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let past: Vec<&str> = log.lines().zip(&records).filter(|(_, record)| seconds(record) < 0).map(|(line, _)| line).collect();
    place.write("past.jsonl", past.join("\n") + "\n");
    place.run("run --source file:past.jsonl").well();
    place.run("train --until 2026-01-19T00:00:00Z").well();
    // Each on a server of its own: after an alarm, more of it is less news.
    let servers = ["srv-003", "srv-004", "srv-005"];
    let sigmas = servers.map(|server| {
        let shown = place.run(&format!("models show server:{server}:cpu_usage_percent")).well();
        let model: Value = serde_json::from_str(&shown.stdout).unwrap();
        model["sigma"].as_f64().unwrap()
    });

    let (mut run, mut pipe) = place.call("--source file:- --commit-interval 200ms").piped();
    // At the beginning of a bucket, in its middle, and shortly before its end.
    let onsets = [600, 1030, 1490];
    let (mut next, mut live) = (0, records.into_iter().filter(|record| seconds(record) >= 0).peekable());
    while let Some(mut record) = live.next() {
        let at = seconds(&record);
        let is_spike = |i: &usize| (onsets[*i]..onsets[*i] + 300).contains(&at) && record["server_id"] == servers[*i];
        if let Some(sigma) = (0..onsets.len()).find(is_spike).map(|i| sigmas[i]) {
            let value = record["cpu_usage_percent"].as_f64().unwrap();
            record["cpu_usage_percent"] = (value + 8.0 * sigma).into();
        }
        writeln!(pipe, "{record}").unwrap();
        let read_enough = onsets.get(next).is_some_and(|onset| live.peek().is_some_and(|record| seconds(record) >= onset + 15));
        if read_enough {
            pipe.flush().unwrap();
            let start = (1_768_780_800 + onsets[next]) / 300 * 300_000;
            let query = format!(
                "SELECT count(*) FROM anomalies WHERE timestamp = {start} AND entity_id = '{}' AND status = 'provisional'
                 AND details ->> '$.metric_name' = 'cpu_usage_percent'",
                servers[next]
            );
            assert!(place.comes_to_hold(&query), "the spike at {} s is not shown:\n{}", onsets[next], run.stderr());
            next += 1;
        }
        // A line is printed once it is loud.
        if at < onsets[0] + 240 && live.peek().is_some_and(|record| seconds(record) >= onsets[0] + 240) {
            pipe.flush().unwrap();
            assert!(run.prints("(so far)"), "{}", run.stderr());
        }
    }
    assert_eq!(next, onsets.len());
    drop(pipe);
    assert!(run.says(" watching "));
    let outcome = run.finish().well();
    assert!(outcome.stdout.contains("(so far)"), "{}", outcome.stdout);
    assert_eq!(
        place.count("SELECT count(*) FROM anomalies WHERE status = 'provisional'"),
        0,
        "the end of its bucket makes each sure or none"
    );
    let sure = "SELECT count(DISTINCT entity_id) FROM anomalies WHERE entity_id IN ('srv-003', 'srv-004', 'srv-005') AND status = 'open' AND details ->> '$.metric_name' = 'cpu_usage_percent'";
    assert_eq!(place.count(sure), 3, "{}", outcome.stdout);
    // Others look anomalous for a moment as well; a few are the price, a flood would not be.
    let early = place.count("SELECT count(*) FROM anomalies WHERE revision = 0");
    let all = place.count("SELECT count(*) FROM buckets WHERE bucket_start >= 1768780800000");
    assert!(early * 50 < all, "{early} of {all} buckets looked anomalous for a moment and were not");
}
