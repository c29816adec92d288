//! The right to commit what comes of a log, of which there is one.

use super::RunError;
use crate::history::rename::rename;
use crate::history::{History, HistoryError};
use crate::source::{Kinship, Source};
use dataflows::Time;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A lock may outlive its session by so long.
const LINGERING: Duration = Duration::from_secs(2);

/// A standby looks this often whether a history that is away is back.
const AWAY: Duration = Duration::from_secs(3);

/// A standby looks this often whether it may take over.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// Takes the right to commit, waiting for it as long as another process lives if that was asked for. A log that is all of an earlier one, and maybe more, goes
/// on where that had come to.
///
/// # Errors
/// The other process, unless it is to be waited for; an earlier log of which it is a part.
pub fn claim(log: &dyn Source, bucket_width: Time, standby: bool, history: &mut dyn History, stop: &AtomicBool) -> Result<(), RunError> {
    let source = log.identity();
    let (mut told, since) = (false, Instant::now());
    loop {
        match take(log, &source, bucket_width, history) {
            Ok(true) => break,
            Ok(false) => {}
            // To a standby, a store that is away is weather; another process can take it no more than this one.
            Err(RunError::History(HistoryError::Operation { transient: true, place, problem, .. }))
                if standby && !stop.load(Ordering::Relaxed) =>
            {
                tracing::warn!(%place, %problem, "history is away; the standby waits");
                std::thread::sleep(AWAY);
                continue;
            }
            Err(error) => return Err(error),
        }
        // A server notices a moment later that the last session of this very process has ended.
        let patient = standby || since.elapsed() < LINGERING;
        if !patient || stop.load(Ordering::Relaxed) {
            return Err(RunError::Claimed(source));
        }
        if standby && !std::mem::replace(&mut told, true) {
            tracing::info!(%source, "another process is watching; this one takes over when it ends");
        }
        std::thread::sleep(if standby { TAKE_OVER } else { LINGERING / 10 });
    }
    if told {
        tracing::info!(%source, "the other process has let go; this one takes over");
    }
    Ok(())
}

/// Takes the right, unless another process has it.
fn take(log: &dyn Source, source: &str, bucket_width: Time, history: &mut dyn History) -> Result<bool, RunError> {
    let known = history.sources()?;
    let is_known = known.iter().any(|known| known == source);
    let others = known.into_iter().filter(|other| other != source).map(|other| (log.kinship(&other), other));
    let kin: Vec<(Kinship, String)> = others.filter(|(kinship, _)| *kinship != Kinship::Stranger).collect();
    if !is_known && let Some(earlier) = predecessor(source, &kin)? {
        if !history.claim(earlier, bucket_width)? {
            return Ok(false);
        }
        rename(history, earlier, source)?;
        tracing::info!(%source, %earlier, "goes on where it had come to under its earlier name");
    }
    let is_taken = history.claim(source, bucket_width)?;
    if is_taken
        && is_known
        && let Some((_, other)) = kin.first()
    {
        tracing::warn!(%source, %other, "both were read into this history, and share topics: where the other wrote last, what is stored is not what comes of this one");
    }
    Ok(is_taken)
}

/// The log among those that share some of what they read with a new one, where that is all of it, and maybe more. Either of two would write the series of the
/// other, and end its incidents.
fn predecessor<'k>(source: &str, kin: &'k [(Kinship, String)]) -> Result<Option<&'k str>, RunError> {
    match kin {
        [] => Ok(None),
        [(Kinship::Successor, earlier)] => Ok(Some(earlier)),
        [first, ..] => {
            let (_, other) = kin.iter().find(|(kinship, _)| *kinship == Kinship::Overlapping).unwrap_or(first);
            Err(RunError::Overlapping { log: source.into(), other: other.clone() })
        }
    }
}
