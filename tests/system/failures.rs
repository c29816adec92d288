//! What goes wrong for one worker or one store is said, and keeps nobody waiting.

use crate::support::Place;
use std::fmt::Write;
use std::time::Duration;

/// Records of `entities` servers, one each per `step` seconds, for so many hours.
fn log(entities: usize, step: i64, hours: i64) -> String {
    let mut lines = String::new();
    for second in (0..hours * 3600).step_by(usize::try_from(step).unwrap()) {
        for entity in 0..entities {
            writeln!(lines, r#"{{"server_id":"{step}-{entity}","timestamp":{},"cpu":{}}}"#, 1_768_780_800 + second, second % 97).unwrap();
        }
    }
    lines
}

/// Failed once: with more than one worker the others waited for ever for the one that could not go on, and its error was not shown.
#[test]
fn an_error_in_one_worker_ends_all_with_its_reason() {
    for workers in [1, 2, 4] {
        let place = Place::new();
        place.write("good.jsonl", log(3, 60, 1));
        // A file that can be opened, and then not be read.
        place.run(&format!("-w {workers} --source file:good.jsonl,/proc/self/mem")).error(&["/mem", "Input/output error"]);
    }
}

/// Failed once: a transaction that failed for good was reported on one worker only.
#[test]
fn a_history_that_loses_a_table_in_mid_run_ends_the_run() {
    let place = Place::new();
    let line =
        "-w 2 --source simulate:dev --seed 7 --start 2026-01-19T00:00:00Z --backfill 3d --for 10h --speed 1800 --commit-interval 50ms";
    let mut run = place.call(line).start();
    assert!(run.says(" watching "), "{}", run.stderr());
    place.database().execute_batch("DROP TABLE progress").unwrap();
    run.finish().error(&["progress", "tidewatch migrate"]);
}

/// Failed once: what was committed of a sparse file lay far ahead of a dense one, and the two waited for each other.
#[test]
fn a_sparse_file_beside_a_dense_one_is_resumed() {
    let place = Place::new();
    place.write("dense.jsonl", log(300, 5, 3));
    place.write("sparse.jsonl", log(3, 300, 60));
    let line = "-w 2 --source file:dense.jsonl,sparse.jsonl --no-raw --commit-interval 20ms";
    let whole = Place::new();
    whole.write("dense.jsonl", log(300, 5, 3));
    whole.write("sparse.jsonl", log(3, 300, 60));
    let undisturbed = whole.run(line).well().digest();
    for pause in [150, 300, 450] {
        let mut run = place.call(line).start();
        assert!(run.says(" watching "), "{}", run.stderr());
        std::thread::sleep(Duration::from_millis(pause));
        run.kill();
    }
    assert_eq!(place.run(line).well().digest(), undisturbed);
}

/// Failed once: a log that had lost its end kept the whole run waiting; later, whole buckets were overwritten with what was left of them.
#[test]
fn a_log_that_was_cut_short_is_refused_and_its_buckets_stay_whole() {
    let place = Place::new();
    let lines = log(3, 60, 3);
    place.write("short.jsonl", &lines);
    place.run("--source file:short.jsonl").well();
    place.write("short.jsonl", &lines[..lines.len() / 2]);
    let samples = "SELECT sum(count) FROM buckets";
    let before = place.count(samples);
    place.run("--source file:short.jsonl").error(&["short.jsonl", "was cut or replaced", "another history"]);
    assert_eq!(place.count(samples), before);
}

/// Failed once: of a table in the order of its series nearly all rows were refused as late.
#[test]
fn a_backtest_takes_a_table_series_by_series() {
    let place = Place::new();
    let row = |entity: &str, hour: i64| format!("{},{entity},cpu,{}\n", 1_768_780_800 + 300 * hour, (hour * 7) % 24 + hour % 5);
    let header = "timestamp,entity,metric,value\n".to_owned();
    let by_series: String = ["a", "b"].iter().flat_map(|entity| (0..1200).map(move |hour| row(entity, hour))).collect();
    let stamped = |text: String| {
        let mut lines = header.clone();
        for line in text.lines() {
            let (seconds, rest) = line.split_once(',').unwrap();
            let time = chrono::DateTime::from_timestamp(seconds.parse().unwrap(), 0).unwrap();
            writeln!(lines, "{},{rest}", time.format("%Y-%m-%dT%H:%M:%SZ")).unwrap();
        }
        lines
    };
    let by_time: String = (0..1200).flat_map(|hour| ["a", "b"].map(|entity| row(entity, hour))).collect();
    place.write("series.csv", stamped(by_series));
    place.write("time.csv", stamped(by_time));
    let verdicts = |input: &str| {
        place.run(&format!("backtest {input} --train-until 2026-01-22T00:00:00Z --out out.csv")).well();
        let text = std::fs::read_to_string(place.path("out.csv")).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (series, time) = (verdicts("series.csv"), verdicts("time.csv"));
    assert_eq!(series, time);
    assert!(series.iter().filter(|line| line.contains(",normal,")).count() > 500, "{series:?}");
}

/// Failed once: each pass warned, and sent its reader to dead letters that a backtest does not keep.
#[test]
fn a_backtest_says_once_what_it_refused_and_shows_one_of_it() {
    let place = Place::new();
    let row = |minute: usize| format!("2026-01-{:02}T{:02}:{:02}:00Z,a,cpu,1.5\n", 1 + minute / 1440, minute / 60 % 24, minute % 60);
    let rows: String = (0..3 * 1440).step_by(5).map(row).collect();
    place.write("in.csv", format!("timestamp,entity,metric,value\n{rows}yesterday,a,cpu,2\u{1b}[2J\n"));
    let said = place.run("backtest in.csv --train-until 2026-01-03T00:00:00Z --out out.csv").well().stderr;
    let told: Vec<&str> = said.lines().filter(|line| line.contains("refused")).collect();
    assert!(told.len() == 1 && !said.contains("dead-letters"), "{said}");
    assert!(
        told[0].contains("1 record was refused as bad_time; one of them: line 866: 'timestamp' is 'yesterday', which is no time like"),
        "{said}"
    );
    assert!(told[0].contains(": yesterday,a,cpu,2") && !told[0].contains('\u{1b}'), "{said}");
}
