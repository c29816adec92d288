//! When a series usually has samples, and why there is no bucket, in words.

use crate::history::{History, span};
use crate::instant;
use crate::models::Trained;
use crate::series::SeriesName;
use anyhow::{Error, Result, anyhow};
use dataflows::cadence::Phases;
use dataflows::{Cadence, Model, Time};

/// More stretches of a day than this are counted, and not named.
const NAMED_MAX: usize = 4;

/// For so long before a bucket it is looked for samples, in milliseconds: nine days, as long as any series is waited for by default.
const REMEMBERED: Time = 9 * 86_400_000;

/// When samples of the series of a model usually come; `None` where that is in every bucket.
pub fn words(model: &Model) -> Option<String> {
    match &model.cadence {
        Cadence::Steady => None,
        Cadence::Unknown => Some("too seldom for training to say when".into()),
        Cadence::Within(buckets) => Some(format!("no later than {} min after the last ones", minutes(Time::from(*buckets), model))),
        Cadence::Phases { weekday, weekend, .. } if weekday == weekend => Some(format!("each day {}", times(weekday, model))),
        Cadence::Phases { weekday, weekend, .. } => {
            Some(format!("on weekdays {}, on weekends and holidays {}", times(weekday, model), times(weekend, model)))
        }
    }
}

/// Why there is no bucket of a series that starts at `start`, as far as that is known.
///
/// # Errors
/// A history that cannot be read.
pub fn absent(history: &mut dyn History, series: &SeriesName, start: Time, width: Time, model: Option<&Trained>) -> Result<Error> {
    let why = match span::of_buckets(history, Time::MAX)? {
        Some((first, _)) if start < first => format!("history begins at {}", instant::format(first)),
        Some((_, last)) if start > last => format!("history has come to {}", instant::format(last + width)),
        _ => {
            let due = model.and_then(|trained| words(&trained.model)).map_or_else(String::new, |due| format!(", which usually come {due}"));
            format!("{}{due}", heard(history, series, start)?)
        }
    };
    Ok(anyhow!("{series} has no bucket at {}: {why}", instant::format(start)))
}

/// When a series was heard of last before a bucket.
///
/// # Errors
/// A history that cannot be read.
pub fn heard(history: &mut dyn History, series: &SeriesName, start: Time) -> Result<String> {
    let before = history.verdicts_of(series, start - REMEMBERED, start)?;
    let last = before.iter().rev().map(|verdict| &verdict.bucket).find(|bucket| bucket.aggregate.is_some());
    Ok(match last {
        Some(last) => format!("its last samples before are of {}", instant::format(last.start)),
        None => "it had no samples in the nine days before".into(),
    })
}

/// So many buckets in minutes.
fn minutes(buckets: Time, model: &Model) -> Time {
    buckets.saturating_mul(model.bucket_width) / 60_000
}

/// The times of the day of some phases, where the season is a day.
fn times(phases: &Phases, model: &Model) -> String {
    let clock = |phase: u32| {
        let minutes = minutes(phase.into(), model);
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    };
    let named: Vec<String> = phases.iter().map(|(first, end)| format!("from {} to {}", clock(*first), clock(*end))).collect();
    match named.as_slice() {
        [] => "never".into(),
        [named @ .., last] if !named.is_empty() && named.len() < NAMED_MAX => format!("{} and {last}", named.join(", ")),
        [one] => one.clone(),
        [first, .., last] => format!("at {} times, the first {first}, the last {last}", named.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::Warming;

    fn said(cadence: Cadence) -> Option<String> {
        words(&Model { cadence, ..Model::warming(300_000, 0, Warming { seen: 0, needed: 0, as_of: 0 }) })
    }

    #[test]
    fn a_person_can_read_when_samples_come() {
        assert_eq!(said(Cadence::Steady), None);
        assert_eq!(said(Cadence::Within(24)).unwrap(), "no later than 120 min after the last ones");
        let night = |phases: Phases| Cadence::Phases { weekday: phases.clone(), weekend: phases, longest: 9 };
        assert_eq!(said(night(vec![(24, 48)])).unwrap(), "each day from 02:00 to 04:00");
        assert_eq!(said(night(vec![(24, 48), (280, 288)])).unwrap(), "each day from 02:00 to 04:00 and from 23:20 to 24:00");
        let hours = (0..24).map(|hour| (12 * hour + 1, 12 * hour + 2)).collect();
        assert_eq!(said(night(hours)).unwrap(), "each day at 24 times, the first from 00:05 to 00:10, the last from 23:05 to 23:10");
        let working = Cadence::Phases { weekday: vec![(96, 216)], weekend: vec![], longest: 9 };
        assert_eq!(said(working).unwrap(), "on weekdays from 08:00 to 18:00, on weekends and holidays never");
    }
}
