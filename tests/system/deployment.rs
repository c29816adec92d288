//! The unit that a supervisor starts: systemd takes it, and the binary takes its flags.

use crate::support::Place;
use std::process::Command;

const UNIT: &str = include_str!("../../deploy/systemd/tidewatch@.service");
const ENVIRONMENT: &str = include_str!("../../deploy/systemd/tidewatch.env");

/// What follows a key in the unit.
fn value(key: &str) -> &'static str {
    let lines: Vec<&str> = UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    let [value] = lines[..] else { panic!("{key} stands in the unit {} times", lines.len()) };
    value
}

#[test]
fn the_unit_starts_the_binary_with_flags_that_it_knows() {
    let flags = value("ExecStart").strip_prefix("/usr/local/bin/tidewatch ").unwrap().replace("%i", "0");
    // A log that ends stands for the one of the environment file: all else is as the unit has it.
    let place = Place::new();
    place.write("log.jsonl", "");
    let mut call = place.call(&flags);
    let mut names = Vec::new();
    for line in ENVIRONMENT.lines().filter(|line| line.starts_with("TIDEWATCH_")) {
        let (name, value) = line.split_once('=').unwrap();
        names.push(name);
        let value = match name {
            "TIDEWATCH_SOURCE" => "file:log.jsonl",
            "TIDEWATCH_HISTORY" | "TIDEWATCH_MODELS" => "embedded:run.db",
            _ => value,
        };
        call = call.env(name, value);
    }
    call.finish().well().digest();
    assert!(["TIDEWATCH_SOURCE", "TIDEWATCH_THREADS", "TIDEWATCH_PROCESSES"].iter().all(|name| names.contains(name)), "{names:?}");
    assert_eq!(value("Restart"), "always", "whoever is left alone ends, and is started again");
    assert_eq!(value("RestartPreventExitStatus"), "2");
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidewatch@.service");
    // It looks whether the program and the environment are there.
    let text = UNIT.replace("/usr/local/bin/tidewatch", env!("CARGO_BIN_EXE_tidewatch"));
    std::fs::write(&path, text).unwrap();
    let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output() else {
        eprintln!("skipped: systemd-analyze is not there (Debian: the package systemd)");
        return;
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tidewatch@")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
