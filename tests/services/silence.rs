//! A broker that is away makes nobody missing.

use crate::support::{Process, relation, services, tidewatch};
use dataflows::State;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A broker of its own, since the others' must not stop with it.
struct Broker {
    folder: PathBuf,
    address: String,
}

impl Broker {
    fn start(folder: &Path) -> Self {
        let mut broker = Self { folder: folder.join("services"), address: String::new() };
        let exports = broker.services(&["start"]);
        let line = exports.lines().find_map(|line| line.strip_prefix("export TIDEWATCH_TEST_KAFKA=")).unwrap();
        broker.address = line.trim_matches('\'').to_owned();
        broker
    }

    fn services(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
        command.args(arguments).env("TIDEWATCH_SERVICES_DIR", &self.folder).env_remove("TIDEWATCH_TEST_KAFKA");
        // What has an address is not started.
        for name in ["TIDEWATCH_TEST_POSTGRES", "TIDEWATCH_TEST_REDIS"] {
            command.env(name, "elsewhere");
        }
        let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "scripts/services {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.services(&["stop"]);
    }
}

/// A minute of event time a second: the broker is away for at least ten minutes, longer than a partition may be idle.
#[test]
fn a_broker_that_is_away_for_ten_minutes_makes_nobody_missing() {
    if services().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path());
    let address = format!("kafka://{}/away", broker.address);
    let pinned = ["--seed", "7", "--start", "2026-01-19T00:00:00Z", "--backfill", "2h"];
    tidewatch(&[&["generate", "--to", &address, "--speed", "max", "--for", "0s"], pinned.as_slice()].concat());
    let history = format!("embedded:{}", folder.path().join("run.db").display());
    let start = |arguments: &[&str]| Process::start(arguments.iter().map(ToString::to_string).collect());
    let live = ["--speed", "60", "--for", "40m", "--seed", "7", "--start", "2026-01-19T00:00:00Z", "--backfill", "0s"];
    // The producer goes on, and delivers what it could not when the broker is back.
    let producer = start(&[&["generate", "--to", &address], live.as_slice()].concat());
    let mut run = start(&["run", "--source", &address, "--history", &history, "--models", &history, "-w", "2", "--idle-timeout", "2s"]);
    assert!(run.says(" watching "), "{}", run.said());
    std::thread::sleep(Duration::from_secs(12));
    broker.services(&["stop-one", "kafka"]);
    std::thread::sleep(Duration::from_secs(10));
    broker.services(&["start-one", "kafka"]);
    assert!(run.says("the source is back"), "{}", run.said());
    let (code, _, said) = producer.finish();
    assert_eq!(code, Some(0), "{said}");
    std::thread::sleep(Duration::from_secs(3));
    run.signal("INT");
    let (code, printed, said) = run.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the source is away"), "{said}");
    assert!(!printed.contains("  missing  ") && said.contains(" 0 missing"), "{printed}{said}");
    tidewatch(&["run", "--source", &address, "--history", &history, "--models", &history, "--until-end"]);
    let verdicts = relation(&history);
    assert!(verdicts.len() > 220 * (24 + 6), "{} buckets", verdicts.len());
    assert_eq!(verdicts.iter().filter(|verdict| verdict.state == State::Missing).count(), 0);
}
