//! A disk that is full: an error that says so, nothing half-written, and the same command goes on once there is room.

use crate::support::Place;
use std::process::{Command, Stdio};

/// What is held for a commit is bounded, so that the disk is filled by several of them: a fast machine would read more than it holds before the first.
const LINE: &str = "--source file:x.jsonl --history embedded:disk/history.db --models embedded:disk/history.db --commit-interval 20ms \
                    --in-flight-bytes-max 2000000";
/// The disk, and what of it is taken at first: room is left for the tables and a part of the log.
const DISK: &str = "160m";
const BALLAST: &str = "146m";
/// The exit code of a script that could not begin.
const UNABLE: i32 = 99;

/// Five hours of the simulator, which take more than that.
fn place() -> Place {
    let place = Place::new();
    let generate = "generate --to file:x.jsonl --preset dev --seed 7 --start 2026-01-19T00:00:00Z --backfill 0s --for 5h --speed max";
    place.run(generate).well();
    std::fs::create_dir(place.path("disk")).unwrap();
    place
}

fn undisturbed(place: &Place) -> String {
    place.run(&LINE.replace("disk/", "large/")).well().digest()
}

/// A script run in the place: its exit code, and what it printed.
fn script(place: &Place, before: &[&str], text: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).args(["-c", text]).current_dir(place.path(".")).stdin(Stdio::null()).env("TIDEWATCH_NO_PAGE", "1");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The copy of a history is whole, and holds something.
fn assert_sound(place: &Place, copy: &str) {
    let database = rusqlite::Connection::open(place.path(copy)).unwrap();
    let found = |query: &str| database.query_row(query, [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(found("PRAGMA integrity_check"), rusqlite::types::Value::Text("ok".into()));
    assert!(matches!(found("SELECT sum(next_offset) FROM progress"), rusqlite::types::Value::Integer(1..)), "nothing was committed before");
}

fn assert_told(stderr: &str, parts: &[&str]) {
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && parts.iter().all(|part| errors[0].contains(part)), "{parts:?} are not in:\n{stderr}");
}

/// A disk of its own needs a mount, which takes root or a kernel that lets users have namespaces.
#[test]
fn a_full_disk_ends_the_run_and_room_lets_it_go_on() {
    let place = place();
    let tidewatch = env!("CARGO_BIN_EXE_tidewatch");
    let text = format!(
        "mount -t tmpfs -o size={DISK} tmpfs disk && fallocate --length {BALLAST} disk/ballast || exit {UNABLE}
         timeout 100 {tidewatch} {LINE}; echo \"code $?\"; mkdir full; cp disk/history* full; rm disk/ballast
         timeout 100 {tidewatch} {LINE}"
    );
    let ways = [["unshare", "--mount", "sh"].as_slice(), &["unshare", "--mount", "--map-root-user", "sh"]];
    let mut outcomes = ways.iter().map(|before| script(&place, before, &text));
    let Some((code, stdout, stderr)) = outcomes.find(|outcome| outcome.0 != Some(UNABLE) && outcome.1.contains("code ")) else {
        return eprintln!("skipped: no disk can be mounted here, neither as root nor in a namespace of a user");
    };
    assert!(stdout.starts_with("code 1\n"), "{stdout}{stderr}");
    assert_told(&stderr, &["embedded:disk/history.db", "database or disk is full", "free some space", "start again"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert_sound(&place, "full/history.db");
    assert_eq!(stdout.lines().last().unwrap(), undisturbed(&place));
}

/// A quota of the shell is a full disk that anybody can have; the operating system calls it another error.
#[test]
fn a_file_that_may_not_grow_ends_the_run_and_room_lets_it_go_on() {
    let place = place();
    // In blocks of 512 bytes. The signal would end the process before it has seen the error.
    let text = format!("trap '' XFSZ; ulimit -f 28672; exec timeout 100 {} {LINE}", env!("CARGO_BIN_EXE_tidewatch"));
    let (code, stdout, stderr) = script(&place, &["sh"], &text);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert_told(&stderr, &["embedded:disk/history.db", "disk I/O error", "full or failing", "start again"]);
    std::fs::create_dir(place.path("full")).unwrap();
    for entry in std::fs::read_dir(place.path("disk")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, place.path("full").join(path.file_name().unwrap())).unwrap();
    }
    assert_sound(&place, "full/history.db");
    assert_eq!(place.run(LINE).well().digest(), undisturbed(&place));
}
