//! The files of an `embedded:` store, whether they are there yet or not.

use std::path::{Path, PathBuf};

/// What SQLite keeps beside a file, with a log or, of another program's making, a journal.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The file whose lock stands for the right to commit to a history, the same by whatever link it is opened.
pub fn lock(path: &str) -> PathBuf {
    itself(path).with_added_extension("lock")
}

/// All files of the store that a URL names; none for one that keeps no file of ours.
pub fn files(url: &str) -> Vec<PathBuf> {
    let Some(path) = url.strip_prefix("embedded:").filter(|path| *path != ":memory:") else { return Vec::new() };
    let itself = itself(path);
    let beside = BESIDE.map(|ending| with_ending(&itself, ending));
    [itself, lock(path)].into_iter().chain(beside).collect()
}

/// SQLite goes by what a link leads to.
fn itself(path: &str) -> PathBuf {
    Path::new(path).canonicalize().unwrap_or_else(|_| path.into())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Failed once: the lock lay beside the link, so that two runs by two names would each have had one.
    #[test]
    fn a_link_to_a_store_has_the_files_of_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = (folder.path().join("a.db"), folder.path().join("link.db"));
        std::fs::write(&store, "").unwrap();
        std::os::unix::fs::symlink(&store, &link).unwrap();
        let files = files(&format!("embedded:{}", link.display()));
        let expected =
            ["a.db", "a.db-journal", "a.db-shm", "a.db-wal", "a.db.lock"].map(|name| folder.path().canonicalize().unwrap().join(name));
        assert_eq!(files.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
        assert_eq!((super::files("embedded::memory:"), super::files("postgres://a/b")), (Vec::new(), Vec::new()));
    }
}
