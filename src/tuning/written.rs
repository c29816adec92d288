//! A chosen policy in a configuration file, in the keys that `run` reads; what else the file says is left as it is, comments included.

use super::choice::{Choice, Tried};
use super::table::percent;
use dataflows::Direction;
use std::path::Path;
use toml_edit::{DocumentMut, Item, Value};

/// Why a policy cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be read or written.
    #[error("configuration '{path}', which --write names, cannot be written: {problem}")]
    File {
        /// The path.
        path: String,
        /// The system's word.
        problem: String,
    },
    /// What is in it is no configuration.
    #[error("configuration '{path}', which --write names, is not TOML: {problem}; mend it, or name another file")]
    Toml {
        /// The path.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl WriteError {
    fn file(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), problem: problem.to_string() }
    }
}

/// Makes sure, before minutes of work are done, that a policy can be written.
///
/// # Errors
/// See [`WriteError`].
pub fn check_writable(path: &Path) -> Result<(), WriteError> {
    read(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(WriteError::file(path, "there is no such folder"));
    }
    if path.exists() {
        std::fs::OpenOptions::new().append(true).open(path).map_err(|error| WriteError::file(path, error))?;
    }
    Ok(())
}

/// Writes a choice: `metric-threshold`, `minimum-deviation` and `open-after`. `general` is the least deviation of all metrics, as a share. The `directions` that
/// it was made with go with it, as `metric-direction`.
///
/// # Errors
/// See [`WriteError`].
pub fn write(path: &Path, choice: &Choice, tried: &Tried, general: f64, directions: &[(String, Direction)]) -> Result<(), WriteError> {
    let mut document = read(path)?;
    let chosen = || choice.by_metric.iter().map(|(metric, place)| (metric, tried[metric].0[*place]));
    let thresholds = chosen().map(|(metric, candidate)| format!("{metric}={}", candidate.threshold));
    let is_chosen = |entry: &str| entry.split_once('=').is_some_and(|(metric, _)| choice.by_metric.contains_key(metric.trim()));
    let others = |key: &str, is_replaced: &dyn Fn(&str) -> bool| -> Vec<String> {
        let text = document.get(key).and_then(Item::as_str).unwrap_or_default();
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty() && !is_replaced(entry)).map(str::to_owned).collect()
    };
    let thresholds: Vec<String> = others("metric-threshold", &is_chosen).into_iter().chain(thresholds).collect();
    let minima = chosen().filter(|(_, candidate)| (candidate.minimum - general).abs() > 1e-9);
    let minima = minima.map(|(metric, candidate)| format!("{metric}={}%", percent(candidate.minimum)));
    let is_share = |entry: &str| is_chosen(entry) && entry.ends_with('%');
    let minima: Vec<String> = others("minimum-deviation", &is_share).into_iter().chain(minima).collect();
    set(&mut document, "metric-threshold", &thresholds.join(","));
    set(&mut document, "minimum-deviation", &minima.join(","));
    if !directions.is_empty() {
        let directions: Vec<String> = directions.iter().map(|(metric, side)| format!("{metric}={}", side.as_str())).collect();
        set(&mut document, "metric-direction", &directions.join(","));
    }
    set(&mut document, "open-after", &format!("{}/{}", choice.open_after.0, choice.open_after.1));
    std::fs::write(path, document.to_string()).map_err(|error| WriteError::file(path, error))
}

/// The file, or an empty one where there is none.
fn read(path: &Path) -> Result<DocumentMut, WriteError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|error| WriteError::file(path, error))?,
    };
    let problem = |error: toml_edit::TomlError| WriteError::Toml { path: path.display().to_string(), problem: error.message().into() };
    text.parse().map_err(problem)
}

/// Sets a key, with the comment beside it left as it is; one without a value is removed.
fn set(document: &mut DocumentMut, key: &str, text: &str) {
    if text.is_empty() {
        document.remove(key);
        return;
    }
    let mut value = Value::from(text);
    match document.get_mut(key).and_then(Item::as_value_mut) {
        Some(known) => {
            *value.decor_mut() = known.decor().clone();
            *known = value;
        }
        None => document[key] = Item::Value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::Candidate;
    use super::super::trial::Trials;
    use super::*;

    fn written(before: &str, metric: &str, candidate: Candidate) -> String {
        written_with(before, metric, candidate, &[])
    }

    fn written_with(before: &str, metric: &str, candidate: Candidate, directions: &[(String, Direction)]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), before).unwrap();
        let tried = Tried::from([(metric.to_owned(), (vec![candidate], Trials::default()))]);
        let choice = Choice { open_after: candidate.open_after, by_metric: [(metric.to_owned(), 0)].into(), over: Vec::new() };
        write(file.path(), &choice, &tried, 0.0, directions).unwrap();
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn what_else_a_file_says_stays_with_its_comments() {
        let before = "# ours\nmetric-threshold = \"fan=6, cpu=9\" # loud\nminimum-deviation = \"cpu=2,cpu=1%,3%\"\n\n[kinds.pump]\nentity = \"station\"\n";
        let candidate = Candidate { threshold: 3.5, minimum: 0.05, open_after: (3, 5) };
        assert_eq!(
            written(before, "cpu", candidate),
            "# ours\nmetric-threshold = \"fan=6,cpu=3.5\" # loud\nminimum-deviation = \"cpu=2,3%,cpu=5%\"\nopen-after = \"3/5\"\n\n[kinds.pump]\nentity = \"station\"\n"
        );
    }

    #[test]
    fn the_directions_that_a_choice_was_made_with_go_with_it() {
        let candidate = Candidate { threshold: 3.5, minimum: 0.0, open_after: (2, 3) };
        let directions = [("free".to_owned(), Direction::Below), ("errors".to_owned(), Direction::Above)];
        let told = written_with("metric-direction = \"free=above\"\n", "free", candidate, &directions);
        assert_eq!(told, "metric-direction = \"free=below,errors=above\"\nmetric-threshold = \"free=3.5\"\nopen-after = \"2/3\"\n");
    }

    #[test]
    fn a_file_that_is_not_there_is_made_and_one_that_is_no_configuration_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let candidate = Candidate { threshold: 3.0, minimum: 0.0, open_after: (2, 3) };
        assert_eq!(written("", "cpu", candidate), "metric-threshold = \"cpu=3\"\nopen-after = \"2/3\"\n");
        let broken = folder.path().join("broken.toml");
        std::fs::write(&broken, "x = = 1").unwrap();
        assert!(check_writable(&broken).unwrap_err().to_string().contains("is not TOML"));
        for (path, problem) in [(folder.path().to_owned(), "directory"), (folder.path().join("no/where.toml"), "no such folder")] {
            let error = check_writable(&path).unwrap_err().to_string();
            assert!(error.contains("--write") && error.contains(problem), "{error}");
        }
        check_writable(&folder.path().join("new.toml")).unwrap();
        assert!(!folder.path().join("new.toml").exists(), "looking makes nothing");
    }
}
