//! The README and what it leads to say nothing that is not there: links, commands, flags, scripts.

use crate::support::Place;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and all of `docs`, by path.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = std::iter::once(root().join("README.md")).chain(docs).collect();
    assert!(found.len() > 5, "{found:?}");
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of a document that stand outside its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchors of the headings of a document, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let kept = |letter: char| (letter.is_alphanumeric() || "-_ ".contains(letter)).then_some(if letter == ' ' { '-' } else { letter });
    let heading = |line: &str| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_lowercase());
    prose(text).filter_map(heading).map(|title| title.chars().filter_map(kept).collect()).collect()
}

/// The words of a text that begin with `start` and go on with letters, digits, hyphens, underscores and `others`. What is left open, as in `…` or `*`, names
/// nothing.
fn words(text: &str, start: &str, others: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter) || others.contains(letter);
    let word = |(place, _): (usize, &str)| {
        let is_begun = text[..place].ends_with(|before: char| before.is_ascii_alphanumeric() || "-/_.".contains(before));
        let rest = &text[place + start.len()..];
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let is_word =
            !is_begun && rest.starts_with(|first: char| first.is_ascii_alphanumeric()) && !rest[end..].starts_with(['*', '…', '{', '$']);
        is_word.then(|| format!("{start}{}", rest[..end].trim_end_matches(['.', '/'])))
    };
    text.match_indices(start).filter_map(word).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut count = 0;
    for (path, text) in documents() {
        for link in prose(&text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{} links to {link}", path.display());
            if let Some(anchor) = anchor {
                assert!(anchors(&fs::read_to_string(&target).unwrap()).contains(anchor), "{} links to {link}", path.display());
            }
        }
    }
    assert!(count > 20, "{count} links");
}

#[test]
fn every_file_that_is_named_is_there() {
    let mut count = 0;
    for (path, text) in documents() {
        for start in ["benches/", "scripts/", "src/", "tests/", "deploy/", "notebooks/", "dataflows/", "migrations/", "grafana/", "fuzz/"] {
            // The folder of what a fuzzer finds is made by whoever calls it.
            for name in words(&text, start, "/.@").iter().filter(|name| *name != "fuzz/corpus/decode") {
                assert!(root().join(name).exists(), "{} names {name}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count} names");
}

#[test]
fn every_flag_is_described_and_none_that_is_not_there() {
    let place = Place::new();
    let described = words(&fs::read_to_string(root().join("docs/commands.md")).unwrap(), "--", "");
    let below =
        ["models list", "models show", "models rollback", "alert test", "alert list", "silence add", "silence list", "silence remove"];
    let mut flags = BTreeSet::new();
    let commands = place.commands();
    for command in commands.iter().map(String::as_str).chain(below).filter(|command| *command != "help") {
        // The flag of a paragraph's head: `  -w, --threads <N>`.
        let help = place.run(&format!("{command} --help")).well().stdout;
        let heads = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        flags.extend(heads.flat_map(|line| words(line.split('<').next().unwrap_or_default(), "--", "")));
    }
    flags.remove("--help");
    flags.remove("--version");
    let missing: Vec<_> = flags.difference(&described).collect();
    assert!(missing.is_empty(), "docs/commands.md says nothing of {missing:?}");
    let invented: Vec<_> = described.difference(&flags).filter(|flag| *flag != "--help").collect();
    assert!(invented.is_empty(), "docs/commands.md tells of {invented:?}");
}
