//! Verdicts in a file of Parquet are those in a file of CSV.

use crate::support::Place;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use tidewatch::instant;

/// The signal of a process that writes a file larger than it may.
const SIGXFSZ: i32 = 25;

/// The names of the columns, and the rows.
fn read_parquet(place: &Place, name: &str) -> (Vec<String>, Vec<Vec<Field>>) {
    let reader = SerializedFileReader::new(std::fs::File::open(place.path(name)).unwrap()).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().columns();
    let names = columns.iter().map(|column| column.name().to_owned()).collect();
    let rows = reader.get_row_iter(None).unwrap();
    (names, rows.map(|row| row.unwrap().into_columns().into_iter().map(|(_, field)| field).collect()).collect())
}

/// Whether a field of CSV says the same.
fn is_same(field: &Field, text: &str) -> bool {
    match field {
        Field::Null => text.is_empty(),
        Field::Bool(value) => text == value.to_string(),
        Field::Long(value) => text == value.to_string(),
        Field::Double(value) => text.parse::<f64>().is_ok_and(|number| number.to_bits() == value.to_bits()),
        Field::Str(value) => text == value,
        Field::TimestampMillis(value) => instant::parse(text) == Some(*value),
        other => panic!("{other} is none of ours"),
    }
}

/// Runs a backtest into both, and compares them; the number of rows.
fn compare(place: &Place, line: &str) -> usize {
    for out in ["both.csv", "both.parquet"] {
        place.run(&format!("{line} --out {out}")).well();
    }
    let mut csv = csv::Reader::from_path(place.path("both.csv")).unwrap();
    let (names, rows) = read_parquet(place, "both.parquet");
    assert_eq!(csv.headers().unwrap(), names.as_slice());
    let lines: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(lines.len(), rows.len());
    for (row, line) in rows.iter().zip(&lines) {
        assert!(row.iter().zip(line).all(|(field, text)| is_same(field, text)), "{row:?}\n{line:?}");
    }
    rows.len()
}

#[test]
fn events_come_to_the_same_rows_in_both() {
    let place = Place::new();
    let pinned = "--preset dev --start 2026-01-18T00:00:00Z --speed max --seed 7";
    place.run(&format!("generate {pinned} --backfill 2d --for 6h --to file:log.jsonl")).well();
    place.run("run --source file:log.jsonl --history embedded:live.db --models embedded:live.db").well();
    place.run("train --history embedded:live.db --models embedded:live.db --until 2026-01-18T00:00:00Z").well();
    // More than one group of rows.
    assert!(compare(&place, "backtest log.jsonl --models embedded:live.db") > 1 << 16);
    assert!(
        compare(&place, "backtest log.jsonl --train-until 2026-01-18T00:00:00Z --columns own_z_score,metric,z_score,count,state") > 10_000
    );
    assert_eq!(read_parquet(&place, "both.parquet").0, ["own_z_score", "metric", "z_score", "count", "state"]);
    place.run("backtest log.jsonl --models embedded:live.db --columns mean,zscore").error(&["zscore", "z_score"]);
    place.run("backtest log.jsonl --models embedded:live.db --columns mean,min,mean").error(&["--columns", "mean twice"]);
    assert!(compare(&place, "backtest log.jsonl --train-until 2026-01-18T00:00:00Z") > 10_000);
    let (names, rows) = read_parquet(&place, "both.parquet");
    let severity = names.iter().position(|name| name == "severity").unwrap();
    assert!(rows.iter().any(|row| row[severity] != Field::Null) && rows.iter().any(|row| row[severity] == Field::Null));
}

#[test]
fn the_rows_of_a_table_keep_their_own_time_and_value() {
    let place = Place::new();
    let mut table = String::from("timestamp,entity,metric,value\n");
    for minute in (0..4 * 1440 + 60).step_by(5) {
        let (day, value) = (5 + minute / 1440, 40 + minute * 7919 % 13);
        table += &format!("2026-01-{day:02}T{:02}:{:02}:07Z,\"web, \"\"1\"\"\",cpu,{value}.50\n", minute / 60 % 24, minute % 60);
    }
    table += "2026-01-09T01:02:00Z,\"web, \"\"1\"\"\",cpu,nan\n";
    table += "2026-01-09T01:01:00Z,\"web, \"\"1\"\"\",cpu,\"none, really\"\n";
    place.write("table.csv", table);
    let line = "backtest table.csv --train-until 2026-01-09T00:00:00Z";
    for out in ["rows.csv", "rows.parquet"] {
        place.run(&format!("{line} --out {out}")).well();
    }
    let (names, rows) = read_parquet(&place, "rows.parquet");
    let mut csv = csv::Reader::from_path(place.path("rows.csv")).unwrap();
    let lines: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), lines.len()), (14, 14), "twelve of an hour, and two that were refused");
    let refused = lines.last().unwrap();
    assert_eq!((&refused[1], &refused[3], &refused[10]), ("web, \"1\"", "none, really", "unscored(refused)"));
    for (row, line) in rows.iter().zip(&lines) {
        // A text that is no number is none in Parquet.
        let is_kept = |(name, (field, text)): (&String, (&Field, &str))| {
            is_same(field, text) || name == "value" && *field == Field::Null && ["nan", "none, really"].contains(&text)
        };
        assert!(names.iter().zip(row.iter().zip(line)).all(is_kept), "{row:?}\n{line:?}");
    }
    assert_eq!(lines[0][0].get(17..), Some("07Z"), "its own time");
}

/// A place with a log of two days and an hour.
fn logged() -> Place {
    let place = Place::new();
    place.run("generate --preset dev --start 2026-01-18T00:00:00Z --speed max --backfill 2d --for 1h --to file:log.jsonl").well();
    place
}

#[test]
fn what_takes_no_more_is_an_error_in_both() {
    let place = logged();
    let nothing = "backtest log.jsonl --train-until 2026-01-19T00:00:00Z --out none.parquet";
    place.run(nothing).error(&["log.jsonl", "ends at 2026-01-18T01:00:00Z", "nothing to score", "2026-01-19T00:00:00Z"]);
    assert!(!std::fs::exists(place.path("none.parquet")).unwrap());
    for name in ["full.csv", "full.parquet"] {
        std::os::unix::fs::symlink("/dev/full", place.path(name)).unwrap();
        place.run(&format!("backtest log.jsonl --train-until 2026-01-18T00:00:00Z --out {name}")).error(&[
            name,
            "cannot be written",
            "No space left on device",
        ]);
    }
}

/// Failed: a backtest into its own input or models destroyed them, and ended well.
#[test]
fn a_backtest_writes_into_nothing_that_it_needs() {
    let place = logged();
    let before = std::fs::read(place.path("log.jsonl")).unwrap();
    place.run("backtest log.jsonl --train-until 2026-01-18T00:00:00Z --models embedded:m.db --out rows.csv").well();
    place.write("labels.csv", "entity,metric,start,end\n");
    place.write("t.toml", "lateness = \"1h\"\n");
    place.write("password", "secret\n");
    std::os::unix::fs::symlink("m.db", place.path("link.db")).unwrap();
    let trained = "backtest log.jsonl --train-until 2026-01-18T00:00:00Z";
    std::fs::copy(place.path("log.jsonl"), place.path("copy.csv.partial")).unwrap();
    for (line, name) in [
        ("backtest copy.csv.partial --models embedded:m.db --out copy.csv", "copy.csv.partial"),
        (&format!("{trained} --out {} --models embedded:new.db", place.path("new.db").display()), "new.db"),
        (&format!("{trained} --out r.partial --labels labels.csv --report r"), "r.partial"),
        ("backtest log.jsonl --models embedded:m.db --out ./log.jsonl", "log.jsonl"),
        ("backtest log.jsonl --models embedded:m.db --out m.db", "m.db"),
        (&format!("{trained} --out log.jsonl"), "log.jsonl"),
        (&format!("{trained} --out new.db --models embedded:new.db"), "new.db"),
        (&format!("{trained} --out labels.csv --labels labels.csv"), "labels.csv"),
        (&format!("{trained} --out r --labels labels.csv --report r"), "/r'"),
        (&format!("{trained} --out r --labels labels.csv --report r.partial"), "r.partial"),
        ("--config t.toml backtest log.jsonl --models embedded:m.db --out t.toml", "t.toml"),
        ("backtest log.jsonl --models embedded:link.db --out m.db-wal", "m.db-wal"),
        ("backtest log.jsonl --models redis://localhost?password_file=password --out password", "password"),
    ] {
        place.run(line).error(&[name, "would be lost", "name another"]);
    }
    place.run(&format!("{trained} --labels labels.csv --report -")).error(&["--out and --report", "name a file"]);
    for name in ["log.jsonl", "copy.csv.partial"] {
        assert!(std::fs::read(place.path(name)).unwrap() == before, "{name}");
    }
    for (name, text) in [("labels.csv", "entity,metric,start,end\n"), ("t.toml", "lateness = \"1h\"\n"), ("password", "secret\n")] {
        assert_eq!(std::fs::read_to_string(place.path(name)).unwrap(), text);
    }
    place.run("models list --models embedded:m.db").well();
    assert!(!place.path("new.db").exists() && !place.path("r").exists());
}

/// Failed: where it trains itself, a backtest that could not end had cut what an earlier one had written.
#[test]
fn a_backtest_that_is_killed_while_it_writes_leaves_the_rows_of_an_earlier_one() {
    let place = logged();
    place.write("rows.csv", "of an earlier one\n");
    // A folder where the rows are to be gathered.
    std::fs::create_dir(place.path("rows.csv.partial")).unwrap();
    // A day of rows, so that it takes some time to write them.
    let line = "backtest log.jsonl --train-until 2026-01-17T00:00:00Z --out rows.csv";
    place.run(line).error(&["rows.csv", "cannot be written"]);
    assert_eq!(std::fs::read_to_string(place.path("rows.csv")).unwrap(), "of an earlier one\n");
    std::fs::remove_dir(place.path("rows.csv.partial")).unwrap();
    // It is killed by the system as soon as a file that it writes is larger than 256 KiB.
    let limited = format!("ulimit -c 0; ulimit -f 256; exec {} {line}", env!("CARGO_BIN_EXE_tidewatch"));
    let ended = Command::new("bash").args(["-c", &limited]).current_dir(place.path(".")).stderr(Stdio::null()).status().unwrap();
    assert_eq!(ended.signal(), Some(SIGXFSZ));
    assert!(place.path("rows.csv.partial").exists(), "it was killed while it wrote");
    assert_eq!(std::fs::read_to_string(place.path("rows.csv")).unwrap(), "of an earlier one\n");
    place.run(line).well();
    assert!(std::fs::read_to_string(place.path("rows.csv")).unwrap().starts_with("timestamp,entity,metric,value,"));
    assert!(!place.path("rows.csv.partial").exists());
}

/// Failed: an interrupt was not heard while rows were written; and models were pushed of which an error said that nothing was written.
#[test]
fn a_backtest_that_is_interrupted_while_it_writes_leaves_everything_as_it_was() {
    let place = logged();
    let line = "backtest log.jsonl --train-until 2026-01-17T00:00:00Z --out rows.csv --models embedded:m.db";
    // It may have ended before it hears of it, but not each time.
    let interrupted = (0..20).find(|_| {
        place.write("rows.csv", "of an earlier one\n");
        let _ = std::fs::remove_file(place.path("m.db"));
        let mut run = place.call(line).start();
        while std::fs::metadata(place.path("rows.csv.partial")).map_or(0, |file| file.len()) == 0 {
            if run.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        run.signal("INT");
        let outcome = run.finish();
        if outcome.code == Some(0) {
            return false;
        }
        outcome.error(&["interrupted; nothing was written"]);
        true
    });
    assert!(interrupted.is_some());
    assert_eq!(std::fs::read_to_string(place.path("rows.csv")).unwrap(), "of an earlier one\n");
    assert!(!place.path("rows.csv.partial").exists());
    let models = place.run("models list --models embedded:m.db").well();
    assert!(!models.stdout.contains("server:"), "{}", models.stdout);
}
