//! The notebooks, run from top to bottom on what a simulated datacenter left in each store.

use crate::support::{Database, tidewatch, variable};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NOTEBOOKS: [&str; 3] = ["01_anomalies.ipynb", "02_decompose.ipynb", "03_thresholds.ipynb"];
const SIMULATION: &str = "--seed 7 --start 2026-01-19T00:00:00Z --backfill 4d --for 12h --interval 60s --speed max";

/// The Python that has what the notebooks need; where it cannot be had the test is skipped aloud, or fails when `CI=true`.
fn python() -> Option<PathBuf> {
    let Output { status, stdout, stderr } = Command::new(top().join("scripts/python")).output().unwrap();
    if status.success() {
        return Some(PathBuf::from(String::from_utf8(stdout).unwrap().trim_end()));
    }
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no Python for the notebooks, and CI=true makes that a failure: {said}");
    eprintln!("skipped: no Python for the notebooks: {said}");
    None
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Simulates half a day into a history.
fn simulate(history: &str, models: &str) {
    let places = ["run", "--source", "simulate:dev", "--no-raw", "--history", history, "--models", models];
    tidewatch(&[&places, words(SIMULATION).as_slice()].concat());
}

/// A notebook with its outputs, as text.
fn run(python: &Path, notebook: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(python);
    command.args(["-m", "nbconvert", "--execute", "--to", "markdown", "--stdout"]).arg(top().join("notebooks").join(notebook));
    let Output { status, stdout, stderr } = command.envs(variables.iter().copied()).output().unwrap();
    assert!(status.success(), "{notebook} with {variables:?}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The number that stands between two texts, the only time that the first one does outside code.
fn number_between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let found = text.split(before).filter_map(|rest| rest.split_once(after).map(|parts| parts.0));
    let mut numbers = found.filter(|word| !word.is_empty() && word.chars().all(|letter| letter.is_ascii_digit()));
    numbers.next().unwrap_or_else(|| panic!("'{before}…{after}' does not stand in:\n{text}"))
}

#[test]
fn a_notebook_without_a_truth_says_how_to_make_it() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let history = format!("embedded:{}", file("run.db"));
    let places = ["run", "--source", "simulate:dev", "--no-raw", "--history", &history, "--models", &history];
    tidewatch(
        &[&places, words("--seed 7 --start 2026-01-19T00:00:00Z --backfill 1d --for 1h --interval 60s --speed max").as_slice()].concat(),
    );
    let mut command = Command::new(python);
    command.args(["-m", "nbconvert", "--execute", "--to", "markdown", "--stdout"]).arg(top().join("notebooks/03_thresholds.ipynb"));
    let outcome = command.env("TIDEWATCH_HISTORY", &history).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    let line = said.lines().rev().find_map(|line| line.split_once("this writes: tidewatch ")).unwrap_or_else(|| panic!("{said}")).1;
    let (flags, _) = line.split_once(" --truth ").unwrap();
    let written = |flags: &str, name: &str| {
        tidewatch(&[words(flags), vec!["--truth", &file(name)]].concat());
        std::fs::read_to_string(file(name)).unwrap()
    };
    let pinned = "generate --to - --preset dev --seed 7 --start 2026-01-19T00:00:00Z --for 1h --interval 60s --speed max";
    assert_eq!(written(flags, "said"), written(pinned, "pinned"), "{line}");
}

#[test]
fn the_notebooks_run_on_both_stores_and_say_the_same() {
    let Some(server) = variable("TIDEWATCH_TEST_POSTGRES", "the URL of a PostgreSQL server") else { return };
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let database = Database::create(&server, "notebooks");
    std::fs::create_dir(folder.path().join("tidewatch-data")).unwrap();
    let histories = [format!("embedded:{}", file("tidewatch-data/tidewatch.db")), database.url()];
    for (number, history) in histories.iter().enumerate() {
        simulate(history, &format!("embedded:{}", file(&format!("models{number}.db"))));
    }
    let truth = file("truth");
    tidewatch(&[&["generate", "--to", "-", "--preset", "dev", "--truth", &truth], words(SIMULATION).as_slice()].concat());
    // What a person labelled: here everything beyond five is an anomaly, so that the numbers are known.
    std::fs::write(file("labels.csv"), "timestamp,entity,metric,label\n2026-01-19T00:00:00Z,a,m,0\n2026-01-19T00:05:00Z,a,m,1\n").unwrap();
    std::fs::write(file("scores.csv"), "timestamp,entity,metric,z_score\n2026-01-19T00:00:00Z,a,m,0.5\n2026-01-19T00:05:00Z,a,m,-5.5\n")
        .unwrap();
    let (labels, scores) = (file("labels.csv"), file("scores.csv"));
    for notebook in NOTEBOOKS {
        let said = histories.each_ref().map(|history| {
            let variables = [
                ("TIDEWATCH_HISTORY", history.as_str()),
                ("TIDEWATCH_TRUTH", &truth),
                ("TIDEWATCH_ROW_LABELS", &labels),
                ("TIDEWATCH_SCORES", &scores),
            ];
            run(&python, notebook, &variables)
        });
        assert_eq!(said[0], said[1], "{notebook}");
        if notebook.starts_with("01") {
            let here = run(&python, notebook, &[("PWD", folder.path().to_str().unwrap())]);
            assert_eq!(said[0], here, "without a word it is the run of the folder where Jupyter is started");
            assert!(said[0].contains("as on average 0.51 days of each series were scored"), "{}", said[0]);
        }
        if notebook.starts_with("03") {
            let judged = number_between(&said[0], "false episodes per series and day, in ", " episodes");
            assert_eq!(
                judged,
                number_between(&said[0], "the history itself holds ", "."),
                "the notebook judges by another rule than the detector"
            );
            assert!(judged != "0" && said[0].contains("On 1 labelled events: at 3 100.0 % are found with 0.0 false runs"), "{}", said[0]);
        }
    }
}
