//! The right to commit what comes of a log, of which there is one.

use super::RunError;
use crate::history::{History, HistoryError};
use crate::source::Source;
use dataflows::Time;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A lock may outlive its session by so long.
const LINGERING: Duration = Duration::from_secs(2);

/// A standby looks this often whether a history that is away is back.
const AWAY: Duration = Duration::from_secs(3);

/// A standby looks this often whether it may take over.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// Takes the right to commit, waiting for it as long as another process lives if that was asked for.
///
/// # Errors
/// The other process, unless it is to be waited for.
pub fn claim(source: &dyn Source, bucket_width: Time, standby: bool, history: &mut dyn History, stop: &AtomicBool) -> Result<(), RunError> {
    let source = source.identity();
    let (mut told, since) = (false, Instant::now());
    loop {
        match history.claim(&source, bucket_width) {
            Ok(true) => break,
            Ok(false) => {}
            // To a standby, a store that is away is weather; another process can take it no more than this one.
            Err(HistoryError::Operation { transient: true, place, problem, .. }) if standby && !stop.load(Ordering::Relaxed) => {
                tracing::warn!(%place, %problem, "history is away; the standby waits");
                std::thread::sleep(AWAY);
                continue;
            }
            Err(error) => return Err(error.into()),
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
