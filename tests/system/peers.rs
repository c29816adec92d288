//! `benches/peers` on a tiny input: it runs whom it can, says whom it cannot, and does not compare what did other work.

use super::support::Place;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Peers that are a small download; `scripts/install` has them in the cache before the tests run.
const CHEAP: [&str; 3] = ["duckdb_batch", "polars_batch", "python_orjson"];

/// Runs the command of a copy of the folder `benches`, as `place` holds it, with the binary under test.
fn peers(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(place.path("peers"));
    command.args(arguments).env("TIDEWATCH", env!("CARGO_BIN_EXE_tidewatch")).output().unwrap()
}

/// A copy of the command and its folder, to be changed; `None`, said aloud, where the peers can neither be found in the cache nor installed.
fn copied() -> Option<Place> {
    let (place, benches) = (Place::new(), Path::new(env!("CARGO_MANIFEST_DIR")).join("benches"));
    fs::create_dir(place.path("peers.d")).unwrap();
    fs::copy(benches.join("peers"), place.path("peers")).unwrap();
    for file in fs::read_dir(benches.join("peers.d")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs::copy(&file, place.path("peers.d").join(file.file_name().unwrap())).unwrap();
    }
    let installed = peers(&place, &[&["20000"], &CHEAP[..], &["--install"]].concat());
    if installed.status.success() {
        return Some(place);
    }
    let reason = String::from_utf8_lossy(&installed.stderr).into_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    eprintln!("skipped: {reason}");
    None
}

/// Writes a file of `peers.d` with `from`, which must stand there, as `to`.
fn change(place: &Place, file: &str, from: &str, to: &str) {
    let path = place.path("peers.d").join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} does not say '{from}'");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn what_telegraf_writes_comes_to_the_same_buckets_as_in_plain_python() {
    // The peer is in the cache if the others are.
    if copied().is_none() {
        return;
    }
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/telegraf");
    let output = Command::new(bench).arg("1").env("TIDEWATCH", env!("CARGO_BIN_EXE_tidewatch")).output().unwrap();
    let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("14,400 events, 103,200 samples, "), "{said}{errors}");
    assert!(said.contains("all sums agree") && said.matches(" events a CPU-second").count() == 2, "{said}{errors}");
}

#[test]
fn peers_do_the_same_work_as_tidewatch() {
    let Some(place) = copied() else { return };
    let output = peers(&place, &[&["20000"], &CHEAP[..]].concat());
    let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    for name in [
        "**Tidewatch**, Parquet, no revision",
        "**Tidewatch**, Parquet",
        "**Tidewatch**, CSV, no revision",
        "**Tidewatch**, CSV",
        "**Tidewatch**, SQLite, no revision",
        "**Tidewatch**, SQLite",
        "DuckDB",
        "polars",
        "plain Python",
        "newlines",
    ] {
        let line = said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in {said}"));
        assert!(line.contains("| 20,000 |"), "{line}");
    }
    assert!(said.contains("all sums agree: rows 4,200, events x metrics 120,000,"), "{said}");
}

#[test]
fn a_peer_that_did_other_work_is_an_error_rather_than_a_line() {
    let Some(place) = copied() else { return };
    // Of a population rather than of a sample: one part in forty.
    change(&place, "duckdb_batch.py", "stddev_samp", "stddev_pop");
    let output = peers(&place, &["20000", "duckdb_batch"]);
    let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && !said.contains("| DuckDB"), "{said}");
    assert!(errors.contains("did other work than the others: stddevs "), "{errors}");
}

#[test]
fn a_peer_that_cannot_be_installed_is_said_to_be_missing() {
    let Some(place) = copied() else { return };
    change(&place, "python_orjson.py", "orjson==3.", "orjson==0.0.0.");
    let mut command = Command::new(place.path("peers"));
    // Without an index nothing is found, and nobody is asked.
    command.args(["20000", "python_orjson"]).env("TIDEWATCH", env!("CARGO_BIN_EXE_tidewatch")).env("PIP_NO_INDEX", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find(|line| line.contains("plain Python")).unwrap();
    assert!(line.contains("not installed: No matching distribution found for orjson==0.0.0."), "{line}");
}

#[test]
fn every_peer_says_what_it_is_and_pins_what_it_needs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers.d");
    let scripts =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "py"));
    for path in scripts {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("\"\"\""), "{} does not open with what it is", path.display());
        let Some((_, head)) = text.split_once("# dependencies = [") else { continue };
        let pins: Vec<&str> = head.split(']').next().unwrap().split(',').filter(|pin| !pin.is_empty()).collect();
        assert!(pins.iter().all(|pin| pin.contains("==")), "{}: {pins:?} is not pinned", path.display());
    }
}
