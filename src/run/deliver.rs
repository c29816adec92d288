//! Delivers alerts: a thread per receiver reads its part of the outbox, in order, and notes what became of each row.
//!
//! At least once: a row is pending until the receiver has taken it, whoever is killed meanwhile, and every attempt carries the same key. A receiver
//! that is away keeps nobody waiting but itself. Only the process that may commit for the source sends: that is asked for every single row.

use super::alert::{Alerts, OpenHistory, Recipient, added, alert};
use super::{Part, Statistics};
use crate::history::course::Course;
use crate::history::outbox::{self, OutboxRow, State};
use crate::history::{History, HistoryError};
use crate::history::{span, stall};
use crate::instant;
use crate::notify::{Alert, Change, Failure, Furthest, HIT_MAX};
use dataflows::{IncidentId, Severity, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Ended, channel};
use std::time::{Duration, Instant};

/// How often the outbox is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// After a failure the next attempt waits this long, then twice as long, up to a limit, in milliseconds.
const RETRY: (Time, Time) = (1_000, 600_000);

/// What could not be delivered for so long is no news any more: a day, in milliseconds.
const GIVE_UP: Time = 86_400_000;

/// A limit counts the messages of so long, in milliseconds.
const HOUR: Time = 3_600_000;

/// How often old rows are removed.
const SWEEP: Duration = Duration::from_secs(3600);

/// A run that ends waits so long for what can be delivered still; the next run delivers the rest.
const FAREWELL: Duration = Duration::from_secs(5);

/// The threads of a run.
pub struct Deliveries {
    over: Arc<AtomicBool>,
    ended: Ended<()>,
}

impl Deliveries {
    /// Starts a thread for each receiver of a run that may commit for a source, with buckets of this width, under the name of `writer`.
    pub fn start(alerts: &mut Alerts, (source, bucket_width): (&str, Time), writer: &str, statistics: &Arc<Statistics>) -> Self {
        let (over, (end, ended)) = (Arc::new(AtomicBool::new(false)), channel());
        let recipients = std::mem::take(&mut alerts.recipients).into_iter().enumerate();
        for ((number, recipient), open) in recipients.zip(std::iter::repeat(alerts.open_history.clone())) {
            let Some(open) = open else { continue };
            let part = outbox::Part { source: source.into(), receiver: recipient.name.clone() };
            let delivery = Delivery {
                part,
                recipient,
                number,
                writer: writer.into(),
                bucket_width,
                page_url: alerts.page_url.clone(),
                statistics: Arc::clone(statistics),
                repeated: None,
                swept: None,
            };
            let (over, end) = (Arc::clone(&over), end.clone());
            let deliver = move || {
                delivery.run(&open, &over);
                let _ = end.send(());
            };
            if let Err(error) = std::thread::Builder::new().name("alert".into()).spawn(deliver) {
                tracing::error!(%error, "a receiver of alerts has no thread, and is told nothing");
            }
        }
        Self { over, ended }
    }

    /// Gives what is due a last chance, and does not wait for long.
    pub fn finish(self) {
        self.over.store(true, Ordering::Relaxed);
        let until = Instant::now() + FAREWELL;
        // An error is what it is waited for: every thread has let go of its end.
        while self.ended.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// What a look at the outbox came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A row has ended; there may be more.
    More,
    /// There is nothing that could be done now.
    Nothing,
    /// Another process may commit for the source.
    Fenced,
}

/// What is to become of a row.
#[derive(Clone, Debug, PartialEq)]
enum Decision {
    End(State, Option<&'static str>),
    Send { before: Option<Box<OutboxRow>>, held_back: u64 },
}

/// One receiver's thread.
struct Delivery {
    part: outbox::Part,
    recipient: Recipient,
    number: usize,
    writer: String,
    bucket_width: Time,
    page_url: Option<String>,
    statistics: Arc<Statistics>,
    repeated: Option<Instant>,
    swept: Option<Instant>,
}

impl Delivery {
    fn run(mut self, open: &OpenHistory, over: &AtomicBool) {
        let mut history: Option<Box<dyn History>> = None;
        loop {
            let is_last = over.load(Ordering::Relaxed);
            let looked = match history.take().map_or_else(|| open(), Ok) {
                Ok(mut opened) => self.look(&mut *opened).inspect(|_| history = Some(opened)),
                Err(error) => Err(error),
            };
            match looked {
                Ok(Look::More) => continue,
                Ok(Look::Fenced) => return,
                Ok(Look::Nothing) => {}
                // The committing thread says so loudly enough.
                Err(error) => tracing::debug!(%error, receiver = %self.recipient.name, "the outbox cannot be read now"),
            }
            if is_last {
                return;
            }
            let until = Instant::now() + LOOK;
            while Instant::now() < until && !over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK / 10);
            }
        }
    }

    fn look(&mut self, history: &mut dyn History) -> Result<Look, HistoryError> {
        if self.swept.is_none_or(|swept| swept.elapsed() > SWEEP) {
            outbox::sweep(history)?;
            self.swept = Some(Instant::now());
        }
        self.repeat(history)?;
        let Some(row) = self.part.next(history)?.filter(|row| row.next_try_at <= instant::now()) else { return Ok(Look::Nothing) };
        match self.decide(history, &row)? {
            Decision::End(state, problem) => {
                outbox::end(history, row.id, state, problem.or(row.problem.as_deref()))?;
                Ok(Look::More)
            }
            Decision::Send { before, held_back } => self.send(history, &row, before.as_deref(), held_back),
        }
    }

    /// Says what is open to a receiver that wants to hear it again.
    fn repeat(&mut self, history: &mut dyn History) -> Result<(), HistoryError> {
        let Some(every) = self.recipient.receiver.repeats() else { return Ok(()) };
        if self.repeated.is_some_and(|repeated| repeated.elapsed() < every) || outbox::writer(history, &self.part.source)? != self.writer {
            return Ok(());
        }
        self.repeated = Some(Instant::now());
        let rows = self.part.open(history)?;
        let mut open: Vec<Alert> = rows.iter().map(|row| alert(row, 0, self.page_url.as_deref(), self.bucket_width)).collect();
        open.iter_mut().zip(&rows).try_for_each(|(told, row)| self.complete(history, told, row))?;
        if !open.is_empty() {
            let outcome = self.recipient.receiver.repeat(&open);
            self.note(outcome.as_ref().err());
        }
        Ok(())
    }

    fn decide(&self, history: &mut dyn History, row: &OutboxRow) -> Result<Decision, HistoryError> {
        let now = instant::now();
        // That nothing arrives has no later change that would be told instead.
        let stands = row.incident.scope == stall::SOURCE && row.incident.status == "open";
        let is_current = stands && self.part.is_latest(history, row)?;
        if now - row.incident.known_at > GIVE_UP && !is_current {
            return Ok(Decision::End(State::Failed, row.problem.is_none().then_some("it waited for a day")));
        }
        let before = self.part.last_delivered(history, row.incident.id)?;
        let ends = Change::named(&row.change).is_some_and(Change::ends);
        // What is over for this receiver is not over once more: that it began again was held back.
        let is_over = row.change == Change::Closed.as_str() && before.as_ref().is_some_and(|before| before.incident.status != "open");
        if is_over {
            return Ok(Decision::End(State::Overtaken, None));
        }
        if before.is_none() && (ends || self.part.is_to_be_withdrawn(history, row.incident.id)?) {
            return Ok(Decision::End(State::Overtaken, None));
        }
        // Whoever was flooded must still hear that nothing comes any more.
        let is_limited = !ends && row.incident.scope != stall::SOURCE;
        if let Some(limit) = self.recipient.per_hour.map(u64::from).filter(|_| is_limited) {
            // A flood of lesser ones must not hide what is worst.
            let is_worst = row.incident.severity == Severity::Critical.as_str();
            let limit = if is_worst { 2 * limit } else { limit };
            if self.part.delivered_since(history, now - HOUR)? >= limit {
                return Ok(Decision::End(State::HeldBack, None));
            }
        }
        Ok(Decision::Send { before: before.map(Box::new), held_back: self.part.held_back(history)? })
    }

    fn send(
        &mut self,
        history: &mut dyn History,
        row: &OutboxRow,
        before: Option<&OutboxRow>,
        held_back: u64,
    ) -> Result<Look, HistoryError> {
        if !outbox::begin(history, row.id, &self.writer)? {
            return Ok(Look::Fenced);
        }
        let (page, width) = (self.page_url.as_deref(), self.bucket_width);
        let (mut told, before) = (alert(row, held_back, page, width), before.map(|row| alert(row, 0, page, width)));
        self.complete(history, &mut told, row)?;
        if before.is_none() && !told.change.ends() {
            // What came before was held back or refused: to this receiver the incident is new.
            (told.change, told.added) = (Change::Opened, None);
        }
        let outcome = self.recipient.receiver.send(&told, before.as_ref());
        self.note(outcome.as_ref().err());
        match outcome {
            Ok(()) => outbox::end(history, row.id, State::Delivered, None)?,
            Err(Failure::Refused(problem)) => {
                tracing::warn!(receiver = %self.recipient.name, %problem, "an alert is refused, and will not be sent again");
                outbox::end(history, row.id, State::Failed, Some(&problem))?;
            }
            Err(Failure::Away { problem, again_after }) => {
                let asked = again_after.map_or(0, |pause| Time::try_from(pause.as_millis()).unwrap_or(RETRY.1));
                outbox::postpone(history, row.id, instant::now() + pause(row.attempts).max(asked), &problem)?;
                return Ok(Look::Nothing);
            }
        }
        Ok(Look::More)
    }

    /// Adds what is known only now: who was hit, how far it has come, whether it moves, which metric is new to the receiver, why nothing arrives, whether an entity sends
    /// nothing any more, and whether what is over is merely not waited for.
    fn complete(&self, history: &mut dyn History, told: &mut Alert, row: &OutboxRow) -> Result<(), HistoryError> {
        if let Some(incident) = u64::from_str_radix(&told.incident_id, 16).ok().filter(|_| told.scope != stall::SOURCE) {
            told.hit = span::hit(history, IncidentId(incident), HIT_MAX)?;
            let Course { unmoved_since, furthest, .. } = Course::of(history, &row.incident)?;
            told.furthest = furthest.map(|(start, [mean, expected])| Furthest { start, mean, expected });
            told.unmoved_since = unmoved_since;
            if let Some(series) = row.added {
                told.added = span::episode(history, IncidentId(incident), series)?.map(added);
            }
        }
        if told.scope == stall::SOURCE {
            let away = self.statistics.health.away();
            let reason = |part: Part| away.iter().find(|absence| absence.what == part).map(|absence| absence.reason.clone());
            told.problem = reason(Part::Source).or_else(|| reason(Part::Records)).filter(|_| !told.change.ends());
        } else if told.missing > 0 && told.scope == "entity" {
            let mut sends_nothing_since = |after| span::is_silent_since(history, (&told.entity_type, &told.entity_id), after);
            if told.change == Change::Closed {
                told.forgotten = sends_nothing_since(told.last)?;
            } else if !told.change.ends() {
                // In the bucket of the last evidence neither.
                told.silent = sends_nothing_since(told.last - 1)?;
            }
        }
        Ok(())
    }

    /// Notes whether the receiver is there. One that refuses a message is.
    fn note(&self, failure: Option<&Failure>) {
        let problem = failure.filter(|failure| matches!(failure, Failure::Away { .. }));
        let problem = problem.map(|problem| format!("{}, {}: {problem}", self.recipient.name, self.recipient.place));
        self.statistics.health.note(Part::Alerts, self.number, problem.as_deref());
    }
}

/// How long to wait after so many attempts before this one, in milliseconds.
fn pause(attempts: u32) -> Time {
    RETRY.0.saturating_mul(1 << attempts.min(20)).min(RETRY.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        assert_eq!([0, 1, 2, 9, 10, 40].map(pause), [1_000, 2_000, 4_000, 512_000, 600_000, 600_000]);
    }
}
