//! What is wrong with a command line is said in one line that names the place and the fix.

use crate::incidents::trained;
use crate::support::Place;
use std::time::Duration;

/// A secret that must never be seen.
const SECRET: &str = "hunter2";

/// Runs each line in one place, in which everything a wrong line may name is there; what it says must name all parts.
fn refused(cases: &[(&str, &[&str])]) {
    let place = Place::new();
    place.write("letter.db", "Dear sir or madam, this is certainly no database. ".repeat(100));
    place.write("empty.csv", "");
    place.write("short-hosts", "localhost:2101\n\n");
    place.write("file", "");
    std::fs::create_dir(place.path("folder")).unwrap();
    place.run("migrate --history embedded:there.db").well();
    assert!(std::process::Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    for (line, parts) in cases {
        let outcome = place.run(line);
        outcome.error(parts);
        assert!(outcome.took < Duration::from_secs(15), "'{line}' took {:?}", outcome.took);
        assert!(!format!("{outcome:?}").replace(line, "").contains(SECRET), "'{line}' shows the password: {outcome:?}");
        assert!(!outcome.stdout.contains("digest"), "{outcome:?}");
        assert!(!outcome.stderr.contains("backfilling"), "'{line}' works before it refuses");
    }
}

#[test]
fn every_help_shows_an_example_that_can_be_parsed() {
    let place = Place::new();
    let names = place.commands();
    for name in std::iter::once("")
        .chain(names.iter().map(String::as_str))
        .chain("models list,models show,models rollback,silence add,silence list,silence remove".split(','))
        .filter(|name| *name != "help")
    {
        let help = place.run(&format!("{name} --help")).well().stdout;
        let Some(example) = help.split("Example: ").nth(1) else { panic!("'{name} --help' shows no example:\n{help}") };
        // Examples are wrapped; the first sentence of what follows belongs to none.
        let words: Vec<&str> = example.split("\nFlags can").next().unwrap().split('>').next().unwrap().split_whitespace().collect();
        assert_eq!(words[0], "tidewatch", "{example}");
        // With help asked for at its end, a line is parsed and nothing done; a flag that is not there comes first.
        place.run(&format!("{} --help", words[1..].join(" "))).well();
    }
}

#[test]
fn wrong_flags_and_values_are_refused_with_what_would_be_right() {
    refused(&[
        ("--bogus", &["--bogus", "tidewatch help"]),
        ("--histroy embedded:x.db", &["--histroy", "--history"]),
        ("frobnicate", &["frobnicate", "tidewatch help"]),
        ("expain a b c", &["expain", "explain"]),
        ("backtest", &["<INPUT>"]),
        ("backtest file", &["--train-until", "--models"]),
        ("explain srv-001 cpu yesterday", &["yesterday", "2026-01-24T12:34:56Z"]),
        ("--start tomorrow", &["tomorrow", "--start", "2026-01-24T12:34:56Z"]),
        ("digest --from 2026-13-01", &["2026-13-01", "--from"]),
        ("--for 2parsecs", &["2parsecs", "--for", "14d"]),
        ("--lateness -1h", &["-1"]),
        ("--bucket 0s", &["--bucket", "at least 1ms"]),
        ("train --every 0s", &["--every", "at least 1ms"]),
        ("--train-every 0s", &["--train-every", "at least 1ms"]),
        ("--speed fast", &["fast", "--speed", "max"]),
        ("--speed 0", &["--speed", "max"]),
        ("--threshold 0", &["--threshold", "above 0"]),
        ("--threshold -1", &["--threshold", "above 0"]),
        ("--seed x", &["--seed", "x"]),
        ("-w 0", &["--threads", "1..=512"]),
        ("-w four", &["four", "--threads"]),
        ("-n 0", &["--processes", "1..=512"]),
        ("-n 2 -p 5", &["-p 5", "2 processes", "from 0"]),
        ("-n 2 -p 0 --hostfile short-hosts", &["short-hosts", "1 processes", "2", "host:port"]),
        ("-n 2 -p 0 --hostfile nowhere", &["nowhere", "--hostfile", "No such file"]),
        ("completions klingon", &["klingon", "bash"]),
    ]);
}

#[test]
fn wrong_sources_are_refused_with_what_would_be_right() {
    refused(&[
        ("--source nonsense", &["nonsense", "simulate:PRESET, file:PATH or kafka://HOST:PORT/TOPIC"]),
        ("--source ftp://me:hunter2@host/x", &["ftp://me:***@host/x", "kafka://HOST:PORT/TOPIC"]),
        ("check --source ftp://me:hunter2@host/x", &["1 of 3"]),
        ("--source simulate:devv", &["simulate:devv", "dev, normal, chaos"]),
        ("--source simulate:dev --interval 1h", &["interval", "5m"]),
        ("--source file:nowhere.jsonl", &["nowhere.jsonl", "No such file", "check the path"]),
        ("--source file:file,nowhere.jsonl", &["nowhere.jsonl"]),
        ("--source file:folder", &["folder", "is a folder; name a file"]),
        ("--source file:pipe", &["pipe", "--source file:- <"]),
        ("backtest pipe --models embedded:m.db", &["pipe", "cannot be read again"]),
        ("--source file:empty.csv", &["empty.csv", "timestamp,entity,metric,value"]),
        ("--source file:nowhere.csv", &["nowhere.csv", "No such file"]),
        ("--source kafka://localhost:9092", &["kafka://HOST:PORT"]),
        ("--source kafka://127.0.0.1:1/x?sasl.passwort=hunter2", &["kafka://127.0.0.1:1/x?***", "sasl.passwort", "librdkafka"]),
        ("generate --to kafka://127.0.0.1:1/x?sasl.passwort=hunter2", &["sasl.passwort"]),
        ("generate --to nonsense", &["nonsense", "kafka://HOST:PORT/TOPIC, file:PATH or -"]),
        ("generate --to file:nowhere/x.jsonl --for 1s", &["nowhere/x.jsonl", "is there such a folder?"]),
        ("generate --preset devv", &["devv", "dev, normal, chaos"]),
        ("backtest file --train-until 2026-01-19T00:00:00Z", &["file", "is empty"]),
        ("backtest file --models embedded:m.db --history embedded:h.db", &["--history", "--train-until"]),
        ("backtest nowhere.csv --train-until 2026-01-19T00:00:00Z", &["nowhere.csv", "No such file"]),
    ]);
}

// Failed: the default models lie in a folder that only the default history made.
#[test]
fn a_history_elsewhere_needs_no_folder_for_the_models() {
    let place = Place::new();
    place.write("empty.jsonl", "");
    place.run("--source file:empty.jsonl --history embedded:elsewhere.db").well();
    let trained = place.run("train --history embedded:elsewhere.db --models embedded:a/b/models.db").well();
    assert!(trained.stdout.contains("holds no bucket yet") && trained.stdout.contains("tidewatch run"), "{trained:?}");
    assert!(place.path("a/b/models.db").is_file());
    // Failed: the default history of a run was asked which series drift.
    place.run("models list --models embedded:a/b/models.db").well();
}

// Failed: of a history that ended before the window it was only said that no series was trained.
#[test]
fn a_training_that_finds_nothing_says_where_history_ends() {
    let place = Place::new();
    place.write("old.jsonl", r#"{"server_id":"a","timestamp":"2025-01-19T00:01:00Z","cpu":1}"#);
    place.run("--source file:old.jsonl").well();
    let trained = place.run("train --until 2026-01-19T00:00:00Z").well().stdout;
    assert!(
        trained.contains("event time had come to 2025-01-19T00:05:00Z") && trained.contains("--until 2025-01-19T00:05:00Z"),
        "{trained}"
    );
    assert!(!place.run("train").well().stdout.contains("--until"), "it ends where history does");
    // Failed: what a detector that was away had still to read lay before every model.
    place.run("generate --to file:gone-on.jsonl --start 2025-01-19T00:00:00Z --backfill 2d --for 10m --speed max").well();
    place.run("run --source file:gone-on.jsonl --history embedded:on.db --models embedded:on.db").well();
    place.run("train --history embedded:on.db --models embedded:on.db").well();
    let listed = place.run("models list --history embedded:on.db --models embedded:on.db").well().stdout;
    assert!(listed.contains("2025-01-19T00:10:00Z"), "{listed}");
    // Failed: that a log's end would score the log.
    place.run("generate --to file:log.jsonl --start 2025-01-19T00:00:00Z --backfill 2d --for 10m --speed max").well();
    place.run("--source file:log.jsonl --history embedded:past.db --models embedded:past.db").well();
    let trained =
        place.run("train --history embedded:past.db --models embedded:past.db --until 2025-06-01T00:00:00Z --window 150d").well().stdout;
    assert!(trained.contains("models score only what begins at or after 2025-06-01T00:00:00Z"), "{trained}");
    assert!(trained.contains("an earlier time to score the log itself"), "{trained}");
    // Failed: a slip of the pen made an empty history.
    place.run("train --history embedded:typo.db").error(&["typo.db", "there is nothing"]);
    assert!(!place.path("typo.db").exists());
}

#[test]
fn a_source_without_records_is_a_run_without_verdicts() {
    let place = Place::new();
    place.write("empty.jsonl", "");
    assert!(place.run("--source file:empty.jsonl").well().digest().ends_with("(0 buckets, 0 episodes, 0 incidents)"));
}

#[test]
fn wrong_stores_are_refused_with_what_would_be_right() {
    refused(&[
        ("--history nonsense", &["nonsense", "embedded:PATH", "postgres://"]),
        ("--history mysql://me:hunter2@host/x", &["mysql", "postgres://"]),
        ("--history embedded:", &["embedded:PATH"]),
        ("--history embedded::memory:", &["--history", "look at it from elsewhere", "name a file"]),
        ("--history embedded:folder", &["folder", "name a file in it"]),
        ("--history embedded:letter.db", &["letter.db", "not a database", "choose another path"]),
        ("digest --history embedded:letter.db", &["letter.db", "not a database"]),
        ("digest --history embedded:new.db", &["new.db", "tidewatch run"]),
        ("--history embedded:file/below.db", &["file", "choose another path"]),
        ("--history embedded:/proc/nowhere/x.db", &["/proc/nowhere", "choose another path"]),
        ("--models nonsense", &["nonsense", "embedded:PATH", "redis://"]),
        ("--models mysql://me:hunter2@host/x", &["mysql", "redis://"]),
        ("--models embedded:", &["embedded:PATH"]),
        ("--models embedded:letter.db", &["letter.db", "SQLite"]),
        ("--models embedded:/proc/nowhere/x.db", &["/proc/nowhere", "choose another path"]),
        ("--models embedded:folder", &["folder", "SQLite"]),
        ("models show nonsense", &["nonsense", "entity_type:entity_id:metric"]),
        ("train --history embedded:there.db --models embedded:letter.db", &["letter.db", "SQLite"]),
    ]);
}

#[test]
fn services_that_are_not_there_are_named_soon_and_without_their_passwords() {
    let cases: [(&str, &[&str]); 8] = [
        ("--history postgres://me:hunter2@127.0.0.1:1/x", &["127.0.0.1:1", "server runs"]),
        ("--history postgres://127.0.0.1:1/x?password=hunter2", &["127.0.0.1:1"]),
        ("migrate --history postgres://me:hunter2@127.0.0.1:1/x", &["127.0.0.1:1"]),
        ("--models redis://me:hunter2@127.0.0.1:1", &["127.0.0.1:1", "is Redis running there"]),
        ("models list --models redis://:hunter2@127.0.0.1:1", &["127.0.0.1:1"]),
        ("train --history embedded:there.db --models rediss://me:hunter2@127.0.0.1:1", &["127.0.0.1:1"]),
        ("--source kafka://127.0.0.1:1/x?sasl.password=hunter2", &["127.0.0.1:1", "is Kafka running there"]),
        ("generate --to kafka://127.0.0.1:1/x?sasl.password=hunter2", &["127.0.0.1:1", "is Kafka running there"]),
    ];
    // Side by side, since Kafka's client waits for ten seconds.
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(|| refused(std::slice::from_ref(case)));
        }
    });
}

/// Failed once: a model that no run could read was all right.
#[test]
fn check_reads_the_models() {
    let place = trained();
    place
        .database()
        .execute(
            "UPDATE model_documents SET document = replace(document, '\"sigma\"', '\"sgma\"') WHERE key LIKE 'model:server:srv-03:%'",
            [],
        )
        .unwrap();
    let check = place.run("check");
    check.error(&["1 of 3"]);
    let models = check.stdout.lines().find(|line| line.contains(" models ")).unwrap();
    assert!(models.starts_with("failed") && models.contains("1 cannot be read") && models.contains("srv-03"), "{models}");
}

#[test]
fn check_names_each_part_that_fails() {
    let outcome = Place::new()
        .run("check --source file:nowhere --history postgres://me:hunter2@127.0.0.1:1/x --models redis://me:hunter2@127.0.0.1:1");
    outcome.error(&["3 of 3"]);
    let failed: Vec<&str> = outcome.stdout.lines().filter(|line| line.starts_with("failed  ")).collect();
    assert_eq!(failed.len(), 3, "{}", outcome.stdout);
    assert_eq!(failed[0].matches("No such file").count(), 1, "said once: {}", failed[0]);
    assert!(failed[0].contains("nowhere") && failed[1].contains("127.0.0.1:1") && failed[2].contains("127.0.0.1:1"), "{failed:?}");
    assert!(!format!("{:?}{:?}", outcome.stdout, outcome.stderr).contains(SECRET), "{outcome:?}");
}

#[test]
fn check_says_what_the_first_records_are_and_what_no_kind_fits() {
    let place = Place::new();
    let checked = |line: &str| place.run(&format!("check --source file:log.jsonl {line}"));
    let record =
        |host: usize| format!("{{\"host\":\"pump-{host}\",\"t\":\"2026-01-19T00:00:00Z\",\"site\":\"north\",\"flow\":{host}.5}}\n");
    place.write("log.jsonl", "");
    assert!(checked("").well().stdout.contains("ok      records  none there yet"));
    place.write("log.jsonl", (0..1200).map(record).collect::<String>() + "{\n");
    let strange = checked("");
    strange.error(&["1 of 4"]);
    let told = "failed  records  not one of the first 1000 is an event: 1000 unknown_kind, the first line 1: ";
    assert!(
        strange.stdout.contains(told) && strange.stdout.contains("says what its fields are: flow, host, site, t\n"),
        "{}",
        strange.stdout
    );
    place.write("log.jsonl", record(1).replace("2026-01-19", "2999-01-19"));
    let later = checked("");
    let server = "{\"server_id\":\"a\\u001b[31m\",\"timestamp\":1768780800,\"cpu\\u001b\":1}\n";
    place.write("log.jsonl", server.replace("1768780800", "1768780800000000"));
    assert!(later.stdout.contains("1 unknown_kind") && checked("").stdout.contains("1 future, the first line 1: "));
    place.write("log.jsonl", server);
    assert!(!checked("").well().stdout.contains('\u{1b}'), "what a log holds is not said to the terminal");
    assert!(checked("--record-bytes-max 20").stdout.contains("1 too_large"), "a run goes by the same limits");
    assert!(checked("--metric-threshold cpuu=4").well().stdout.contains("; no metric is called 'cpuu', which has limits of its own"));
    place.write("wrong.toml", "lateness = \"banana\"\n");
    checked("--config wrong.toml").error(&["configuration 'wrong.toml'", "invalid value 'banana' for '--lateness <DURATION>'"]);
    place.write("wrong.toml", "metric-type = [\"a=counter\", \"b=cuonter\"]\n");
    checked("--config wrong.toml").error(&["invalid value 'b=cuonter' for '--metric-type"]);
    let kind = "[kinds.pump]\nentity = \"host\"\ntime = \"t\"\nlabels = [\"site\", \"pit\"]\n";
    place.write("kinds.toml", kind);
    place.write("log.jsonl", record(1) + &record(2) + "{\n");
    let understood = checked("--config kinds.toml").well().stdout;
    let told = "warn    records  of the first 3, 2026-01-19T00:00:00Z to 2026-01-19T00:00:00Z: 2 events of kind pump (2 entities of type pump; \
                metrics flow; labels site; none has 'pit'); refused: 1 invalid_json, the first line 3: ";
    assert!(understood.contains(told), "{understood}");
}

/// Failed once: a training with the default width made models that the run could use none of, in place of those that it used.
#[test]
fn a_history_of_another_width_is_trained_and_tuned_by_its_own_alone() {
    let place = Place::new();
    place.run("generate --to file:log.jsonl --preset dev --start 2026-01-19T00:00:00Z --backfill 2d --for 2h --speed max").well();
    place.run("run --source file:log.jsonl --bucket 1h").well();
    for command in ["train", "train --every 60m", "tune --last 1d"] {
        place.run(command).error(&["buckets of 1h", "--bucket 1h"]);
    }
    place.run("train --bucket 1h").well();
    let told = place.run("explain srv-001 cpu_usage_percent 2026-01-19T01:30:00Z").well().stdout;
    assert!(told.contains("2026-01-19T01:00:00Z to 2026-01-19T02:00:00Z"), "{told}");
}

#[test]
fn an_input_that_cannot_be_meant_is_told_with_what_to_do() {
    let place = Place::new();
    let rows = |time: &str, mark: char| format!("timestamp,entity,metric,value\n{time},a,cpu,1\n").replace(',', &mark.to_string());
    place.write("parted.csv", rows("2026-01-19T00:00:00Z", ';'));
    place.write("packed.csv", b"\x1f\x8b\x08\x00rest");
    place.write("local.csv", rows("2026-01-19 00:00:00", ','));
    place.write("number.csv", rows("1768780800", ','));
    let backtest = |name: &str, until: &str| place.run(&format!("backtest {name} --train-until {until} --out out.csv"));
    backtest("parted.csv", "2026-01-19").error(&["semicolons"]);
    backtest("packed.csv", "2026-01-19").error(&["gzip"]);
    let local = backtest("local.csv", "2026-01-19");
    assert!(local.stderr.contains("no time zone: write 2026-01-19T00:00:00Z"), "{}", local.stderr);
    let number = backtest("number.csv", "2026-01-19");
    assert!(number.stderr.contains("'1768780800', which is a number: write it like"), "{}", number.stderr);
    place.write("late.csv", rows("2026-01-19T00:00:00Z", ','));
    backtest("late.csv", "2026-01-19").error(&["begins at 2026-01-19T00:00:00Z", "nothing to train on"]);
    place.run("incidents --from 2026-01-19T00:00:00").error(&["has no time zone", "2026-01-19T00:00:00Z"]);
}
