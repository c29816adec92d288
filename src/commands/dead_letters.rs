//! `tidewatch dead-letters`: what was refused, how often and why, and the newest of it to read.

use super::say;
use crate::cli::{EMBEDDED, time};
use crate::history::{self, EVENT, LetterFilter, StoredLetter};
use crate::instant;
use anyhow::{Result, bail};
use clap::Args;
use dataflows::Time;
use indicatif::HumanCount;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Which dead letters.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: tidewatch dead-letters --reason invalid_json --limit 5")]
pub struct DeadLettersArgs {
    /// Where verdicts are kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    history: String,
    /// Shows only those of this reason, for example too_late
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Shows only those stored at or after this time [default: the oldest]
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Time>,
    /// Shows only those stored before this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Time>,
    /// Shows at most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: u32,
}

/// Prints how many records were refused for which reason, then the letters.
///
/// # Errors
/// A history that cannot be read, or a reason for which nothing was refused.
pub fn dead_letters(arguments: &DeadLettersArgs) -> Result<()> {
    let mut history = history::open(super::existing("--history", &arguments.history)?)?;
    let filter = LetterFilter {
        reason: arguments.reason.clone(),
        from: arguments.from.unwrap_or(Time::MIN),
        until: arguments.to.unwrap_or(Time::MAX),
        limit: arguments.limit,
    };
    let outcomes = history.outcomes()?;
    if let Some(reason) = arguments.reason.as_ref().filter(|reason| !outcomes.contains_key(*reason)) {
        let known: Vec<&str> = outcomes.keys().map(String::as_str).filter(|known| *known != EVENT).collect();
        let known = if known.is_empty() { "nothing was refused at all".to_string() } else { format!("reasons here: {}", known.join(", ")) };
        bail!("no record was refused as '{reason}'; {known}");
    }
    let mut text = totals(&outcomes);
    history.letters(&filter)?.iter().for_each(|stored| text += &told(stored));
    say(text.trim_end());
    Ok(())
}

/// All records and what became of them, the most frequent reason first.
fn totals(outcomes: &BTreeMap<String, u64>) -> String {
    let events = outcomes.get(EVENT).copied().unwrap_or(0);
    let mut refused: Vec<(&String, u64)> = outcomes.iter().filter(|one| one.0 != EVENT).map(|(reason, count)| (reason, *count)).collect();
    refused.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let sum: u64 = refused.iter().map(|one| one.1).sum();
    let mut text = format!("{} records: {} events, {} refused\n", HumanCount(events + sum), HumanCount(events), HumanCount(sum));
    for (reason, count) in refused {
        let _ = writeln!(text, "{:>14}  {reason}", HumanCount(count).to_string());
    }
    text
}

/// One letter on three lines.
fn told(stored: &StoredLetter) -> String {
    let letter = &stored.letter;
    let place = format!("{} at offset {}, stored {}", printable(&letter.partition), letter.offset, instant::format(stored.known_at));
    let bytes = printable(&String::from_utf8_lossy(&letter.bytes));
    format!("\n{}  {place}\n  {}\n  {bytes}\n", letter.reason, printable(&letter.detail))
}

/// A stranger's text as a terminal may be given it: what would move its cursor is written out.
pub(super) fn printable(text: &str) -> String {
    let escape = |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_cannot_speak_to_the_terminal() {
        assert_eq!(printable("\u{1b}[2Jé\0"), "\\u{1b}[2Jé\\u{0}");
    }
}
