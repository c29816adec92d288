//! What the trainer hands to the detector for one series, and the methods that score with it.

use crate::Time;
use crate::cadence::Cadence;
use crate::calendar::Calendar;
use crate::number::Number;
use crate::reading::Reading;
use crate::season::Season;
use crate::tracking::{Track, Tracker};
use crate::verdict::Score;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// The seasonal part by phase: index `i` is the `i`-th bucket after midnight, by the calendar of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Seasonal {
    /// Every day alike.
    Daily(Vec<f64>),
    /// Saturdays, Sundays and holidays have a profile of their own.
    Weekly {
        /// Monday to Friday.
        weekday: Vec<f64>,
        /// Saturday, Sunday and holidays.
        weekend: Vec<f64>,
    },
}

/// What kind of number a metric is, in the words of Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricType {
    /// It goes up and down, and is judged by itself.
    #[default]
    Gauge,
    /// It only grows, but for resets to a small value, and is judged by its growth from bucket to bucket.
    Counter,
}

/// How a bucket is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Method {
    /// Against the level where training ended and one sigma: a bucket's score depends on nothing but itself.
    StlZscore,
    /// Against the last season before training ended, repeated, and one sigma.
    SeasonalNaive,
    /// Against a level that follows the series: see [`crate::tracking`].
    SeasonalLevel(Box<Tracker>),
    /// Not at all: the series is known, and too young. See [`Model::warming`].
    Warming(Warming),
}

/// How far a series has come that is too young for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warming {
    /// Buckets from the first to the last in the training window.
    pub seen: u32,
    /// How many it takes.
    pub needed: u32,
    /// The end of the training that found it so.
    pub as_of: Time,
}

impl Method {
    /// The name, as it is configured, stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StlZscore => "stl_zscore",
            Self::SeasonalNaive => "seasonal_naive",
            Self::SeasonalLevel(_) => "seasonal_level",
            Self::Warming(_) => "warming",
        }
    }

    /// The method that [`Method::name`] calls so, with the numbers that only `seasonal_level` has; `None` where name and numbers do not fit.
    pub fn named(name: &str, tracker: Option<Box<Tracker>>) -> Option<Self> {
        match (name, tracker) {
            ("stl_zscore", None) => Some(Self::StlZscore),
            ("seasonal_naive", None) => Some(Self::SeasonalNaive),
            ("seasonal_level", Some(tracker)) => Some(Self::SeasonalLevel(tracker)),
            _ => None,
        }
    }
}

/// A model of one series. Its expected value is a level plus `seasonal[phase]`; nothing is extrapolated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The width of a bucket in milliseconds.
    pub bucket_width: Time,
    /// Training saw buckets that start at or after this time...
    pub trained_from: Time,
    /// ...and end at or before this one. It scores buckets that start at or after it.
    pub trained_until: Time,
    /// The trend where training ended, in the metric's unit.
    pub level: f64,
    /// The scale of the residuals, in the metric's unit; positive.
    pub sigma: f64,
    /// The seasonal part, in the metric's unit.
    pub seasonal: Seasonal,
    /// Civil time where the series is at home.
    pub calendar: Arc<Calendar>,
    /// How it scores.
    pub method: Method,
    /// What it scores: of a counter, level, sigma and seasonal part are those of its growth per bucket. Known to `seasonal_level` alone.
    pub metric_type: MetricType,
    /// When samples are due: without any in between, a silence is none.
    pub cadence: Cadence,
}

impl Model {
    /// What is known of a series whose first bucket starts at `first` while it has too few for a model: it holds for that bucket and those after it, until
    /// there is one, and gives none of them a score.
    pub fn warming(bucket_width: Time, first: Time, warming: Warming) -> Self {
        Self {
            bucket_width,
            trained_from: first,
            trained_until: first,
            level: 0.0,
            sigma: 1.0,
            seasonal: Seasonal::Daily(vec![0.0]),
            calendar: Arc::default(),
            method: Method::Warming(warming),
            metric_type: MetricType::Gauge,
            cadence: Cadence::Steady,
        }
    }

    /// How far the series has come, if this is no more than that.
    pub fn as_warming(&self) -> Option<&Warming> {
        match &self.method {
            Method::Warming(warming) => Some(warming),
            _ => None,
        }
    }

    /// The phase of the bucket that starts at `start`.
    pub(crate) fn phase_at(&self, start: Time) -> usize {
        self.phase(start, self.period())
    }

    /// Buckets in a season.
    pub(crate) fn period(&self) -> usize {
        let (Seasonal::Daily(profile) | Seasonal::Weekly { weekday: profile, .. }) = &self.seasonal;
        profile.len()
    }

    /// A number that takes a look at a phase of the profile. It means nothing.
    pub(crate) fn looked_at_in(&self, phase: usize) -> f64 {
        let at = |profile: &[f64]| profile.get(phase).copied().unwrap_or(0.0);
        match &self.seasonal {
            Seasonal::Daily(profile) => at(profile),
            Seasonal::Weekly { weekday, weekend } => at(weekday) + at(weekend),
        }
    }

    /// A number that takes a look at all that a score needs, but for the profile. It means nothing.
    pub(crate) fn looked_at(&self) -> Time {
        let numbers = [self.level.to_bits(), self.sigma.to_bits()].map(u64::cast_signed);
        let tracker = if let Method::SeasonalLevel(tracker) = &self.method { tracker.slow_scale.to_bits().cast_signed() } else { 0 };
        numbers.into_iter().chain([self.trained_until, self.bucket_width, tracker]).fold(0, Time::wrapping_add)
    }

    /// Level + seasonal at the bucket that starts at `start`, in the metric's unit, as training left it.
    pub fn expected(&self, start: Time) -> f64 {
        self.level + self.seasonal_at(start)
    }

    /// The seasonal part at the bucket that starts at `start`, in the metric's unit.
    pub fn seasonal_at(&self, start: Time) -> f64 {
        let at = |profile: &[f64]| profile[self.phase(start, profile.len())];
        match &self.seasonal {
            Seasonal::Daily(profile) => at(profile),
            Seasonal::Weekly { weekday, weekend } => {
                let share = self.calendar.rest_share(start);
                // Exact where only one of them holds.
                if share <= 0.0 { at(weekday) } else { at(weekday) + share * (at(weekend) - at(weekday)) }
            }
        }
    }

    /// The seasonal part there, and at the phases before and after.
    pub fn season_at(&self, start: Time) -> Season {
        let around = |profile: &[f64]| {
            let (phase, last) = (self.phase(start, profile.len()), profile.len() - 1);
            let (before, after) = (if phase == 0 { last } else { phase - 1 }, if phase == last { 0 } else { phase + 1 });
            [profile[before], profile[phase], profile[after]]
        };
        let [before, now, after] = match &self.seasonal {
            Seasonal::Daily(profile) => around(profile),
            Seasonal::Weekly { weekday, weekend } => {
                let (share, weekday) = (self.calendar.rest_share(start), around(weekday));
                if share <= 0.0 {
                    weekday
                } else {
                    let weekend = around(weekend);
                    [0, 1, 2].map(|n| weekday[n] + share * (weekend[n] - weekday[n]))
                }
            }
        };
        Season { before, now, after }
    }

    /// The phase of a bucket: buckets since midnight of civil time, modulo the period. Counted from the epoch, which is a
    /// midnight, so that it does not depend on where training began or ended.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
    fn phase(&self, start: Time, period: usize) -> usize {
        self.calendar.slot(start, self.bucket_width).rem_euclid(period as Time) as usize
    }

    /// The score of a bucket with this `mean` of so many samples that starts at `start`, after those that led to the state `track`; and the state after it, for a
    /// method that has one. `None` as `track`: the bucket is the first to be scored. No score: a counter that has just been reset.
    // A score that is returned through memory keeps the next bucket from being scored meanwhile.
    #[inline(always)]
    pub fn score(&self, track: Option<&Track>, start: Time, mean: f64, count: u64) -> (Option<Score>, Option<Box<Track>>) {
        let Method::SeasonalLevel(tracker) = &self.method else {
            let expected = self.expected(start);
            let z_score = (mean - expected) / self.sigma;
            return (Some(Score { expected: Number(expected), sigma: Number(self.sigma), z_score: Number(z_score) }), None);
        };
        let Some((track, reading)) = self.read(track, start, mean, count) else {
            let before = self.follow(track, tracker).into_owned();
            let shift = before.shift.interrupted();
            return (None, Some(Box::new(Track { counted: Some(mean), samples: count, last_start: start, seen: start, shift, ..before })));
        };
        let mut after = Box::new(track.after(&reading, tracker, self.bucket_width));
        if self.metric_type == MetricType::Gauge {
            return (Some(reading.score()), Some(after));
        }
        (after.counted, after.samples) = (Some(mean), count);
        let grown = |counted: f64| reading.score().of_growth(counted, track.buckets_until(start, self.bucket_width));
        let score = track.counted.map_or_else(|| reading.score(), grown);
        (Some(if track.uneven(count) > 0.0 { score.seen_at(mean) } else { score }), Some(after))
    }

    /// The state after a bucket with this `mean` of so many samples that is not learnt from, for a method that has one.
    pub fn skip(&self, track: Option<&Track>, start: Time, mean: f64, count: u64) -> Option<Box<Track>> {
        let Method::SeasonalLevel(tracker) = &self.method else { return None };
        Some(Box::new(self.follow(track, tracker).skip(start, mean, count)))
    }

    /// The arithmetic behind a score, and the state that it starts from; `None` for a method without a state, and for a counter that is below its last
    /// value: what was counted since is not known. What is read of a counter is its growth per bucket, as far as it is not explained by samples that are
    /// lacking.
    pub fn read<'a>(&self, track: Option<&'a Track>, start: Time, mean: f64, count: u64) -> Option<(Cow<'a, Track>, Reading)> {
        let Method::SeasonalLevel(tracker) = &self.method else { return None };
        let track = self.follow(track, tracker);
        let value = match self.metric_type {
            MetricType::Gauge => mean,
            MetricType::Counter => {
                let grown = mean - track.counted?;
                let buckets = track.buckets_until(start, self.bucket_width);
                let (value, uneven) = ((grown >= 0.0).then(|| grown / buckets)?, track.uneven(count));
                if uneven > 0.0 {
                    let expected = track.slow + self.seasonal_at(start);
                    let allowed = uneven * expected.abs() / buckets;
                    expected + (value - expected).signum() * ((value - expected).abs() - allowed).max(0.0)
                } else {
                    value
                }
            }
        };
        let reading = track.read(tracker, start, self.bucket_width, value, self.season_at(start));
        Some((track, reading))
    }

    /// The state as it goes on under this model.
    fn follow<'a>(&self, track: Option<&'a Track>, tracker: &Tracker) -> Cow<'a, Track> {
        Track::follow(track, self.trained_until, tracker, self.metric_type, |start| self.seasonal_at(start))
    }

    /// What makes this model unusable, if anything: an empty profile, a sigma that is not positive, a number that is not finite.
    pub fn defect(&self) -> Option<&'static str> {
        let profiles: Vec<&Vec<f64>> = match &self.seasonal {
            Seasonal::Daily(profile) => vec![profile],
            Seasonal::Weekly { weekday, weekend } => vec![weekday, weekend],
        };
        if self.bucket_width <= 0 {
            Some("the bucket width is not positive")
        } else if !(self.sigma > 0.0 && self.sigma.is_finite()) {
            Some("sigma is not a positive number")
        } else if !self.level.is_finite() || profiles.iter().any(|profile| profile.iter().any(|value| !value.is_finite())) {
            Some("a number is not finite")
        } else if profiles.iter().any(|profile| profile.is_empty()) {
            Some("the seasonal profile is empty")
        } else if let Some(defect) = self.calendar.defect().or_else(|| self.cadence.defect(self.period())) {
            Some(defect)
        } else if let Method::SeasonalLevel(tracker) = &self.method {
            tracker.defect()
        } else {
            None
        }
    }
}
