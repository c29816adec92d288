//! The benches that need services, on a tiny input: that they work, not what they say.

use crate::support::{redis_database, services};
use std::path::Path;
use std::process::Command;

/// What a bench prints beside the services of the tests, with the binary under test; `None` where there are no services.
fn bench(name: &str, arguments: &[&str]) -> Option<String> {
    let services = services()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name);
    let mut command = Command::new(path);
    command.args(arguments).env("TIDEWATCH", env!("CARGO_BIN_EXE_tidewatch"));
    command.env("TIDEWATCH_TEST_REDIS", redis_database(&services.redis));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "benches/{name} {arguments:?}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

/// The line that begins with some words.
fn line<'a>(said: &'a str, words: &str) -> &'a str {
    said.lines().find(|line| line.trim_start().starts_with(words)).unwrap_or_else(|| panic!("no line '{words}' in\n{said}"))
}

#[test]
fn training_is_measured_from_both_histories_by_both_methods() {
    let Some(said) = bench("training", &["12"]) else { return };
    for store in ["SQLite", "PostgreSQL"] {
        for method in ["seasonal_level", "stl_zscore"] {
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let found =
                said.lines().map(words).any(|words| words.starts_with(&["12", "series", store, "->", "Redis", method].map(str::to_owned)));
            assert!(found, "{store} by {method} is missing in\n{said}");
        }
    }
    assert!(line(&said, "12 series  statsmodels' STL").ends_with("reckoned from 12 series"), "{said}");
}

#[test]
fn rows_are_measured_beside_a_bare_copy_of_as_many() {
    let Some(said) = bench("copy", &["1m", "1h"]) else { return };
    for (bare, ours, rows) in
        [("raw rows: bare COPY", "raw rows: Kafka", " 4,080 rows"), ("buckets: bare COPY", "buckets: Kafka", " 20,000 rows")]
    {
        assert!(line(&said, bare).contains(rows) && line(&said, ours).contains(rows), "{said}");
        assert!(line(&said, ours).contains("of the bare by wall"), "{said}");
    }
}

#[test]
fn latency_is_measured_of_every_anomaly() {
    let Some(said) = bench("latency", &["2000", "3"]) else { return };
    assert!(said.contains(" anomalies, 0 never seen: median "), "{said}");
}

#[test]
fn reading_from_a_broker_is_measured_for_both_codecs() {
    let Some(said) = bench("kafka", &["1m"]) else { return };
    assert!(line(&said, "lz4").contains(" 4080 events ") && line(&said, "zstd").contains(" 4080 events "), "{said}");
}
