//! Who is silent while its peers are not is missing; when all are silent, nobody is.

use crate::support::{Outcome, Place};
use std::collections::BTreeSet;

const LOG: &str = "--source simulate:dev --seed 7 --start 2026-01-19T00:00:00Z --backfill 1d --for 2h --speed max";

/// The missing buckets: minutes after the start of the live part, and the series.
fn missing(place: &Place) -> BTreeSet<(i64, String)> {
    let sql = "SELECT (bucket_start - 1768780800000) / 60000, entity_type || ':' || entity_id || ':' || metric
               FROM buckets JOIN series USING (series_id) WHERE state = 'missing'";
    let database = place.database();
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The verdicts `missing` that were said, those that were taken back later included.
fn said(outcome: &Outcome) -> Vec<&str> {
    outcome.stdout.lines().filter(|line| line.contains("  missing  ")).collect()
}

#[test]
fn a_host_that_stops_is_missing_in_all_its_series_until_it_comes_back_and_no_other_is() {
    let metrics = [
        "cpu_temperature_celsius",
        "cpu_usage_percent",
        "memory_usage_percent",
        "network_rx_mbps",
        "network_tx_mbps",
        "power_consumption_watts",
    ];
    let whole_buckets = [30, 35, 40, 45, 50];
    let expected: BTreeSet<(i64, String)> =
        whole_buckets.into_iter().flat_map(|minute| metrics.map(|metric| (minute, format!("server:srv-003:{metric}")))).collect();
    for workers in [1, 4] {
        let place = Place::new();
        // From the middle of one bucket to the middle of another: those two have samples.
        let outcome = place.run(&format!("-w {workers} {LOG} --outage srv-003@2026-01-19T00:27:30Z/30m")).well();
        assert_eq!(missing(&place), expected);
        // Said once of all of them, in the first whole bucket, which is the second of the silence.
        assert_eq!(said(&outcome), ["2026-01-19T00:30:00Z  missing   server:srv-003  no samples of 6 metrics, though others have some"]);
    }
}

#[test]
fn when_all_are_silent_together_nobody_is_missing() {
    let place = Place::new();
    let outcome = place.run(&format!("-w 2 {LOG} --outage *@2026-01-19T00:27:30Z/15m")).well();
    assert_eq!(missing(&place), BTreeSet::new());
    assert_eq!(said(&outcome), Vec::<&str>::new());
    let buckets = place.count("SELECT count(*) FROM buckets WHERE bucket_start >= 1768780800000");
    assert_eq!(buckets, 220 * 22, "two hours but for the two buckets in which nobody said anything");
}

#[test]
fn an_outage_is_in_the_truth_and_leaves_the_rest_of_the_log_as_it_is() {
    let place = Place::new();
    let generate = "generate --start 2026-01-19T00:00:00Z --backfill 1d --for 1h --speed max";
    place.run(&format!("{generate} --to file:whole.jsonl")).well();
    let outages = "--outage srv-003@2026-01-19T00:10:00Z/20m,checkout@2026-01-19T00:30:00Z/5m";
    place.run(&format!("{generate} {outages} --to file:part.jsonl --truth truth.jsonl")).well();
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    let (whole, part, truth) = (read("whole.jsonl"), read("part.jsonl"), read("truth.jsonl"));
    let left_out: Vec<&str> = {
        let kept: BTreeSet<&str> = part.lines().collect();
        whole.lines().filter(|line| !kept.contains(line)).collect()
    };
    let of = |name: &str| left_out.iter().filter(|line| line.contains(&format!("\"{name}\""))).count();
    assert_eq!((left_out.len(), of("srv-003"), of("checkout")), (240 + 60, 240, 60));
    assert_eq!(whole.lines().count() - part.lines().count(), 300);
    let outages = truth.lines().filter(|line| line.contains(r#""kind":"outage""#));
    assert_eq!(outages.count(), 6 + 5, "one for each metric of the two");
    place.run(&format!("{generate} --outage srv-999@2026-01-19T00:10:00Z/20m")).error(&["srv-999", "write an entity of the preset"]);
    let outside = place.run(&format!("{generate} --outage srv-001@2026-02-19T00:10:00Z/20m"));
    outside.error(&["the log goes from 2026-01-1", "srv-001@2026-02-19T00:10:00Z/1200s", "outside of it"]);
}
