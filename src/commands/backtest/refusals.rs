//! What a backtest says of the records that it could not use.

use crate::commands::dead_letters::printable;
use crate::history::{EVENT, History, LetterFilter};
use anyhow::{Result, bail};
use dataflows::Time;

/// So many letters of a refused record are shown.
const SHOWN: usize = 120;

/// Says what was refused. Of an input that is mostly refused, verdicts would mislead.
pub(super) fn warn_of_refusals(input: &str, history: &mut dyn History) -> Result<()> {
    let mut refused = history.outcomes()?;
    let events = refused.remove(EVENT).unwrap_or_default();
    for (reason, count) in &refused {
        let filter = LetterFilter { reason: Some(reason.clone()), from: Time::MIN, until: Time::MAX, limit: 1 };
        let example = history.letters(&filter)?.pop().map_or_else(String::new, |stored| {
            let record = String::from_utf8_lossy(&stored.letter.bytes);
            let mut shown: String = record.chars().take(SHOWN).collect();
            if shown.len() < record.len() {
                shown.push('…');
            }
            format!("; one of them: {}: {}", printable(&stored.letter.detail), printable(&shown))
        });
        let records = if *count == 1 { "1 record was".into() } else { format!("{count} records were") };
        tracing::warn!("{records} refused as {reason}{example}");
    }
    if refused.values().sum::<u64>() > events {
        let most = refused.iter().max_by_key(|(_, count)| **count).map_or("", |(reason, _)| reason);
        let hint = match most {
            "too_late" => "events must come in the order of time, within --lateness",
            "invalid_json" => "it must be JSON lines or CSV as it is, not packed",
            "unknown_kind" | "no_entity" | "no_time" => "other JSON needs a [kinds.NAME] table in --config",
            _ => "`tidewatch run` into a --history keeps what was refused, for `tidewatch dead-letters`",
        };
        bail!("most of '{input}' was refused, see above; {hint}");
    }
    Ok(())
}
