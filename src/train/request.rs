//! What the trainer is asked to do, and why it may pass over a series.

use super::{Calendars, Methods, TrainError};
use crate::history::Series;
use dataflows::{MetricType, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const DAY: Time = 86_400_000;

/// Which series are to be trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// All that history knows.
    #[default]
    All,
    /// Those that drift, and were not trained within the last hour of event time.
    Drifting,
}

/// What is to be trained, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The end of training, exclusive, in milliseconds since the epoch; [`Request::until`] rounds it down to a bucket.
    pub until: Time,
    /// The span before `until` that is trained on, in milliseconds.
    pub window: Time,
    /// The width of a bucket, in milliseconds.
    pub bucket_width: Time,
    /// Buckets in one season; 288 five-minute buckets are a day.
    pub period: usize,
    /// Which series.
    pub extent: Extent,
    /// How the models are to score.
    pub methods: Methods,
    /// The types of metrics that are known; of the others, history decides: that of a series, and of the others of its metric.
    pub metric_types: BTreeMap<String, MetricType>,
    /// The days and hours that series follow.
    pub calendars: Calendars,
    /// For `stl_zscore` a series needs this many periods between its first and its last bucket. STL needs two.
    pub periods_min: usize,
    /// For `stl_zscore` the share of buckets between the first and the last that must have samples, 0..1.
    pub fill_min: f64,
    /// What the models say about when they were trained, in milliseconds since the epoch. Given here so that training is a
    /// function of its input.
    pub trained_at: Time,
}

impl Request {
    /// Fourteen days of five-minute buckets before `until`, with daily seasons in UTC, by the default method.
    pub fn new(until: Time, trained_at: Time) -> Self {
        Self {
            until,
            window: 14 * DAY,
            bucket_width: 300_000,
            period: 288,
            extent: Extent::All,
            methods: Methods::default(),
            metric_types: BTreeMap::new(),
            calendars: Calendars::default(),
            periods_min: 2,
            fill_min: 0.5,
            trained_at,
        }
    }

    /// The buckets in a day.
    ///
    /// # Errors
    /// A width that does not divide a day: its phases would drift from day to day.
    pub fn period_of(bucket_width: Time) -> Result<usize, TrainError> {
        let whole = bucket_width > 0 && DAY % bucket_width == 0;
        let period = whole.then(|| usize::try_from(DAY / bucket_width).ok()).flatten();
        period.ok_or_else(|| TrainError::Request("the bucket must divide a day, such as 5m or 1h".into()))
    }

    /// The end of training: the start of the first bucket that is not complete before `until`.
    pub fn until(&self) -> Time {
        self.until.div_euclid(self.bucket_width) * self.bucket_width
    }

    /// The start of the first bucket of the training window.
    pub fn from(&self) -> Time {
        (self.until() - self.window).div_euclid(self.bucket_width) * self.bucket_width
    }

    /// The metrics that are given a type or a method and that no series has: slips of the pen, mostly.
    pub(super) fn unknown_metrics(&self, series: &[Series]) -> Vec<String> {
        let known: BTreeSet<&str> = series.iter().map(|series| series.name.metric.as_str()).collect();
        let named: BTreeSet<&String> = self.metric_types.keys().chain(self.methods.by_metric.keys()).collect();
        named.into_iter().filter(|metric| !known.contains(metric.as_str())).cloned().collect()
    }

    /// What makes this request meaningless, if anything.
    pub(super) fn defect(&self) -> Option<String> {
        if self.bucket_width <= 0 {
            Some("the bucket width must be positive".into())
        } else if self.period < 4 {
            Some(format!("a period of {} buckets is too short: 4 is the least", self.period))
        } else if self.window / self.bucket_width < 2 * Time::try_from(self.period).unwrap_or(Time::MAX / 2) {
            Some(format!("the window must hold at least 2 periods of {} buckets", self.period))
        } else {
            None
        }
    }
}

/// Why a series got no model. It keeps the one it has, if any.
#[derive(Clone, Debug, PartialEq)]
pub enum Skipped {
    /// There are too few buckets between the first and the last with samples.
    Warming {
        /// Buckets between the first and the last, both included.
        seen: usize,
        /// How many it takes.
        needed: usize,
    },
    /// Too few of the buckets between the first and the last have samples.
    MostlyEmpty {
        /// The share that has samples, 0..1.
        fill: f64,
        /// The share it takes.
        needed: f64,
    },
    /// All buckets have the same value: there is no scale to measure a deviation by.
    Constant {
        /// That value.
        value: f64,
    },
    /// A bucket holds a number that is not finite.
    NotFinite,
    /// The trainer could not do its arithmetic: a fault of the program, worth a report.
    Internal {
        /// What went wrong.
        problem: String,
    },
}

impl Skipped {
    /// One word for counting: `warming`, `mostly_empty`, `constant`, `not_finite`, `internal`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Warming { .. } => "warming",
            Self::MostlyEmpty { .. } => "mostly_empty",
            Self::Constant { .. } => "constant",
            Self::NotFinite => "not_finite",
            Self::Internal { .. } => "internal",
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warming { seen, needed } => write!(f, "warming: {seen} of {needed} buckets from the first to the last"),
            Self::MostlyEmpty { fill, needed } => {
                write!(f, "mostly_empty: {:.0} % of its buckets have samples, {:.0} % are needed", fill * 100.0, needed * 100.0)
            }
            Self::Constant { value } => write!(f, "constant: every bucket is {value}"),
            Self::NotFinite => write!(f, "not_finite: a bucket holds a number that is not finite"),
            Self::Internal { problem } => write!(f, "internal: {problem}"),
        }
    }
}
