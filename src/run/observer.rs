//! Who is told of what was committed.

use crate::history::Change;
use crate::history::incident::NamedIncident;
use crate::series::SeriesName;
use dataflows::{Bucket, Incident, Policy, Provisional, Time};

/// Somebody who looks on.
pub trait Observer: Send + Sync {
    /// Verdicts were committed. Of nearly all there is nothing to say: `name` is only asked for where there is.
    fn verdicts<'a>(&self, changes: &mut dyn Iterator<Item = &'a Change>, name: &dyn Fn(&Bucket) -> Option<SeriesName>, policy: &Policy);

    /// An open bucket looks anomalous, and that was committed.
    fn provisional(&self, series: &SeriesName, provisional: &Provisional, threshold: f64);

    /// An open bucket that looked anomalous no longer does, or no longer speaks for its entity, and that was committed.
    fn provisional_withdrawn(&self, series: &SeriesName, start: Time, reason: &str);

    /// Buckets that start before this change no more, and all that was to be said of them was committed.
    fn settled(&self, _before: Time) {}

    /// An incident was committed that is new, or has changed since `before`.
    fn incident(&self, incident: &NamedIncident, before: Option<&Incident>);

    /// An incident was withdrawn.
    fn incident_withdrawn(&self, incident: &NamedIncident, reason: &str);
}

/// Nobody looks on.
pub struct Unobserved;

impl Observer for Unobserved {
    fn verdicts<'a>(&self, _: &mut dyn Iterator<Item = &'a Change>, _: &dyn Fn(&Bucket) -> Option<SeriesName>, _: &Policy) {}
    fn provisional(&self, _: &SeriesName, _: &Provisional, _: f64) {}
    fn provisional_withdrawn(&self, _: &SeriesName, _: Time, _: &str) {}
    fn incident(&self, _: &NamedIncident, _: Option<&Incident>) {}
    fn incident_withdrawn(&self, _: &NamedIncident, _: &str) {}
}
