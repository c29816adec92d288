//! What is said of a bucket: the row that history keeps and the digest covers.

use crate::Time;
use crate::identity::{EntityId, MetricId, SeriesId};
use crate::number::Number;
use serde::{Deserialize, Serialize};

/// The aggregate of one series over one half-open interval `[start, start + width)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Aggregate {
    /// Samples in the bucket, at least one.
    pub count: u64,
    /// Arithmetic mean, correctly rounded from exact sums.
    pub mean: Number,
    /// Smallest sample.
    pub min: Number,
    /// Largest sample.
    pub max: Number,
    /// Sample standard deviation (n - 1); 0 for a single sample.
    pub stddev: Number,
}

/// One bucket of one series; `aggregate` is `None` where the series is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bucket {
    /// The thing measured.
    pub entity: EntityId,
    /// What is measured.
    pub metric: MetricId,
    /// The first instant of the bucket, a multiple of the bucket's width.
    pub start: Time,
    /// What was seen; `None`: nothing, though the peers on the same partition went on.
    pub aggregate: Option<Aggregate>,
}

impl Bucket {
    /// The series that the bucket belongs to.
    pub fn series(&self) -> SeriesId {
        SeriesId::of(self.entity, self.metric)
    }
}

/// Why a bucket has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unscored {
    /// No model of the series ended its training before the bucket.
    NoModel,
    /// The series is a counter, and began anew: what was counted since is not known.
    Reset,
    /// None did, since the series is too young for one: the trainer has seen it, and waits for more.
    Warming,
}

/// What is said of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// `|z|` is within the threshold.
    Normal,
    /// `|z|` is past the threshold.
    Anomalous,
    /// So it is, and another metric of the same entity is further past its own in the same bucket: the anomaly is said of that one.
    Accompanying,
    /// The series was silent while its peers went on.
    Missing,
    /// So it was, and no samples were due, by the [`crate::Cadence`] of its model. It is neither said nor stored.
    NotDue,
    /// It would be anomalous or missing, and that was to be expected: an operator's silence covers it.
    Silenced,
    /// No score, and why.
    Unscored(Unscored),
}

impl State {
    /// Those of buckets that are out of the ordinary, expected by an operator or not.
    pub const DEVIANT: [Self; 3] = [Self::Anomalous, Self::Accompanying, Self::Silenced];

    /// The state as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Anomalous => "anomalous",
            Self::Accompanying => "accompanying",
            Self::Missing => "missing",
            Self::NotDue => "not_due",
            Self::Silenced => "silenced",
            Self::Unscored(Unscored::NoModel) => "unscored(no_model)",
            Self::Unscored(Unscored::Reset) => "unscored(reset)",
            Self::Unscored(Unscored::Warming) => "unscored(warming)",
        }
    }

    /// Whether it is one of [`State::DEVIANT`].
    pub fn is_deviant(self) -> bool {
        Self::DEVIANT.contains(&self)
    }

    /// The state that [`State::as_str`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let unscored = [Unscored::NoModel, Unscored::Reset, Unscored::Warming].map(Self::Unscored);
        let scored = [Self::Normal, Self::Anomalous, Self::Accompanying, Self::Missing, Self::Silenced];
        scored.into_iter().chain(unscored).find(|state| state.as_str() == text)
    }
}

/// The arithmetic of a scored bucket: `z_score = (mean - expected) / sigma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Score {
    /// Trend + seasonal, in the metric's unit.
    pub expected: Number,
    /// The scale of the residuals, in the metric's unit, positive.
    pub sigma: Number,
    /// Residual / sigma, signed.
    pub z_score: Number,
}

impl Score {
    /// The same of a counter that was `counted` so many buckets before, where this is the score of its growth per bucket.
    pub fn of_growth(&self, counted: f64, buckets: f64) -> Self {
        Self { expected: Number(counted + buckets * self.expected.0), sigma: Number(buckets * self.sigma.0), ..*self }
    }

    /// The same, with the sigma by which the z-score is that of this mean, if there is one.
    pub(crate) fn seen_at(&self, mean: f64) -> Self {
        let sigma = (mean - self.expected.0).abs() / self.z_score.0.abs();
        Self { sigma: Number(if sigma.is_normal() { sigma } else { self.sigma.0 }), ..*self }
    }

    /// The same expectation, for another mean.
    pub fn of(&self, mean: f64) -> Self {
        Self { z_score: Number((mean - self.expected.0) / self.sigma.0), ..*self }
    }
}

/// A scored bucket, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Verdict {
    /// The bucket.
    pub bucket: Bucket,
    /// Its score; `None` where the state is missing or unscored.
    pub score: Option<Score>,
    /// What is said.
    pub state: State,
}

impl Verdict {
    /// Says it, or takes it back, unless it is one that is not said.
    pub(crate) fn tell(&self, sign: isize, say: &mut dyn FnMut(Self, isize)) {
        if self.state != State::NotDue {
            say(*self, sign);
        }
    }

    /// A place for one. It means nothing.
    pub(crate) const NONE: Self =
        Self { bucket: Bucket { entity: EntityId(0), metric: MetricId(0), start: 0, aggregate: None }, score: None, state: State::Missing };
}

/// How loud an anomaly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// From the threshold on.
    Low,
    /// From 7/6 of the threshold on.
    Medium,
    /// From 4/3 of the threshold on.
    High,
    /// From twice the threshold on.
    Critical,
}

impl Severity {
    /// The severity of an anomaly of `|z|` under `threshold`: with the default of 3.0, low from 3.0, medium from 3.5,
    /// high from 4.0, critical from 6.0.
    pub fn of(z_score: f64, threshold: f64) -> Self {
        let ratio = z_score.abs() / threshold;
        if ratio >= 2.0 {
            Self::Critical
        } else if ratio >= 4.0 / 3.0 {
            Self::High
        } else if ratio >= 7.0 / 6.0 {
            Self::Medium
        } else {
            Self::Low
        }
    }

    /// The severity as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// `anomaly_score` of a z-score: `tanh(|z| / 3)`, in 0..1 and monotonic in `|z|`; 0.76 at the default threshold.
pub fn anomaly_score(z_score: f64) -> f64 {
    (z_score.abs() / 3.0).tanh()
}
