//! One file per command: each opens what it was told to open and joins it.

pub mod alert;
pub mod backtest;
pub mod check;
pub mod dead_letters;
mod destination;
pub mod digest;
mod due;
pub mod explain;
mod glimpse;
mod in_short;
pub mod incidents;
mod measure;
pub mod models;
mod outcome;
mod rows;
pub mod run;
mod sheet;
pub mod silence;
pub mod simulation;
pub mod tune;

use crate::cli::StoreArgs;
use crate::{generate as generator, history, telemetry, train as trainer};
use anyhow::{Result, bail};
use std::io::Write;

/// `tidewatch train`.
///
/// # Errors
/// A store that cannot be reached, one that is not there where nobody waits for it, or a request that makes no sense.
pub fn train(arguments: &trainer::command::Args) -> Result<()> {
    let stop = telemetry::stop_flag()?;
    if arguments.every.is_none() {
        existing("--history", &arguments.history)?;
    }
    let open = |url: &str| {
        let mut history = history::open(url)?;
        history.migrate()?;
        Ok(history)
    };
    trainer::command::run(arguments, &open, &mut std::io::stdout().lock(), &stop)
}

/// `tidewatch generate`.
///
/// # Errors
/// An unknown preset, or a place that cannot be written.
pub fn generate(arguments: &generator::Args) -> Result<()> {
    let stop = telemetry::stop_flag()?;
    let report = generator::generate(arguments, &stop)?;
    // Standard output may be the log itself.
    let _ = writeln!(std::io::stderr(), "{report}");
    Ok(())
}

/// `tidewatch migrate`.
///
/// # Errors
/// A history that cannot be reached or brought up to date.
pub fn migrate(arguments: &StoreArgs) -> Result<()> {
    let applied = history::open(&arguments.history)?.migrate()?;
    for name in &applied {
        say(&format!("applied {name}"));
    }
    if applied.is_empty() {
        say("the history is up to date");
    }
    Ok(())
}

/// A store to look into, as the flag `flag` names it. Looking makes no empty one where there is none.
///
/// # Errors
/// An embedded file that is not there.
pub(crate) fn existing<'a>(flag: &str, url: &'a str) -> Result<&'a str> {
    match url.strip_prefix("embedded:") {
        // That no path is given at all is said by who opens it.
        Some(path) if !["", ":memory:"].contains(&path) && !std::path::Path::new(path).exists() => {
            bail!("there is nothing at '{url}', which is {flag}: name another place, or let `tidewatch run` make it")
        }
        _ => Ok(url),
    }
}

/// Prints a line on standard output; a reader that went away is no error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
