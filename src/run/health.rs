//! What a run cannot reach just now, since when and why, and whether it has caught up with its last commit.

use dataflows::Time;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a run needs from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Where records come from.
    Source,
    /// Where verdicts go.
    History,
    /// Where models come from.
    Models,
    /// Who is told of incidents.
    Alerts,
    /// What the source brings: it may be there, and bring nothing.
    Records,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Source, Self::History, Self::Models, Self::Alerts, Self::Records];

    /// Whether a run watches only while it has this. A receiver of alerts keeps nobody from watching, nor does a source that brings nothing.
    pub fn is_needed(self) -> bool {
        !matches!(self, Self::Alerts | Self::Records)
    }

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::History => "history",
            Self::Models => "models",
            Self::Alerts => "alerts",
            Self::Records => "records",
        }
    }

    /// What its absence means, for a person.
    fn consequence(self) -> &'static str {
        match self {
            Self::Source => "the source is away; nothing is lost, reading goes on when it is back",
            Self::History => "history is away; nothing is lost, detection waits",
            Self::Models => "the models are away; detection goes on with the last ones",
            Self::Alerts => "a receiver of alerts is away; nothing is lost, its alerts wait in the outbox",
            Self::Records => "nothing newer arrives, and the watermark stands still; look at the source and at its producers",
        }
    }

    fn relief(self) -> &'static str {
        match self {
            Self::Source => "the source is back",
            Self::History => "history is back",
            Self::Models => "the models are back",
            Self::Alerts => "the receiver of alerts is back",
            Self::Records => "the watermark moves again",
        }
    }
}

/// Something that cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// What.
    pub what: Part,
    /// Since when, by the wall clock, in milliseconds since the epoch.
    pub since: Time,
    /// The last error that said so.
    pub reason: String,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is read yet: it simulates the past, trains, or waits as a standby.
    Starting,
    /// Records of the last commit are read again, to rebuild its open buckets.
    Restoring,
    /// It reads what is new.
    Watching,
}

impl Stage {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Restoring => "restoring",
            Self::Watching => "watching",
        }
    }
}

/// What several threads know: each reading worker, the committing one, and the one that looks for models.
#[derive(Debug, Default)]
pub struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Workers that are still restoring; `None` before there are any.
    restoring: Option<usize>,
    /// By part and by the number of the thread that says so.
    away: BTreeMap<(Part, usize), Absence>,
}

impl Known {
    /// Whether some thread misses a part; receivers of alerts are many, so of them only this thread's.
    fn is_away(&self, part: Part, teller: usize) -> bool {
        if part == Part::Alerts {
            return self.away.contains_key(&(part, teller));
        }
        self.away.range((part, 0)..=(part, usize::MAX)).next().is_some()
    }
}

impl Health {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what thread `teller` found when it last tried: why a part is away, or `None` where it answered. The first thread that misses a
    /// part logs it, and the last one that has it back.
    pub fn note(&self, part: Part, teller: usize, problem: Option<&str>) {
        let mut known = self.known();
        let was_away = known.is_away(part, teller);
        match problem {
            Some(reason) => {
                let unknown = || Absence { what: part, since: crate::instant::now(), reason: String::new() };
                reason.clone_into(&mut known.away.entry((part, teller)).or_insert_with(unknown).reason);
                if !was_away {
                    tracing::warn!(%reason, "{}", part.consequence());
                }
            }
            None => {
                if known.away.remove(&(part, teller)).is_some() && !known.is_away(part, teller) {
                    tracing::info!("{}", part.relief());
                }
            }
        }
    }

    /// Says that so many workers begin, each with what it has to read again.
    pub fn begin(&self, workers: usize) {
        self.known().restoring = Some(workers);
    }

    /// Says that one more worker reads what is new.
    pub fn caught_up(&self) {
        if let Some(restoring) = &mut self.known().restoring {
            *restoring = restoring.saturating_sub(1);
        }
    }

    /// How far the run has come.
    pub fn stage(&self) -> Stage {
        match self.known().restoring {
            None => Stage::Starting,
            Some(0) => Stage::Watching,
            Some(_) => Stage::Restoring,
        }
    }

    /// What is away, each part once: since the first thread missed it, with the reason that this one heard last. Of receivers of alerts each is told.
    pub fn away(&self) -> Vec<Absence> {
        let mut found: BTreeMap<(Part, usize), Absence> = BTreeMap::new();
        for ((part, teller), absence) in &self.known().away {
            let which = if *part == Part::Alerts { *teller } else { 0 };
            let first = found.entry((*part, which)).or_insert_with(|| absence.clone());
            if absence.since < first.since {
                first.clone_from(absence);
            }
        }
        found.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_away_until_the_last_thread_has_it_back() {
        let health = Health::default();
        health.note(Part::Source, 0, Some("refused"));
        health.note(Part::Source, 1, Some("timed out"));
        health.note(Part::Models, 0, Some("loading"));
        health.note(Part::Source, 0, None);
        let away: Vec<(Part, String)> = health.away().into_iter().map(|absence| (absence.what, absence.reason)).collect();
        assert_eq!(away, [(Part::Source, "timed out".to_owned()), (Part::Models, "loading".to_owned())]);
        health.note(Part::Source, 1, None);
        health.note(Part::Models, 0, Some("refused"));
        assert_eq!(health.away().len(), 1);
        assert_eq!(health.away()[0].reason, "refused", "the last error counts");
        health.note(Part::Models, 0, None);
        assert_eq!(health.away(), []);
        // Failed once: of two receivers that were away one was named.
        health.note(Part::Alerts, 0, Some("ops refused"));
        health.note(Part::Alerts, 1, Some("pager timed out"));
        assert_eq!(health.away().len(), 2);
    }

    #[test]
    fn a_run_watches_once_every_worker_has_caught_up() {
        let health = Health::default();
        assert_eq!(health.stage(), Stage::Starting);
        health.begin(2);
        health.caught_up();
        assert_eq!(health.stage(), Stage::Restoring);
        health.caught_up();
        assert_eq!(health.stage(), Stage::Watching);
    }
}
