//! What an operator does to a history and its models by hand.

use crate::support::Place;

/// Five minutes of a small datacenter after three days that trained its models.
fn watched() -> Place {
    let place = Place::new();
    place.run("run --source simulate:dev --seed 7 --start 2026-01-19T00:00:00Z --backfill 3d --for 5m --speed max --no-raw").well();
    place
}

#[test]
fn a_rollback_brings_back_the_model_before_the_newest_and_a_second_one_takes_that_back() {
    let (place, series) = (watched(), "server:srv-001:cpu_usage_percent");
    let shown = |place: &Place| place.run(&format!("models show {series}")).well().stdout;
    place.run("train --until 2026-01-18T12:00:00Z").well();
    let earlier = shown(&place);
    place.run(&format!("models rollback {series}")).error(&["before the newest", "nothing was changed"]);
    place.run("train --until 2026-01-19T00:00:00Z").well();
    let newest = shown(&place);
    let level = |document: &str| document.split("\"level\":").nth(1).unwrap().split(',').next().unwrap().to_string();
    assert_ne!(level(&earlier), level(&newest));
    let said = place.run(&format!("models rollback {series}")).well().stdout;
    assert!(said.contains("for buckets since 2026-01-19T00:05:00Z") && said.contains("1 models rolled back"), "{said}");
    let again = shown(&place);
    assert_eq!(level(&again), level(&earlier));
    assert!(again.contains("\"rolled_back_to\":\"2026-01-18T12:00:00Z\""), "{again}");
    place.run(&format!("models rollback {series}")).well();
    assert_eq!(level(&shown(&place)), level(&newest));
    let all = place.run("models rollback --all").well().stdout;
    assert!(!all.contains(" 1 models rolled back"), "{all}");
    place.run("models rollback server:nobody:cpu_usage_percent").error(&["server:nobody:cpu_usage_percent", "nothing was changed"]);
}

#[test]
fn a_silence_may_begin_now_and_say_how_long() {
    let place = watched();
    place.run("silence add --entity srv-0* --for 2h --reason upgrade").well();
    place.run("silence add --entity srv-0* --from now-1d --to now+30m").well();
    let listed = place.run("silence list").well().stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let lengths = "SELECT count(*) FROM silences WHERE until_time - from_time BETWEEN 7200000 AND 7201000 OR until_time - from_time BETWEEN 88200000 AND 88201000";
    assert_eq!(place.count(lengths), 2);
    place.run("silence add --entity srv-0*").error(&["--to"]);
    place.run("silence add --entity srv-0* --for 2h --from now-yesterday").error(&["yesterday"]);
}

#[test]
fn only_open_incidents_are_shown_where_they_are_asked_for_and_an_unknown_reason_is_an_error() {
    let place = watched();
    let open = place.run("incidents --open").well().stdout;
    assert!(open.lines().all(|line| line.contains(" open ")), "{open}");
    place.run("dead-letters --reason nonsense").error(&["no record was refused as 'nonsense'"]);
}
