//! The direction of dependencies, read from the source tree: arrows only point right.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder or the file itself, by their path from the top.
fn sources(below: &str) -> Vec<(String, String)> {
    fn collect(path: PathBuf, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            fs::read_dir(&path).unwrap().for_each(|entry| collect(entry.unwrap().path(), found));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    let mut found = Vec::new();
    collect(root().join(below), &mut found);
    assert!(!found.is_empty(), "{below} holds no Rust");
    let read = |path: PathBuf| (path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
    found.into_iter().map(read).collect()
}

/// The lines of code of a file with their numbers, without comments (and so without doc links).
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

/// Whether `path` stands in a line as the beginning of a path: `redis::` in `::redis::Client`, not in `crate::redis::` or `embedded_redis::`.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(place, _)| {
        let before = line[..place]
            .strip_suffix("::")
            .map_or(&line[..place], |rest| if rest.ends_with(|c: char| c.is_alphanumeric()) { "x" } else { "" });
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

/// Places below `below` that name `path` in code, but for those in `allowed`.
fn strangers(below: &str, path: &str, allowed: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for (file, text) in sources(below) {
        if !allowed.iter().any(|folder| file.starts_with(folder)) {
            places.extend(
                code(&text).filter(|(_, line)| names(line, path)).map(|(number, line)| format!("{file}:{number}: {}", line.trim())),
            );
        }
    }
    places
}

#[test]
fn the_graphs_depend_on_nothing_but_the_allow_list() {
    let text = fs::read_to_string(root().join("dataflows/Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let keys = |name: &str| manifest[name].as_table().unwrap().keys().cloned().collect::<Vec<_>>();
    let allowed = ["abomonation", "abomonation_derive", "bytemuck", "differential-dataflow", "serde", "timely"];
    assert_eq!(keys("dependencies"), allowed);
    assert!(!manifest.contains_key("build-dependencies") && !manifest.contains_key("target"), "no way around the list");
    for name in keys("package") {
        assert_ne!(name, "build", "no build script");
    }
    assert_eq!(strangers("dataflows", "tidewatch", &[]), Vec::<String>::new());
}

#[test]
fn folders_that_meet_in_run_and_train_do_not_know_one_another() {
    let folders = ["source", "history", "models", "notify"];
    for from in folders.iter().filter(|folder| root().join("src").join(folder).is_dir()) {
        for to in folders.iter().chain(&["run", "commands", "cli", "console", "generate", "serve", "train"]).filter(|to| *to != from) {
            assert_eq!(strangers(&format!("src/{from}"), &format!("crate::{to}"), &[]), Vec::<String>::new(), "{from} knows {to}");
        }
        // `use crate::{history, …}` would say the same in other words.
        assert_eq!(strangers(&format!("src/{from}"), "crate::{", &[]), Vec::<String>::new(), "write one path a line in src/{from}");
    }
    assert_eq!(strangers("src/run", "crate::commands", &[]), Vec::<String>::new(), "run knows the commands");
    assert_eq!(strangers("src/run", "crate::serve", &[]), Vec::<String>::new(), "run knows who asks it");
}

#[test]
fn a_client_library_is_named_in_one_place() {
    let homes: [(&str, &[&str]); 16] = [
        ("axum", &["src/serve/"]),
        ("tokio", &["src/serve/"]),
        ("futures_util", &["src/serve/"]),
        ("plotly", &["src/serve/page.rs"]),
        ("rdkafka", &["src/source/kafka"]),
        ("postgres", &["src/history/postgres/", "src/history/migration.rs"]),
        ("postgres_openssl", &["src/history/postgres/"]),
        ("openssl", &["src/history/postgres/"]),
        ("rusqlite", &["src/history/embedded/", "src/models/embedded.rs"]),
        ("refinery", &["src/history/"]),
        ("redis", &["src/models/redis.rs"]),
        ("ureq", &["src/notify/http.rs"]),
        ("lettre", &["src/notify/email.rs"]),
        ("hmac", &["src/notify/webhook.rs"]),
        ("sha2", &["src/notify/webhook.rs", "src/source/file.rs"]),
        ("polars", &["src/train/"]),
    ];
    for (library, home) in homes {
        let mut found = strangers("src", &format!("{library}::"), home);
        // A module of ours may have the name of a library: `mod redis;` and what it holds.
        found.retain(|place| !place.contains("Box::new(redis::Redis::open") && !place.contains("Box::new(postgres::Postgres::open"));
        assert_eq!(found, Vec::<String>::new(), "{library} belongs in {home:?}");
        let named: BTreeSet<String> = strangers("src", &format!("{library}::"), &[]).into_iter().collect();
        assert!(!named.is_empty(), "{library} is named nowhere: this test looks for something else");
    }
}

#[test]
fn stl_is_a_module_that_knows_nothing_of_the_rest() {
    for path in ["crate::", "dataflows::", "polars::"] {
        assert_eq!(strangers("src/stl", path, &[]), Vec::<String>::new());
    }
    assert_eq!(
        strangers("src", "stlrs::", &["src/stl/tests.rs", "src/train/decompose.rs"]),
        Vec::<String>::new(),
        "only tests compare with it"
    );
}

#[test]
fn capabilities_and_frontiers_are_touched_in_the_operators_and_the_worker_loop_alone() {
    let allowed = ["dataflows/src/operators/", "src/run/worker.rs", "src/run/ends.rs"];
    for word in ["Capability", "InputCapability", "frontier()", "with_frontier"] {
        for below in ["src", "dataflows/src"] {
            let mut found = Vec::new();
            for (file, text) in sources(below).iter().filter(|(file, _)| !allowed.iter().any(|place| file.starts_with(place))) {
                found.extend(code(text).filter(|(_, line)| line.contains(word)).map(|(number, _)| format!("{file}:{number}")));
            }
            assert_eq!(found, Vec::<String>::new(), "{word}");
        }
    }
}

#[test]
fn the_graphs_have_lints_against_clocks_files_threads_and_printing() {
    let text = fs::read_to_string(root().join("dataflows/clippy.toml")).unwrap();
    let lints: toml::Table = text.parse().unwrap();
    let paths: BTreeSet<&str> = ["disallowed-methods", "disallowed-types"]
        .iter()
        .flat_map(|list| lints[*list].as_array().unwrap())
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    for path in ["std::time::SystemTime::now", "std::time::Instant::now", "std::env::var", "std::fs::File::open", "std::thread::spawn"] {
        assert!(paths.contains(path), "{path}");
    }
    let head = fs::read_to_string(root().join("dataflows/src/lib.rs")).unwrap();
    for lint in ["disallowed_methods", "disallowed_types", "print_stdout", "print_stderr"] {
        assert!(head.contains(&format!("clippy::{lint}")), "{lint} is not denied");
    }
    for (file, text) in sources("dataflows/src") {
        assert!(!text.contains("allow(clippy::disallowed") && !text.contains("allow(clippy::print"), "{file} goes around a lint");
    }
}

#[test]
fn no_tracked_file_names_a_folder_of_the_machine_it_was_written_on() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else {
        eprintln!("skipped: this is no git checkout");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "a checkout is needed under CI=true");
        return;
    };
    // In two parts, so that this file does not name them itself.
    let homes = ["/ro", "/ho", "/Us"].into_iter().zip(["ot/", "me/", "ers/"]).map(|(one, other)| format!("{one}{other}"));
    let homes: Vec<String> = homes.collect();
    let mut found = Vec::new();
    for name in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        let Ok(bytes) = fs::read(root().join(name)) else { continue };
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            if homes.iter().any(|home| line.contains(home)) {
                found.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_search_for_a_library_tells_it_from_a_module() {
    for line in ["use redis::Client;", "use ::redis::Client;", "fn f(c: &redis::Client)", "(::redis::cmd)"] {
        assert!(names(line, "redis::"), "{line}");
    }
    for line in ["use crate::redis::Redis;", "embedded_redis::x", "super::redis::Redis", "redis"] {
        assert!(!names(line, "redis::"), "{line}");
    }
}
