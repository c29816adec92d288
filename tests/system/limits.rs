//! Floods of names, labels and rubbish: refused in an order that does not depend on workers and restarts, counted, and held in little memory.

use crate::support::Place;
use std::fmt::Write;
use std::time::Duration;

/// Without limits, the flood of entities below takes 1,080 MB; with them 40.
const PEAK_KIB: u64 = 150_000;

/// 2026-01-19T00:00:00Z, in seconds.
const START: usize = 1_768_780_800;

fn line(lines: &mut String, entity: &str, second: usize, rest: &str) {
    writeln!(lines, r#"{{"server_id":"{entity}","timestamp":{},{rest}}}"#, START + second).unwrap();
}

/// Two hours of four servers, and in the middle of them 250 names every five seconds that nobody has heard before: 100,000 in all.
fn flood() -> String {
    let mut lines = String::new();
    for second in (0..7200).step_by(5) {
        (0..4).for_each(|entity| {
            line(&mut lines, &format!("good-{entity}"), second, &format!(r#""cpu":{},"memory":{}"#, second % 97, entity));
        });
        if (2400..4400).contains(&second) {
            (0..250).for_each(|i| line(&mut lines, &format!("flood-{second}-{i}"), second, r#""cpu":1"#));
        }
    }
    lines
}

/// What every record came to, and who is known.
fn ledger(place: &Place, database: &str) -> Vec<String> {
    let database = rusqlite::Connection::open(place.path(database)).unwrap();
    let mut rows = Vec::new();
    // Those who have left are kept as long as they may be read again, which depends on the moment.
    for table in ["outcomes ORDER BY 3", "census WHERE until_offset IS NULL ORDER BY 3, 4, 5"] {
        // The name of the file, which is that of its partition, is another one in each place.
        let mut select = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (2..columns).map(|column| row.get::<_, rusqlite::types::Value>(column)).collect::<Result<Vec<_>, _>>()
        };
        rows.extend(select.query_map([], row).unwrap().map(|values| format!("{table} {:?}", values.unwrap())));
    }
    rows
}

#[test]
fn a_flood_of_entities_is_refused_and_those_known_before_go_on() {
    let place = Place::new();
    place.write("flood.jsonl", flood());
    let mut told = Vec::new();
    for workers in [1, 2, 4] {
        let stores = format!("--history embedded:{workers}.db --models embedded:{workers}.db");
        let outcome = place.run(&format!("run -w {workers} --source file:flood.jsonl --entities-max 1000 {stores}")).well();
        assert!(outcome.peak_kib < PEAK_KIB, "{} KiB", outcome.peak_kib);
        assert!(
            outcome.stderr.contains("WARN a limit is reached") && outcome.stderr.contains("99004 too_many_entities"),
            "{}",
            outcome.stderr
        );
        told.push((outcome.digest(), ledger(&place, &format!("{workers}.db"))));
    }
    assert!(told.iter().all(|one| *one == told[0]), "the number of workers changes the answer");
    assert_eq!(told[0].1.iter().filter(|row| row.starts_with("census")).count(), 996 + 8);
    let database = rusqlite::Connection::open(place.path("1.db")).unwrap();
    let count = |query: &str| database.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT sum(records) FROM outcomes"), 4 * 1440 + 100_000, "records in = events + dead letters");
    assert_eq!(count("SELECT count(*) FROM series WHERE entity_id LIKE 'good-%'"), 8);
    let good = "SELECT sum(count) FROM buckets JOIN series USING (series_id) WHERE entity_id LIKE 'good-%'";
    assert_eq!(count(good), 4 * 1440 * 2, "each of their samples counts");
    let letters = place.run("dead-letters --history embedded:1.db --reason too_many_entities --limit 1").well().stdout;
    assert!(letters.starts_with("105,760 records: 6,756 events, 99,004 refused\n        99,004  too_many_entities\n"), "{letters}");
    assert!(letters.contains("knows 1000 entities") && letters.contains(r#"  {"server_id":"flood-"#), "{letters}");
}

#[test]
fn a_run_that_is_killed_in_a_flood_comes_to_the_same() {
    let whole = Place::new();
    whole.write("flood.jsonl", flood());
    let line = "run -w 2 --source file:flood.jsonl --entities-max 1000 --commit-interval 5ms --no-raw";
    let undisturbed = whole.run(line).well().digest();
    let place = Place::new();
    place.write("flood.jsonl", flood());
    for pause in [5, 20, 40, 60, 80, 100, 120] {
        let mut run = place.call(line).start();
        assert!(run.says(" watching "), "{}", run.stderr());
        std::thread::sleep(Duration::from_millis(pause));
        run.kill();
    }
    assert_eq!(place.run(line).well().digest(), undisturbed);
    let database = "tidewatch-data/tidewatch.db";
    assert_eq!(ledger(&place, database), ledger(&whole, database), "each record is counted once, and the same are known");
}

/// A fleet that is replaced by another one, as large as the limit, with strangers in between, those who come back, and metrics that change.
fn changing() -> Vec<String> {
    let mut lines = Vec::new();
    for minute in 0..400 {
        let mut push = |entity: String, rest: &str| {
            let mut text = String::new();
            line(&mut text, &entity, minute * 60, rest);
            lines.push(text);
        };
        let fleet = minute / 130;
        let rest = if fleet < 2 { r#""cpu":1,"memory":2"# } else { r#""cpu":1"# };
        (0..20).for_each(|i| push(format!("{fleet}-{i}"), rest));
        if minute % 7 == 0 {
            push(format!("stranger-{minute}"), r#""cpu":1"#);
        }
        if minute % 90 == 0 {
            push("comes-back".into(), r#""cpu":3"#);
        }
        push("0-0".into(), &format!(r#""metric_{}":1,"cpu":2"#, minute / 10));
    }
    lines
}

#[test]
fn a_restart_at_any_place_admits_whom_an_undisturbed_run_admits() {
    let lines = changing();
    let flags = "--source file:log.jsonl --entities-max 25 --metrics-max 5 --series-max 45 --forget 1h --lateness 20m --no-raw";
    let whole = Place::new();
    whole.write("log.jsonl", lines.concat());
    let undisturbed = whole.run(&format!("run {flags}")).well();
    for reason in ["too_many_entities", "too_many_metrics", "too_many_series"] {
        assert!(undisturbed.stderr.contains(reason), "the log is too tame: {}", undisturbed.stderr);
    }
    for workers in [1, 3] {
        let place = Place::new();
        for part in 1..=12 {
            place.write("log.jsonl", lines[..lines.len() * part / 12].concat());
            place.run(&format!("run -w {workers} {flags}")).well();
        }
        let database = "tidewatch-data/tidewatch.db";
        let (told, expected) = (ledger(&place, database), ledger(&whole, database));
        let differs = told.iter().zip(&expected).find(|(one, other)| one != other);
        assert!(told == expected, "{} and {} rows; the first that differs: {differs:?}", told.len(), expected.len());
        // Of the fleets, whose series have samples in every bucket.
        let samples =
            "SELECT sum(count) FROM buckets JOIN series USING (series_id) WHERE metric IN ('cpu', 'memory') AND entity_id LIKE '_-%'";
        assert_eq!(place.count(samples), whole.count(samples));
    }
}

#[test]
fn a_flood_of_metrics_of_one_entity_grows_nothing() {
    let place = Place::new();
    let mut metrics = String::new();
    for i in 0..100_000 {
        line(&mut metrics, "one", i / 50, &format!(r#""m{i}":1"#));
    }
    place.write("metrics.jsonl", metrics);
    let outcome = place.run("run --source file:metrics.jsonl").well();
    assert!(outcome.peak_kib < PEAK_KIB, "{} KiB", outcome.peak_kib);
    assert_eq!(place.count("SELECT count(*) FROM series"), 256);
    assert_eq!(place.count("SELECT records FROM outcomes WHERE outcome = 'too_many_metrics'"), 100_000 - 256);
}

#[test]
fn labels_that_change_with_every_record_are_not_written_with_every_record() {
    let place = Place::new();
    place.run("migrate").well();
    let count = "CREATE TABLE written (n); CREATE TRIGGER count AFTER UPDATE ON series BEGIN INSERT INTO written VALUES (1); END;";
    place.database().execute_batch(count).unwrap();
    let mut labels = String::new();
    for i in 0..100_000 {
        // To and fro over the borders of buckets, too.
        let second = i / 50 + if i % 8 < 4 { 10 } else { 0 };
        line(&mut labels, &format!("srv-{}", i % 4), second, &format!(r#""rack_id":"rack-{i}","cpu":{}"#, i % 97));
    }
    place.write("labels.jsonl", labels);
    let outcome = place.run("run --source file:labels.jsonl --commit-interval 5ms").well();
    assert!(outcome.peak_kib < PEAK_KIB, "{} KiB", outcome.peak_kib);
    assert_eq!(place.count("SELECT sum(count) FROM buckets"), 100_000);
    let buckets = place.count("SELECT count(*) FROM buckets");
    assert!(place.count("SELECT count(*) FROM written") <= buckets, "at most once for each of {buckets} buckets");
}

#[test]
fn a_million_bad_records_are_counted_and_a_thousand_of_them_kept() {
    let place = Place::new();
    let mut lines = String::new();
    let long = "x".repeat(1500);
    for i in 0..1_000_000 {
        match i % 100 {
            0 => writeln!(lines, "{long}").unwrap(),
            1 => line(&mut lines, "future", 1_000_000_000, r#""cpu":1"#),
            2 => line(&mut lines, "good", i / 1000, r#""cpu":1"#),
            _ => lines.push_str("{\n"),
        }
    }
    place.write("rubbish.jsonl", lines);
    let outcome = place.run("run --source file:rubbish.jsonl --no-raw").well();
    assert!(outcome.peak_kib < PEAK_KIB, "{} KiB", outcome.peak_kib);
    let of = |outcome: &str| place.count(&format!("SELECT records FROM outcomes WHERE outcome = '{outcome}'"));
    assert_eq!((of("event"), of("future"), of("invalid_json")), (10_000, 10_000, 980_000), "records in = events + dead letters");
    // Twice as many where the hour ended meanwhile.
    let kept = place.count("SELECT count(*) FROM dead_letters");
    assert!((2000..=4000).contains(&kept), "{kept}");
    assert!(place.count("SELECT count(*) FROM refusals") <= 10_000);
    let stored = std::fs::metadata(place.path("tidewatch-data/tidewatch.db")).unwrap().len();
    assert!(stored < 10_000_000, "{stored} bytes");
    let none = Place::new();
    none.write("rubbish.jsonl", "{\n{\n");
    none.run("run --source file:rubbish.jsonl --dead-letters-max 0").error(&["not one record is an event: 2 invalid_json"]);
    assert_eq!(none.count("SELECT count(*) FROM dead_letters"), 0);
    assert_eq!(none.count("SELECT records FROM outcomes"), 2);
}

/// So many records of some 8 KiB each.
fn wide_lines(count: usize) -> String {
    let metrics: String = (0..250).map(|i| format!(r#","m{i}":{i}"#)).collect();
    let mut lines = String::new();
    (0..count).for_each(|i| line(&mut lines, &format!("srv-{}", i % 3), i / 10, &metrics[1..]));
    lines
}

/// Failed once: only a worker that stood beside the committing thread was heard, others waited for the next interval each time, here for an hour.
#[test]
fn a_worker_without_room_waits_for_no_interval() {
    let place = Place::new();
    place.write("one.jsonl", wide_lines(1));
    place.write("wide.jsonl", wide_lines(1000));
    for source in ["one.jsonl,wide.jsonl", "wide.jsonl,one.jsonl"] {
        let history = format!("embedded:{}.db", &source[..3]);
        let limits = "--in-flight-bytes-max 1000000 --commit-interval 1h";
        place.run(&format!("run -w 2 --source file:{source} --history {history} {limits}")).well();
    }
}

/// Each record comes to some 8 KiB, so that they are bounded by bytes long before they are by number.
#[test]
fn what_waits_for_its_commit_is_bounded_by_bytes() {
    let place = Place::new();
    place.write("wide.jsonl", wide_lines(40_000));
    let peak = |bytes: u64| {
        place.run(&format!("run --source file:wide.jsonl --history embedded:{bytes}.db --in-flight-bytes-max {bytes}")).well().peak_kib
    };
    let (narrow, wide) = (peak(1_000_000), peak(1_000_000_000));
    assert!(narrow + 30_000 < wide, "{narrow} and {wide} KiB");
}
