//! Flags, environment and a TOML file are layers of one configuration: a flag wins over `TIDEWATCH_…`, which wins over the file.
//!
//! The file holds the flags by their long names (`lateness = "2h"`), `[kinds.NAME]` and `[[alert]]` tables. Its keys become arguments in front
//! of those that were typed, so that there is one parser, one help and one set of checks for all layers.

use crate::alerts::{self, AlertTable};
use crate::cli;
use crate::kind::{KindTable, Kinds};
use crate::secret::Flag;
use anyhow::{Context, Result, anyhow, bail};
use clap::Command;
use clap::error::ErrorKind;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

/// Names alike by this share of their letters are one name, misspelt: one letter in seven.
const NEARLY: f64 = 0.85;

/// What the configuration file says in tables of its own.
#[derive(Default)]
pub struct Tables {
    /// How records are read.
    pub kinds: Kinds,
    /// Who is told of incidents.
    pub alerts: Vec<AlertTable>,
    /// The file itself.
    pub file: Option<PathBuf>,
}

/// The arguments with those of the configuration file among them, and its tables.
///
/// The file is named by `--config FILE` or `TIDEWATCH_CONFIG`; without either there is none.
///
/// # Errors
/// A file that cannot be read, is not TOML, or holds a key that no command knows; a variable that looks like a misspelt flag.
pub fn arguments(typed: &[OsString]) -> Result<(Vec<OsString>, Tables)> {
    check_environment()?;
    let (typed, path) = without_config(typed);
    let Some(path) = path.or_else(|| std::env::var_os("TIDEWATCH_CONFIG")) else { return Ok((typed, Tables::default())) };
    let place = path.to_string_lossy().into_owned();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("configuration '{place}', which --config or TIDEWATCH_CONFIG names, cannot be read"))?;
    let mut table: toml::Table = text.parse().map_err(|error| anyhow!("configuration '{place}' is not TOML: {}", told(&error, &text)))?;
    let kinds = match table.remove("kinds") {
        Some(value) => {
            let tables = BTreeMap::<String, KindTable>::deserialize(value).with_context(|| format!("configuration '{place}', kinds"))?;
            Kinds::with(tables).map_err(|problem| anyhow!("configuration '{place}', {problem}"))?
        }
        None => Kinds::default(),
    };
    let alerts = alert_tables(table.remove("alert"), &place)?;
    let top = cli::command();
    let chosen = typed.iter().skip(1).position(|argument| argument.to_str().is_some_and(|name| top.find_subcommand(name).is_some()));
    let command = chosen.map_or(&top, |place| top.find_subcommand(&typed[place + 1]).unwrap_or(&top));
    let mut arguments: Vec<OsString> = typed[..chosen.map_or(1, |place| place + 2)].to_vec();
    for (key, value) in &table {
        check_key(key, &top, &place)?;
        if std::env::var_os(cli::variable(key)).is_some() {
            continue;
        }
        if knows(command, key) {
            arguments.extend(argument(key, value, &place)?);
        } else if let Some(run) = top.find_subcommand("run").filter(|run| command.get_name() == "check" && knows(run, key)) {
            argument(key, value, &place)?.map_or(Ok(()), |argument| check_value(key, argument, run, &place))?;
        }
    }
    arguments.extend_from_slice(&typed[chosen.map_or(1, |place| place + 2)..]);
    Ok((arguments, Tables { kinds, alerts, file: Some(path.into()) }))
}

/// The `[[alert]]` tables. A defect is told by its key alone: the values may be secret.
fn alert_tables(value: Option<toml::Value>, place: &str) -> Result<Vec<AlertTable>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let tables = value.as_array().filter(|tables| tables.iter().all(toml::Value::is_table));
    let tables = tables.with_context(|| format!("configuration '{place}': write alert as [[alert]] tables, or use --alert"))?;
    let read = |table: &toml::Value| {
        let mut keys = table.as_table().into_iter().flat_map(toml::Table::keys);
        if let Some(key) = keys.find(|key| !alerts::KEYS.contains(&key.as_str())) {
            let nearest = alerts::KEYS.iter().max_by(|one, other| strsim::jaro(key, one).total_cmp(&strsim::jaro(key, other)));
            let hint = nearest.filter(|nearest| strsim::jaro(key, nearest) > 0.7).map(|nearest| format!("did you mean '{nearest}'?"));
            let hint = hint.unwrap_or_else(|| format!("there are {}", alerts::KEYS.join(", ")));
            bail!("configuration '{place}', alert: unknown key '{key}'; {hint}");
        }
        AlertTable::deserialize(table.clone()).map_err(|error| anyhow!("configuration '{place}', alert: {}", error.message()))
    };
    tables.iter().map(read).collect()
}

/// The defect and its line, without the picture that the parser draws.
fn told(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(0, |span| text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count());
    format!("line {}: {}", line + 1, error.message())
}

/// The arguments but for `--config FILE`, wherever it stands, and the file. A `--config` that names none is left for the parser to refuse.
fn without_config(typed: &[OsString]) -> (Vec<OsString>, Option<OsString>) {
    let (mut rest, mut path) = (Vec::new(), None);
    let mut arguments = typed.iter();
    while let Some(argument) = arguments.next() {
        let joined = argument.to_str().and_then(|argument| argument.strip_prefix("--config=")).map(OsString::from);
        match (joined, argument == "--config") {
            (Some(joined), _) => path = Some(joined),
            (None, true) if arguments.len() > 0 => path = arguments.next().cloned(),
            _ => rest.push(argument.clone()),
        }
    }
    (rest, path)
}

/// A variable that is nearly a flag's is a slip of the pen. Others by our prefix are left alone: orchestrators set such names by themselves.
fn check_environment() -> Result<()> {
    let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let ours: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("TIDEWATCH_")).collect();
    if ours.is_empty() {
        return Ok(());
    }
    let top = cli::command();
    let flags = std::iter::once(&top).chain(top.get_subcommands()).flat_map(Command::get_arguments).filter_map(clap::Arg::get_long);
    let secrets = Flag::ALL.into_iter().flat_map(|flag| [flag.variable().to_owned(), flag.file_variable()]);
    let variables = flags.map(cli::variable).chain(secrets);
    let known: BTreeSet<String> = variables.map(|variable| variable.replacen("TIDEWATCH_", "", 1)).collect();
    // A receiver's password has a variable that is called after it.
    let is_receivers = |name: &str| name.starts_with("ALERT_") && (name.ends_with("_PASSWORD") || name.ends_with("_PASSWORD_FILE"));
    for name in ours.into_iter().filter(|name| !known.contains(*name) && !is_receivers(name)) {
        let likeness = |flag: &String| strsim::normalized_damerau_levenshtein(name, flag);
        let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
        if let Some(nearest) = nearest.filter(|nearest| likeness(nearest) >= NEARLY) {
            bail!("environment: unknown variable TIDEWATCH_{name}; did you mean TIDEWATCH_{nearest}?");
        }
    }
    Ok(())
}

fn knows(command: &Command, key: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(key))
}

/// A key that no command knows is an error, with the nearest one that some command knows.
fn check_key(key: &str, top: &Command, place: &str) -> Result<()> {
    let commands = || std::iter::once(top).chain(top.get_subcommands());
    if commands().any(|command| knows(command, key)) {
        return Ok(());
    }
    let known = commands().flat_map(Command::get_arguments).filter_map(clap::Arg::get_long).chain(["kinds", "alert"]);
    let nearest = known.max_by(|one, other| strsim::jaro(key, one).total_cmp(&strsim::jaro(key, other)));
    match nearest.filter(|nearest| strsim::jaro(key, nearest) > 0.7) {
        Some(nearest) => bail!("configuration '{place}': unknown key '{key}'; did you mean '{nearest}'?"),
        None => bail!("configuration '{place}': unknown key '{key}'; the keys are the long flags that 'tidewatch help run' lists"),
    }
}

/// Whether a run takes the value of a key that the command at hand does not ask for.
fn check_value(key: &str, argument: OsString, run: &Command, place: &str) -> Result<()> {
    // That flag alone: what the environment says of others is another matter.
    let alone = Command::new("run").args(run.get_arguments().filter(|known| known.get_long() == Some(key)).cloned());
    match alone.try_get_matches_from(["tidewatch".into(), argument]) {
        Err(error) if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) => {
            let told = error.to_string();
            bail!("configuration '{place}': {}", told.lines().next().unwrap_or_default().trim_start_matches("error: "))
        }
        _ => Ok(()),
    }
}

fn argument(key: &str, value: &toml::Value, place: &str) -> Result<Option<OsString>> {
    match value {
        toml::Value::Boolean(true) => return Ok(Some(format!("--{key}").into())),
        toml::Value::Boolean(false) => return Ok(None),
        _ => {}
    }
    // A list is what stands between commas on the command line.
    let texts = value
        .as_array()
        .map_or_else(|| scalar(value), |items| items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|texts| texts.join(",")));
    match texts {
        Some(text) => Ok(Some(format!("--{key}={text}").into())),
        None => bail!("configuration '{place}': '{key}' must be a text, a number, a date, a list of these, or true"),
    }
}

/// A single value as it is typed.
fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Datetime(_) => Some(value.to_string()),
        _ => None,
    }
}
