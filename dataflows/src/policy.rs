//! What makes a bucket an anomaly, anomalies an episode, and episodes an incident: numbers that an operator may set.

use crate::Time;
use crate::identity::MetricId;
use crate::verdict::Severity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which deviations of a metric somebody is to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Those to either side.
    #[default]
    Both,
    /// Those above what is expected.
    Above,
    /// Those below it.
    Below,
}

/// What a deviation must exceed to be an anomaly: all three, and to the side that matters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// `|z_score|` must be above this.
    pub threshold: f64,
    /// `|mean - expected|` must be at least this, in the metric's unit.
    pub minimum_absolute: f64,
    /// `|mean - expected|` must be at least this share of `|expected|`: 0.1 is ten percent.
    pub minimum_relative: f64,
    /// To which side of `expected` the mean must be.
    pub direction: Direction,
}

impl Default for Limits {
    fn default() -> Self {
        Self { threshold: 3.0, minimum_absolute: 0.0, minimum_relative: 0.0, direction: Direction::Both }
    }
}

impl Limits {
    /// Whether a bucket with this mean is anomalous.
    #[inline]
    pub fn are_passed(&self, mean: f64, expected: f64, z_score: f64) -> bool {
        self.missed(mean, expected, z_score).is_none()
    }

    /// What a bucket with this mean lacks to be anomalous; `None` where it is.
    #[inline]
    pub fn missed(&self, mean: f64, expected: f64, z_score: f64) -> Option<Missed> {
        let deviation = (mean - expected).abs();
        if z_score.is_nan() || z_score.abs() <= self.threshold {
            Some(Missed::Threshold)
        } else if !self.direction.is_of(mean - expected) {
            Some(Missed::Side)
        } else if deviation >= self.minimum_absolute && deviation >= self.minimum_relative * expected.abs() {
            None
        } else {
            Some(Missed::Minimum)
        }
    }
}

/// What a bucket lacks to be anomalous, the first of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It is within the threshold.
    Threshold,
    /// It is off to the side that nobody minds.
    Side,
    /// It is off by less than the least deviation that counts.
    Minimum,
}

impl Direction {
    /// The word for it in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// Whether a deviation is to this side.
    pub fn is_of(self, deviation: f64) -> bool {
        match self {
            Self::Both => true,
            Self::Above => deviation >= 0.0,
            Self::Below => deviation < 0.0,
        }
    }
}

/// When an episode opens and closes. Buckets are counted in event time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodePolicy {
    /// It opens once so many of the last [`EpisodePolicy::window`] buckets were anomalous or missing, or at a critical one...
    pub evidence_min: u32,
    /// ...in so many buckets,
    pub window: u32,
    /// and closes once so many buckets in a row were calm:
    pub calm_min: u32,
    /// `|z_score|` at most this share of the threshold.
    pub calm_share: f64,
}

impl Default for EpisodePolicy {
    fn default() -> Self {
        Self { evidence_min: 2, window: 3, calm_min: 3, calm_share: 2.0 / 3.0 }
    }
}

/// Which episodes belong together. Buckets are counted in event time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentPolicy {
    /// Episodes of one entity are one incident while no more than so many buckets without any lie between them.
    pub gap: u32,
    /// Entities whose incidents begin within so many buckets of one another may be hit by the same thing...
    pub onset_window: u32,
    /// ...if they are this share of their rack, zone or kind...
    pub share: f64,
    /// ...and at least so many.
    pub entities_min: u32,
}

impl Default for IncidentPolicy {
    fn default() -> Self {
        Self { gap: 12, onset_window: 3, share: 1.0 / 3.0, entities_min: 3 }
    }
}

/// Of what there is one anomaly in a bucket, where several metrics are out of the ordinary at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnomaliesPer {
    /// The metric that is furthest past its threshold speaks for its entity; the others are [`crate::State::Accompanying`].
    #[default]
    Entity,
    /// Each metric speaks for itself.
    Series,
}

/// Everything that a verdict and what follows from it depend on, besides the log and the models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The width of a bucket, in milliseconds.
    pub bucket_width: Time,
    /// How long after its watermark a sample may still revise a bucket, in milliseconds.
    pub lateness: Time,
    /// A series that was silent for longer is forgotten rather than missing, in milliseconds; one whose plan has gaps as much later as they are long.
    pub forget: Time,
    /// For metrics that `by_metric` does not name.
    pub limits: Limits,
    /// For single metrics.
    pub by_metric: BTreeMap<MetricId, Limits>,
    /// Of what there is one anomaly in a bucket.
    pub anomalies_per: AnomaliesPer,
    /// When an episode opens and closes.
    pub episode: EpisodePolicy,
    /// Which episodes belong together.
    pub incident: IncidentPolicy,
}

impl Policy {
    /// What the deviations of a metric must exceed.
    pub fn limits(&self, metric: MetricId) -> &Limits {
        self.by_metric.get(&metric).unwrap_or(&self.limits)
    }

    /// How loud a z-score of a metric is, by its threshold.
    pub fn severity(&self, metric: MetricId, z_score: f64) -> Severity {
        Severity::of(z_score, self.limits(metric).threshold)
    }

    /// How long a verdict may change after the start of the series' latest bucket, in milliseconds.
    pub fn retention(&self) -> Time {
        self.bucket_width + self.lateness
    }

    /// So many verdicts of a series may change at most, where it has one for each bucket.
    pub(crate) fn entries(&self) -> usize {
        usize::try_from(self.retention() / self.bucket_width.max(1)).map_or(1, |buckets| buckets.saturating_add(1))
    }

    /// The first bucket that may still change once the common watermark is `horizon`: the same that a restart goes on from.
    pub fn settled(&self, horizon: Time) -> Time {
        let width = self.bucket_width.max(1);
        horizon.saturating_sub(self.retention()).div_euclid(width).saturating_add(1).saturating_mul(width)
    }

    /// So many buckets, in milliseconds.
    pub fn buckets(&self, n: u32) -> Time {
        Time::from(n) * self.bucket_width
    }

    /// How long after its last evidence an episode, and what it belongs to, may still change, in milliseconds: a sample as late as can be
    /// may add evidence, which opens an episode some buckets later, which joins an incident over the longest gap.
    pub fn settling(&self) -> Time {
        let (episode, incident) = (&self.episode, &self.incident);
        let buckets = episode.window + episode.calm_min + incident.gap.max(incident.onset_window) + 2;
        self.lateness + self.buckets(buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deviation_counts_to_the_side_that_matters() {
        let passed = |direction, mean: f64| Limits { direction, ..Limits::default() }.are_passed(mean, 50.0, mean - 50.0);
        let sides = |direction| [60.0, 40.0, 52.0].map(|mean| passed(direction, mean));
        assert_eq!(sides(Direction::Both), [true, true, false]);
        assert_eq!(sides(Direction::Above), [true, false, false]);
        assert_eq!(sides(Direction::Below), [false, true, false]);
    }
}
