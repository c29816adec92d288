//! Policies tried on a simulated history, and what a run makes of the one that was chosen.

use crate::support::{Outcome, Place};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Six days after the two weeks that train: policies are tried on the first three, and held against the last three.
const RUN: &str = "run --source simulate:dev --seed 7 --start 2026-01-19T00:00:00Z --for 6d --interval 5m --speed max --no-raw";
const TUNE: &str = "tune --until 2026-01-22T00:00:00Z --last 3d";
const HELD_OUT: &str = "SELECT count(*) FROM episodes WHERE anomalous > 0 AND status <> 'withdrawn' AND opened >= 1769040000000";

/// A history that nobody tuned for, made once.
fn untuned() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Place::new();
        place.run(RUN).well();
        place
    })
}

/// The thresholds that a file says.
fn thresholds(place: &Place, file: &str) -> BTreeMap<String, f64> {
    let table: toml::Table = std::fs::read_to_string(place.path(file)).unwrap().parse().unwrap();
    let entries = table["metric-threshold"].as_str().unwrap().split(',').map(|entry| entry.split_once('=').unwrap());
    entries.map(|(metric, threshold)| (metric.into(), threshold.parse().unwrap())).collect()
}

/// The last two numbers of the row of a metric that begins with a mark: found and missed.
fn found(outcome: &Outcome, metric: &str, mark: &str) -> u64 {
    let mut rows = outcome.stdout.lines().skip_while(|line| !line.starts_with(&format!("{metric}:"))).take_while(|line| !line.is_empty());
    let row = rows.find(|line| line.starts_with(mark)).unwrap_or_else(|| panic!("no row {mark} of {metric}:\n{}", outcome.stdout));
    row.split_whitespace().rev().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_budget_is_kept_on_the_days_after_by_a_run_that_reads_what_was_written() {
    let untuned = untuned();
    untuned.write("tuned.toml", "# kept\nno-raw = true\n");
    let tuned = untuned.run(&format!("{TUNE} --budget 2/series/month --write tuned.toml")).well();
    assert!(tuned.stdout.contains("alarms per series and month") && tuned.stdout.contains("run --config tuned.toml"), "{}", tuned.stdout);
    let text = std::fs::read_to_string(untuned.path("tuned.toml")).unwrap();
    assert!(text.starts_with("# kept\nno-raw = true\nmetric-threshold = ") && text.contains("open-after = \"2/3\""), "{text}");
    let place = Place::new();
    place.write("tuned.toml", text);
    place.run(&format!("{RUN} --config tuned.toml")).well();
    // Two per series and month, over three days.
    let allowed = 2 * place.count("SELECT count(*) FROM series") / 10;
    let (without, with) = (untuned.count(HELD_OUT), place.count(HELD_OUT));
    assert!(without > allowed, "there is nothing to tune: {without} alarms, {allowed} are allowed");
    assert!((1..=allowed).contains(&with), "{with} alarms, {allowed} are allowed; {without} without tuning");
}

#[test]
fn labels_choose_a_lower_threshold_than_none_where_that_finds_more() {
    let place = untuned();
    let generate = RUN.replace("run --source simulate:dev", "generate --preset dev --truth truth.jsonl --to file:log.jsonl");
    place.run(&generate.replace(" --no-raw", "").replace("--for 6d", "--for 3d")).well();
    place.run(&format!("{TUNE} --budget 5/series/month --write without.toml")).well();
    let with = place.run(&format!("{TUNE} --budget 5/series/month --labels truth.jsonl --write with.toml")).well();
    let (without, metric) = (thresholds(place, "without.toml"), "cpu_usage_percent");
    assert!(without.values().all(|threshold| *threshold >= 3.0), "without labels nothing becomes more sensitive: {without:?}");
    let (low, high) = (thresholds(place, "with.toml")[metric], without[metric]);
    assert!(low < high, "{low} with labels, {high} without");
    assert!(found(&with, metric, "*") > found(&with, metric, "  now"), "{}", with.stdout);
}

#[test]
fn what_cannot_be_tuned_is_refused_with_what_would_be_right() {
    let place = untuned();
    place.write("elsewhere.csv", "entity,metric,start,end\nsrv-001,cpu_usage_percent,2020-01-01T00:00:00Z,2020-01-02T00:00:00Z\n");
    place.write("broken.toml", "x = = 1");
    let _ = std::fs::create_dir(place.path("folder"));
    let cases: [(&str, &[&str]); 8] = [
        ("tune --history embedded:nowhere.db", &["nowhere.db", "nothing"]),
        ("tune --last 30d", &["tidewatch.db", "20days", "too short", "--last"]),
        ("tune --until 2020-01-01T00:00:00Z", &["holds no buckets", "tidewatch run"]),
        (&format!("{TUNE} --labels elsewhere.csv"), &["no label meets", "2026-01-19T00:00:00Z", "--until"]),
        (&format!("{TUNE} --write folder"), &["folder", "--write", "directory"]),
        (&format!("{TUNE} --write no/such.toml"), &["no/such.toml", "no such folder"]),
        (&format!("{TUNE} --write broken.toml"), &["broken.toml", "is not TOML"]),
        ("tune --budget plenty", &["plenty", "1 per series and month"]),
    ];
    for (line, parts) in cases {
        place.run(line).error(parts);
    }
}
