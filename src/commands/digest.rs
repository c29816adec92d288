//! `tidewatch digest`: one line to compare two histories by.

use super::say;
use crate::cli::{EMBEDDED, time};
use crate::history::{self, History, incident};
use anyhow::Result;
use clap::Args;
use dataflows::{Digest, Time};

/// What to hash.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: tidewatch digest --history postgres://tidewatch@localhost/metrics --from 2026-01-19T00:00:00Z")]
pub struct DigestArgs {
    /// Where verdicts are kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    history: String,
    /// The first bucket [default: the oldest]
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Time>,
    /// The end, exclusive [default: none]
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Time>,
}

/// Prints the digest.
///
/// # Errors
/// A history that cannot be read.
pub fn digest(arguments: &DigestArgs) -> Result<()> {
    let mut history = history::open(super::existing("--history", &arguments.history)?)?;
    say(&format!("digest: {}", of(&mut *history, arguments.from, arguments.to)?));
    Ok(())
}

/// The order-independent hash of all final buckets, verdicts, episodes and incidents between two times.
///
/// # Errors
/// A history that cannot be read.
pub fn of(history: &mut dyn History, from: Option<Time>, to: Option<Time>) -> Result<Digest> {
    let mut digest = Digest::default();
    let (from, to) = (from.unwrap_or(Time::MIN), to.unwrap_or(Time::MAX));
    history.verdicts(from, to, &mut |verdict| digest.update(&verdict, 1))?;
    incident::digest(history, from, to, &mut digest)?;
    Ok(digest)
}
