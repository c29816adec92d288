//! A job for tests.

use super::{Alerts, Job, Kept};
use crate::kind::Kinds;
use crate::limits::Limits;
use crate::source::Source;
use dataflows::{Policy, Time, Timing};
use std::sync::Arc;
use std::time::Duration;

/// In milliseconds.
pub const MINUTE: Time = 60_000;

/// Buckets of a minute, out of order by as much, ten minutes of lateness, and an hour until a series is forgotten.
pub fn job(source: Arc<dyn Source>, limits: Limits) -> Job {
    let timing = Timing {
        bucket_width: MINUTE,
        out_of_orderness: MINUTE,
        lateness: 10 * MINUTE,
        skew: 0,
        forget: 60 * MINUTE,
        patience: 0,
        floor: Time::MIN,
    };
    Job {
        source,
        log_continues: false,
        until_end: true,
        kinds: Kinds::default(),
        timing,
        limits,
        policy: Policy::default(),
        standby: false,
        raw: true,
        idle_timeout: Duration::ZERO,
        commit_interval: Duration::ZERO,
        models_interval: Duration::ZERO,
        look_every: None,
        alerts: Alerts::default(),
        kept: Kept::Everything,
    }
}
