//! Logs in files: written by the generator, read whole, twice, from standard input and in parts.

use crate::support::{Outcome, Place};

const GENERATE: &str = "generate --to file:x.jsonl --preset dev --backfill 2h --for 20m --speed max --seed 7 --start 2026-01-19T00:00:00Z";
/// 38 entities: a record each five minutes for two hours, then each five seconds for twenty minutes.
const RECORDS: i64 = 38 * (24 + 240);

/// A place with a generated log, and the run over it.
fn generated() -> (Place, Outcome) {
    let place = Place::new();
    place.run(GENERATE).well();
    let outcome = place.run("run --source file:x.jsonl").well();
    (place, outcome)
}

fn raw(place: &Place) -> i64 {
    place.count("SELECT (SELECT count(*) FROM server_metrics) + (SELECT count(*) FROM application_metrics)")
}

#[test]
fn a_generated_file_is_the_same_bytes_each_time_and_as_long_as_asked_for() {
    let (place, _) = generated();
    let text = std::fs::read_to_string(place.path("x.jsonl")).unwrap();
    assert_eq!(text.lines().count() as i64, RECORDS);
    let again = place.run(&GENERATE.replace("file:x.jsonl", "-")).well();
    assert!(again.stdout == text, "the same seed and start give the same bytes");
    let other = place.run(&GENERATE.replace("file:x.jsonl", "-").replace("--seed 7", "--seed 8")).well();
    assert!(other.stdout != text, "another seed gives others");
}

#[test]
fn reading_a_file_again_adds_nothing() {
    let (place, first) = generated();
    assert_eq!(raw(&place), RECORDS);
    let again = place.run("run --source file:x.jsonl").well();
    assert_eq!(again.digest(), first.digest());
    assert!(again.stderr.contains(" 0 records in "), "{}", again.stderr);
    assert_eq!(raw(&place), RECORDS);
}

/// Failed once: a log that was read by models of its own end was told of as so many thousand unscored buckets, and nothing more.
#[test]
fn a_log_that_nothing_in_is_judged_says_why() {
    let place = Place::new();
    place.run("generate --to file:x.jsonl --preset dev --backfill 2d --for 20m --speed max --seed 7 --start 2026-01-19T00:00:00Z").well();
    let run = |more: &str| place.run(&format!("run --source file:x.jsonl --models embedded:models.db {more}")).well().stderr;
    let without = run("");
    assert!(without.contains("buckets were not scored: there is no model of any series"), "{without}");
    place.run("train --models embedded:models.db").well();
    let after = run("--history embedded:other.db");
    assert!(after.contains("was trained until 2026-01-19T00:20:00Z; `tidewatch train --until` ends earlier"), "{after}");
    place.run("train --models embedded:models.db --until 2026-01-18T12:00:00Z").well();
    let before = run("--history embedded:third.db");
    assert!(!before.contains("not scored"), "a quarter of it is: {before}");
}

// Failed: progress was kept under the path as it was typed, and raw events were stored twice.
#[test]
fn a_file_is_the_same_by_whatever_path_it_is_named() {
    let (place, first) = generated();
    let again = place.run("run --source file:./x.jsonl").well();
    assert_eq!(again.digest(), first.digest());
    assert_eq!(raw(&place), RECORDS);
}

/// Failed once: of a file that another one had replaced, no shorter than it, the rest was read from where the old one had ended.
#[test]
fn a_file_that_was_replaced_is_an_error_and_one_that_has_grown_is_not() {
    let place = Place::new();
    let rows = |from: u32, until: u32| -> String {
        let row = |minute: u32| format!("2026-01-19T{:02}:{:02}:00Z,a,cpu,50\n", minute / 60, minute % 60);
        std::iter::once("timestamp,entity,metric,value\n".to_owned()).chain((from..until).map(row)).collect()
    };
    let json = |from: u32, until: u32| -> String {
        let record = |minute: u32| {
            format!("{{\"server_id\":\"a\",\"timestamp\":\"2026-01-19T{:02}:{:02}:00Z\",\"cpu\":50}}\n", minute / 60, minute % 60)
        };
        (from..until).map(record).collect()
    };
    for (file, text) in [("x.csv", &rows as &dyn Fn(u32, u32) -> String), ("x.jsonl", &json)] {
        let run = format!("run --source file:{file} --history embedded:{file}.db --models embedded:{file}.db");
        // Of less than what is compared, of more, and of much more.
        for until in [6, 60, 300] {
            std::fs::write(place.path(file), text(0, until)).unwrap();
            place.run(&run).well();
        }
        std::fs::write(place.path(file), text(300, 600)).unwrap();
        place.run(&run).error(&[file, "does not begin as it did", "another history"]);
        std::fs::write(place.path(file), text(0, 600)).unwrap();
        let grown = place.run(&run).well();
        let whole = place.run(&format!("run --source file:{file} --history embedded:w{file}.db --models embedded:w{file}.db")).well();
        assert_eq!(grown.digest(), whole.digest());
    }
}

#[test]
fn standard_input_gives_the_digest_of_the_file() {
    let (place, first) = generated();
    let elsewhere = Place::new();
    for _ in 0..2 {
        let piped = elsewhere.call("run --source file:-").stdin(&place.path("x.jsonl")).finish().well();
        assert_eq!(piped.digest(), first.digest());
        assert_eq!(raw(&elsewhere), RECORDS);
    }
}

// Failed: what came down the pipe was taken for what had come down an earlier one, and was left out without a word.
#[test]
fn standard_input_is_a_new_log_each_time() {
    let (place, first) = generated();
    let text = std::fs::read_to_string(place.path("x.jsonl")).unwrap();
    let half = text.lines().take(4000).map(|line| format!("{line}\n")).collect::<String>();
    place.write("first", &half);
    place.write("second", &text[half.len()..]);
    let elsewhere = Place::new();
    elsewhere.call("run --source file:-").stdin(&place.path("first")).finish().well();
    let second = elsewhere.call("run --source file:-").stdin(&place.path("second")).finish().well();
    assert!(second.stderr.contains("6,032 records in "), "{}", second.stderr);
    assert_ne!(second.digest(), elsewhere.run("digest --to 2026-01-18T23:00:00Z").well().digest());
    let (count, whole) = (second.numbers("digest")[..].last().copied(), first.numbers("digest")[..].last().copied());
    assert_eq!(count, whole, "all buckets are there");
}

#[test]
fn two_files_give_the_digest_of_one() {
    let (place, first) = generated();
    let text = std::fs::read_to_string(place.path("x.jsonl")).unwrap();
    let part = |even: bool| -> String {
        // By entity, as a producer would: the order within each file is that of time.
        let of = |line: &&str| (line.bytes().filter(u8::is_ascii_digit).map(usize::from).sum::<usize>() % 2 == 0) == even;
        text.lines().filter(of).map(|line| format!("{line}\n")).collect()
    };
    let elsewhere = Place::new();
    elsewhere.write("even.jsonl", part(true));
    elsewhere.write("odd.jsonl", part(false));
    for workers in [1, 2] {
        let both = elsewhere.run(&format!("run -w {workers} --source file:even.jsonl,odd.jsonl --history embedded:{workers}.db")).well();
        assert_eq!(both.digest(), first.digest(), "on {workers} workers");
    }
}

#[test]
fn a_table_is_read_run_after_run_and_backtested() {
    let place = Place::new();
    let mut rows = String::from("timestamp,entity,metric,value\n");
    // Four days and two hours of a day-shaped series; on the last day, an hour that is far too high.
    for bucket in 0..(4 * 288 + 24) {
        let (day, minute) = (bucket / 288, bucket % 288 * 5);
        let shape = 40.0 + 10.0 * (f64::from(minute) / 1440.0 * std::f64::consts::TAU).sin() + f64::from(bucket * 7919 % 13) / 13.0;
        let value = if (1160..1172).contains(&bucket) { shape + 30.0 } else { shape };
        rows += &format!("2026-01-{:02}T{:02}:{:02}:00Z,web-1,cpu,{value:.3}\n", 5 + day, minute / 60, minute % 60);
    }
    place.write("table.csv", rows);
    place.run("backtest table.csv --train-until 2026-01-09T00:00:00Z --out verdicts.csv").well();
    let verdicts = std::fs::read_to_string(place.path("verdicts.csv")).unwrap();
    assert!(verdicts.starts_with("timestamp,entity,metric,value,expected,z_score,is_anomaly"), "{verdicts}");
    let flags: Vec<&str> = verdicts.lines().skip(1).map(|line| line.split(',').nth(6).unwrap()).collect();
    assert_eq!(flags.len(), 24, "one row per input row after the training");
    assert!(flags[8] == "true" && flags[..8].iter().all(|flag| *flag == "false"), "its beginning is what is flagged: {flags:?}");
    place.run("backtest table.csv --train-until 2026-01-09T00:00:00Z --out baseline.csv --method stl_zscore").well();
    let verdicts = std::fs::read_to_string(place.path("baseline.csv")).unwrap();
    let flags: Vec<&str> = verdicts.lines().skip(1).map(|line| line.split(',').nth(6).unwrap()).collect();
    assert!(flags[8..20].iter().all(|flag| *flag == "true") && flags[..8].iter().all(|flag| *flag == "false"), "{flags:?}");
    let kept = "--history embedded:kept.db --models embedded:kept.db";
    place.run(&format!("backtest table.csv --train-until 2026-01-09T00:00:00Z --out kept.csv {kept}")).well();
    let text = place.run(&format!("explain web-1 cpu 2026-01-09T00:40:00Z {kept}")).well().stdout;
    assert!(text.contains("in short") && text.contains("times its usual step") && text.contains("= level "), "{text}");
    let first = place.run("run --source file:table.csv").well();
    assert_eq!(place.run("run --source file:table.csv").well().digest(), first.digest());
    place.write("empty.csv", "");
    place.run("run --source file:empty.csv").error(&[
        "empty.csv",
        "is empty: its first line must name timestamp",
        "timestamp,entity,metric,value",
    ]);
}

/// Failed once: a pipe was read a thousand lines at a time, and whoever kept it open waited for ever, Ctrl-C included.
#[test]
fn a_pipe_that_stays_open_is_watched() {
    use std::io::Write;
    let place = Place::new();
    let fifo = place.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let opened = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::OpenOptions::new().write(true).open(fifo).unwrap()
    });
    let mut run = place.call("--source file:- --commit-interval 50ms").stdin(&fifo).start();
    let mut pipe = opened.join().unwrap();
    for minute in 0..30 {
        writeln!(pipe, r#"{{"server_id":"a","timestamp":{},"cpu":1}}"#, 1_768_780_800 + 60 * minute).unwrap();
    }
    pipe.flush().unwrap();
    assert!(run.says(" watching "), "{}", run.stderr());
    let stored = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        place.count("SELECT count(*) FROM buckets") > 3
    });
    assert!(stored, "nothing was stored while the pipe was open");
    run.signal("INT");
    run.finish().well();
}

#[test]
fn an_empty_log_is_said_to_be_empty_once_it_has_been_looked_at_and_not_when_it_was_read_before() {
    let place = Place::new();
    place.write("log.jsonl", "");
    assert!(place.run("run --source file:log.jsonl").well().stderr.contains("there was nothing to read: 'file:"));
    place.write("log.jsonl", "{\"server_id\":\"a\",\"timestamp\":1768780800,\"cpu\":1.5}\n");
    for _ in 0..2 {
        assert!(!place.run("run --source file:log.jsonl").well().stderr.contains("nothing to read"));
    }
}

#[test]
fn a_misspelt_kind_is_refused_with_those_that_are_known() {
    let place = Place::new();
    place.write("log.jsonl", "{\"type\":\"server_metrc\",\"server_id\":\"a\",\"timestamp\":1768780800,\"cpu\":1.5}\n");
    place.run("run --source file:log.jsonl").error(&["1 unknown_kind"]);
    let shown = place.run("dead-letters").well().stdout;
    assert!(shown.contains("type 'server_metrc' is not configured; known are server_metric, application_metric"), "{shown}");
}
