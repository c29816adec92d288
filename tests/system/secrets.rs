//! Passwords are shown nowhere: not by a run that fails, not by `check`, and not where a URL or a file is wrong.

use crate::support::{Outcome, Place};

const PASSWORD: &str = "hunter2";

fn assert_hidden(outcome: &Outcome) {
    assert_ne!(outcome.code, Some(0));
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(outcome.stdout.contains("failed  ") || outcome.stderr.contains("error: "), "{said}");
}

#[test]
fn a_run_that_fails_and_a_check_show_no_password() {
    let place = Place::new();
    place.write("x.jsonl", "{\"server_id\":\"a\",\"timestamp\":1768780800,\"cpu\":1}\n");
    place.write("secret", format!("{PASSWORD}\n"));
    let histories = [
        "postgres://me:hunter2@127.0.0.1:1/x",
        "postgres://me@127.0.0.1:1/x?password_file=secret",
        "postgres://127.0.0.1:1/x?user=me&password=hunter2",
    ];
    let models = [
        "redis://me:hunter2@127.0.0.1:1",
        "rediss://me@127.0.0.1:1/3?password_file=secret",
        "redis://me:hunter2@127.0.0.1:1/3?protocol=resp3",
    ];
    let wrong = [
        "--history postgres://me:hunter2@host:port/x",
        "--history postgres://me:hunter2@127.0.0.1:1/x?sslmode=sometimes",
        "--history postgres://me:hunter2@127.0.0.1:1/x?colour=hunter2",
        "--history mysql://me:hunter2@127.0.0.1/x",
        "--history me:hunter2@127.0.0.1",
        "--models redis:me:hunter2@127.0.0.1",
        "--models redis://me:hunter2@127.0.0.1:port",
        "--models redis://me:hun?ter2:hunter2@127.0.0.1:1",
        "--models http://me:hunter2@127.0.0.1",
    ];
    let reached = histories.iter().map(|url| format!("--history {url}")).chain(models.iter().map(|url| format!("--models {url}")));
    for flags in reached.chain(wrong.map(str::to_owned)) {
        for command in ["run", "check"] {
            let call = place.call(&format!("{command} --source file:x.jsonl {flags}")).env("TIDEWATCH_LOG", "trace");
            assert_hidden(&call.env("TIDEWATCH_HISTORY_PASSWORD", PASSWORD).env("TIDEWATCH_MODELS_PASSWORD", PASSWORD).finish());
        }
    }
}

#[test]
fn a_source_that_is_away_or_misspelt_shows_no_password() {
    let place = Place::new();
    place.write("secret", format!("{PASSWORD}\n"));
    let scram = "security.protocol=sasl_plaintext&sasl.mechanism=SCRAM-SHA-512&sasl.username=me";
    let urls = [
        format!("kafka://127.0.0.1:1/x?{scram}&sasl.password={PASSWORD}"),
        format!("kafka://127.0.0.1:1/x?{scram}&password_file=secret"),
        format!("kafka://127.0.0.1:1/x?{scram}&sasl.pasword={PASSWORD}"),
        format!("kafka://me:{PASSWORD}@127.0.0.1:1/x"),
        format!("kafka:me:{PASSWORD}@127.0.0.1"),
    ];
    // Together: to find out that a broker is away takes ten seconds.
    let runs: Vec<_> = urls.iter().map(|url| place.call(&format!("check --source {url}")).env("TIDEWATCH_LOG", "trace").start()).collect();
    let more: Vec<_> = urls.iter().map(|url| place.call(&format!("run --source {url}")).env("TIDEWATCH_LOG", "trace").start()).collect();
    runs.into_iter().chain(more).for_each(|run| assert_hidden(&run.finish()));
}

#[test]
fn a_password_file_that_is_not_there_or_empty_is_named_with_who_names_it() {
    let place = Place::new();
    place.write("empty", "\n");
    let line = "check --history postgres://me@127.0.0.1:1/x";
    let said = |outcome: Outcome| outcome.stdout;
    let missing = said(place.call(line).env("TIDEWATCH_HISTORY_PASSWORD_FILE", "nowhere").finish());
    assert!(missing.contains("the password file nowhere, which TIDEWATCH_HISTORY_PASSWORD_FILE names: No such file"), "{missing}");
    let empty = said(place.run(&format!("{line}?password_file=empty")));
    assert!(empty.contains("the password file empty, which password_file names, is empty"), "{empty}");
    let misspelt = place.call(line).env("TIDEWATCH_HISTORY_PASSWORT", PASSWORD).finish();
    misspelt.error(&["did you mean TIDEWATCH_HISTORY_PASSWORD?"]);
}
