//! The notebooks as they lie in the repository: without outputs, and with every version said.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("notebooks")
}

/// The notebooks by name, with their cells.
fn notebooks() -> Vec<(String, Vec<Value>)> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let notebooks = files.filter(|path| path.extension().is_some_and(|extension| extension == "ipynb"));
    let read = |path: PathBuf| {
        let book: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), book["cells"].as_array().unwrap().clone())
    };
    notebooks.map(read).collect()
}

fn text(cell: &Value) -> String {
    cell["source"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

#[test]
fn notebooks_are_kept_without_their_outputs() {
    let notebooks = notebooks();
    assert_eq!(notebooks.len(), 3);
    for (name, cells) in notebooks {
        for (number, cell) in cells.iter().enumerate().filter(|(_, cell)| cell["cell_type"] == "code") {
            let is_bare = cell["outputs"].as_array().is_some_and(Vec::is_empty) && cell["execution_count"].is_null();
            assert!(is_bare, "cell {number} of {name} holds outputs: run nbconvert --clear-output --inplace, see docs/development.md");
        }
    }
}

#[test]
fn every_question_of_a_notebook_begins_with_a_sentence_and_ends_with_one() {
    for (name, cells) in notebooks() {
        assert!(text(&cells[0]).starts_with("# "), "{name} has no title");
        for heading in 0..cells.len() {
            if cells[heading]["cell_type"] != "markdown" || text(&cells[heading]).starts_with("## The decision") {
                continue;
            }
            let question = text(&cells[heading]);
            assert!(question.trim_end().lines().count() > 1, "{name}: no sentence follows '{question}'");
            let answer = cells[heading + 1..].iter().take_while(|cell| cell["cell_type"] == "code").last();
            assert!(answer.is_some_and(|cell| text(cell).contains("say(")), "{name}: no sentence answers '{question}'");
        }
    }
}

#[test]
fn what_the_notebooks_need_is_pinned() {
    let lines = |name: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(folder().join(name)).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '-']));
        lines.map(|line| line.replace("[binary]", "")).collect()
    };
    let (asked, pinned) = (lines("requirements.txt"), lines("constraints.txt"));
    assert!(pinned.iter().all(|line| line.contains("==")), "{pinned:?}");
    let loose: Vec<&String> = asked.difference(&pinned).collect();
    assert!(asked.len() > 3 && loose.is_empty(), "{loose:?} is not in constraints.txt");
}
