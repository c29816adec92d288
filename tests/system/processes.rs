//! Runs of several processes: they come to what one comes to, and end together when one of them does.

use crate::restart::{LOG, assert_accounted_for, chance, digest};
use crate::support::{Outcome, Place, Running};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// The exit code of a process that was left alone by another one.
const LEFT_ALONE: i32 = 75;

/// A host file with two free addresses.
fn hostfile(place: &Place) {
    let listeners: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let lines: String = listeners.iter().map(|listener| format!("{}\n", listener.local_addr().unwrap())).collect();
    place.write("hosts", lines);
}

/// Starts one of two processes.
fn start(place: &Place, line: &str, process: u8) -> Running {
    place.call(&format!("{line} -n 2 -p {process} --hostfile hosts")).start()
}

/// Starts process 1, then process 0, and waits for both; the digest that process 0 ends with.
pub fn together(place: &Place, line: &str) -> String {
    hostfile(place);
    let (second, first) = (start(place, line, 1), start(place, line, 0));
    let digest = first.finish().well().digest();
    let second = second.finish().well();
    assert!(!second.stdout.contains("digest: ") && !second.stderr.contains("trained"), "one process trains and sums up: {second:?}");
    digest
}

#[test]
fn two_processes_come_to_what_one_comes_to() {
    let place = Place::new();
    assert_eq!(together(&place, &format!("-w 2 {LOG} --speed max")), digest());
    assert_eq!(place.run("models list").well().stdout.lines().last(), Some("220 models, generation 1"));
}

/// Failed once: the one that came first had the address, the other one ended, and the first waited for it for ever.
#[test]
fn two_processes_of_one_configuration_share_its_address() {
    let place = Place::new();
    hostfile(&place);
    place.write("a.jsonl", r#"{"server_id":"a","timestamp":"2026-01-19T00:01:00Z","cpu":1}"#);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = |process: u8| {
        let line = format!("run --source file:a.jsonl --listen {free} -n 2 -p {process} --hostfile hosts");
        place.call(&line).env("TIDEWATCH_NO_PAGE", "0").start()
    };
    let mut second = start(1);
    assert!(second.says("listening at"), "{}", second.stderr());
    let first = start(0).finish().well();
    assert!(first.stderr.contains("another process of this run may have it"), "{}", first.stderr);
    second.finish().well();
}

#[test]
fn two_processes_share_two_files() {
    let place = Place::new();
    for (name, seed) in [("a.jsonl", 1), ("b.jsonl", 2)] {
        place
            .run(&format!("generate --to file:{name} --seed {seed} --backfill 2h --for 5m --speed max --start 2026-01-19T00:00:00Z"))
            .well();
    }
    let alone = place.run("run --source file:a.jsonl,b.jsonl --history embedded:alone.db").well();
    // Failed in one of six starts: SQLite waits for no lock where two processes set up one new file, and the first gave up.
    for round in 0..4 {
        let stores = format!("--history embedded:shared-{round}.db --models embedded:shared-{round}.db");
        assert_eq!(together(&place, &format!("run --source file:a.jsonl,b.jsonl {stores}")), alone.digest());
    }
}

/// Failed once: the one whose file cannot be gone on with ended in good order, and the other one waited for it for ever.
#[test]
fn both_processes_end_where_one_cannot_go_on() {
    let place = Place::new();
    let log = |from: u32| -> String {
        (from..from + 300).map(|i| format!("{{\"server_id\":\"a\",\"timestamp\":{},\"cpu\":50}}\n", 1_769_000_000 + 60 * i)).collect()
    };
    place.write("a.jsonl", log(0));
    place.write("b.jsonl", log(0).replace("\"a\"", "\"b\""));
    let line = "run --source file:a.jsonl,b.jsonl --history embedded:h.db --models embedded:h.db";
    together(&place, line);
    for (text, error) in
        [(log(300), "does not begin as it did"), (log(0)[..9000].to_owned(), "was cut or replaced"), (String::new(), "was cut or replaced")]
    {
        place.write("a.jsonl", text);
        hostfile(&place);
        let both = [start(&place, line, 0), start(&place, line, 1)];
        let outcomes = both.map(Running::finish);
        assert!(outcomes.iter().any(|outcome| outcome.stderr.contains(error)), "{error}: {outcomes:?}");
        assert!(outcomes.iter().all(|outcome| outcome.code != Some(0)), "{error}: {outcomes:?}");
    }
}

/// Two processes that watch the live part of a log.
fn two_that_watch(place: &Place, line: &str) -> [Running; 2] {
    hostfile(place);
    let mut both = [start(place, line, 0), start(place, line, 1)];
    for run in &mut both {
        assert!(run.says(" watching "), "{}", run.stderr());
    }
    // Something of the live part is stored: both are at work.
    let live = "SELECT count(*) FROM buckets WHERE bucket_start >= 1768829700000";
    let since = Instant::now();
    while place.count(live) == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}{}", both[0].stderr(), both[1].stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    both
}

/// A process that was left alone says so on one line, on standard error, and nothing on standard output but verdicts and incidents.
fn assert_left_alone(outcome: &Outcome, other: u8) {
    let error = outcome.error(&[&format!("process {other} of this run has ended"), "start all of them again"]);
    assert_eq!(outcome.code, Some(LEFT_ALONE), "{error}");
    let is_verdict = |line: &str| ["  z ", "missing", "  incident  "].iter().any(|what| line.contains(what));
    assert!(outcome.stdout.lines().all(is_verdict), "{}", outcome.stdout);
}

/// Failed once: the one that was left printed two panics and its line behind them, and timely's waiting on standard output.
#[test]
fn when_one_process_is_killed_the_other_ends_soon_with_one_line() {
    for killed in [0, 1] {
        let place = Place::new();
        let line = format!("{LOG} --speed 600");
        let [first, second] = two_that_watch(&place, &line);
        let (mut victim, left) = if killed == 0 { (first, second) } else { (second, first) };
        victim.kill();
        let since = Instant::now();
        assert_left_alone(&left.finish(), killed);
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    }
}

/// Failed once: the process that had lost the right to commit waited for the other one, and that one for it.
#[test]
fn an_error_in_one_process_ends_the_run_in_all() {
    let place = Place::new();
    let [first, second] = two_that_watch(&place, &format!("{LOG} --speed 600"));
    place.database().execute("UPDATE sources SET writer = 'somebody else'", []).unwrap();
    let first = first.finish();
    first.error(&["taken over"]);
    assert_eq!(first.code, Some(1));
    assert_left_alone(&second.finish(), 0);
}

#[test]
fn two_processes_that_are_killed_in_turn_come_to_the_same() {
    let place = Place::new();
    let line = format!("{LOG} --speed 600 --commit-interval 50ms");
    hostfile(&place);
    let mut both = [start(&place, &line, 0), start(&place, &line, 1)];
    let (mut story, mut left_alone) = (Vec::new(), 0);
    let stages =
        [("backfilling", 300), ("backfilling", 1500), (" watching ", 200), (" watching ", 1500), (" watching ", 800), (" watching ", 1500)];
    for (round, (stage, within)) in stages.into_iter().enumerate() {
        let reached = both[round % 2].says(stage);
        let pause = Duration::from_millis(within).mul_f64(chance());
        std::thread::sleep(pause);
        both[round % 2].kill();
        // As a supervisor would: what has ended is started again. One that was still waiting for the killed one goes on waiting.
        let other = &mut both[1 - round % 2];
        let since = Instant::now();
        while !other.has_ended() && since.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        story.push(format!("killed {} {pause:?} after '{stage}' ({reached}); the other said {}", round % 2, other.stderr()));
        for (process, run) in (0..).zip(&mut both) {
            if run.has_ended() {
                let outcome = std::mem::replace(run, start(&place, &line, process)).finish();
                left_alone += usize::from(outcome.code == Some(LEFT_ALONE));
                assert!([None, Some(LEFT_ALONE), Some(0)].contains(&outcome.code), "{outcome:?} {story:#?}");
            }
        }
    }
    both.iter_mut().for_each(Running::kill);
    assert!(left_alone >= 3, "{left_alone} processes were left alone; {story:#?}");
    assert_eq!(together(&place, &format!("{LOG} --speed max")), digest(), "{story:#?}");
    assert_accounted_for(&place, &story);
}

#[test]
fn a_process_that_waits_for_the_others_says_nothing_on_standard_output_and_can_be_stopped() {
    for process in [0, 1] {
        let place = Place::new();
        place.write("a.jsonl", "");
        place.run("migrate").well();
        hostfile(&place);
        let mut run = start(&place, "run --source file:a.jsonl", process);
        assert!(run.says("waiting for it"), "{}", run.stderr());
        run.signal("TERM");
        let outcome = run.finish().well();
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn processes_with_different_flags_do_not_become_one_run() {
    let place = Place::new();
    place.write("a.jsonl", "");
    hostfile(&place);
    let mut first = start(&place, "run --source file:a.jsonl", 0);
    start(&place, "run --source file:a.jsonl --lateness 2h", 1).finish().error(&["process 0", "other flags"]);
    assert!(first.says("was sent away"), "{}", first.stderr());
    first.signal("TERM");
    first.finish().well();
}

#[test]
fn processes_that_would_each_simulate_a_log_of_their_own_are_refused() {
    let started = Instant::now();
    Place::new().run("-n 2 -p 0").error(&["2 processes", "--start TIME"]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Failed once: a process that does not commit knows of no watermark, and told everybody that it stood still.
#[test]
fn only_the_process_that_commits_says_that_the_watermark_stands() {
    let place = Place::new();
    let [first, second] = two_that_watch(&place, &format!("{LOG} --speed 60 --stalled-after 2s --alert ops=webhook:http://127.0.0.1:9/"));
    // Ten more seconds, in which the first process has moved the watermark.
    assert!(place.comes_to_hold("SELECT count(DISTINCT bucket_start) >= 3 FROM buckets WHERE bucket_start >= 1768829700000"));
    for run in [&first, &second] {
        run.signal("INT");
    }
    first.finish();
    let outcome = second.finish();
    assert!(!outcome.stderr.contains("nothing newer arrives"), "{}", outcome.stderr);
}
