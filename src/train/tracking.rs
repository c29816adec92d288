//! From the grid of one series to a model of the method `seasonal_level`: profile, scales, and the state after the history.

use super::counter::{Evidence, growth};
use super::grid::Grid;
use super::method::{Fit, Fitted};
use super::peers::{Shape, amplitude, own_share};
use super::phases::Phases;
use super::promise::{self, BUCKETS_MIN};
use super::request::{Request, Skipped};
use super::robust::{interpolated_quantile, mad, median};
use super::rolling::centred_medians;
use dataflows::peaks::rare_spike;
use dataflows::shift::Shift;
use dataflows::tracking::{DRIFT_CLIP, DRIFT_STEP, FAST_STEP, SLOW_CLIP, SLOW_STEP, clip};
use dataflows::{Calendar, Method, MetricType, Model, Seasonal, Time, Track, Tracker};
use serde_json::json;
use std::sync::Arc;

const DAY: Time = 86_400_000;

/// A deviation of less than this share of the range of ordinary days (their 1 % to their 99 %) is never a whole sigma: integer steps, series that
/// hardly move. Without it, false alarms grow tenfold on some sets; from 0.03 to 0.07 the sets say the same, and the least finds the most.
const FLOOR_SHARE: f64 = 0.03;

/// ...nor one below this share of the largest value: that is arithmetic, not behaviour.
const FLOOR_RELATIVE: f64 = 1e-9;

/// A profile takes this share of two days of values, in this share of two days' time.
const SEASON: (f64, f64) = (0.75, 0.98);

/// A profile for weekends takes so many days of span, and of values at weekends and on weekdays, ...
const WEEKLY_DAYS: (f64, f64, f64) = (13.0, 2.0, 4.0);

/// ...and must cut the scale of what is left to this share.
const WEEKLY_GAIN: f64 = 0.85;

/// Scales leave out the first day, while the levels are found, but no more than this share of the history.
const SETTLING_SHARE: usize = 4;

/// The drift view's scale is at least this, in slow scales.
const DRIFT_SCALE_MIN: f64 = 0.15;

/// Trust in the history is whole with so many buckets: ten days of five minutes. From nine to thirteen the sets say the same.
const TRUST_BUCKETS: f64 = 2880.0;

/// A standstill is strange from twice the longest in the history on, and no shorter than two hours of five minutes...
const STUCK: (f64, f64) = (2.0, 24.0);

/// ...in a series with so many days of history, whose longest standstill is no longer than this, and of whose buckets no more than this share equal
/// the one before.
const MOVING: (f64, f64, f64) = (3.0, 72.0, 0.5);

/// Numbers of the profile are rounded to a step of at most this share of the floor, so that the document is small.
const ROUNDING_SHARE: f64 = 1e-2;

/// The buckets with samples, in order.
struct History {
    starts: Vec<Time>,
    values: Vec<f64>,
    phases: Vec<usize>,
    /// Whether history calls it anomalous.
    anomalous: Vec<bool>,
    /// Whether it is on a weekend or a holiday.
    weekend: Vec<bool>,
    calendar: Arc<Calendar>,
    /// Buckets from the first to the last.
    span: f64,
    period: usize,
    /// Buckets in a day.
    day: f64,
}

impl History {
    fn of(grid: &Grid, values: &[f64]) -> Self {
        let places: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_finite()).collect();
        let starts: Vec<Time> = places.iter().map(|i| grid.time(*i)).collect();
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        Self {
            values: places.iter().map(|i| values[*i]).collect(),
            phases: places.iter().map(|i| grid.phase(*i)).collect(),
            anomalous: places.iter().map(|i| grid.anomalous[*i]).collect(),
            weekend: starts.iter().map(|start| grid.calendar.is_rest(*start)).collect(),
            calendar: Arc::clone(&grid.calendar),
            starts,
            span: grid.values.len() as f64,
            period: grid.period,
            day: (DAY as f64 / grid.width as f64).round().max(2.0),
        }
    }

    #[allow(clippy::cast_precision_loss)] // far below 2^52
    fn n(&self) -> f64 {
        self.values.len() as f64
    }

    /// The values, less the median of so many around each.
    fn detrended(&self, window: usize) -> Vec<f64> {
        self.values.iter().zip(centred_medians(&self.values, window)).map(|(value, trend)| value - trend).collect()
    }

    /// Some values by phase.
    fn phases(&self, values: &[f64], includes: impl Fn(usize) -> bool) -> Phases {
        Phases::of((0..values.len()).filter(|i| includes(*i)).map(|i| (self.phases[i], values[i])), self.period)
    }

    /// The seasonal part; flat with less than two days of history.
    fn seasonal(&self, floor: f64) -> Seasonal {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let two = 2.0 * self.period as f64;
        if self.n() < SEASON.0 * two || self.span < SEASON.1 * two {
            return Seasonal::Daily(vec![0.0; self.period]);
        }
        let rounded = |profile: Vec<f64>| profile.into_iter().map(|value| super::fit::rounded(value, floor * ROUNDING_SHARE)).collect();
        match self.weekly() {
            Some((weekday, weekend)) => Seasonal::Weekly { weekday: rounded(weekday), weekend: rounded(weekend) },
            None => Seasonal::Daily(rounded(self.phases(&self.detrended(self.period), |_| true).profile())),
        }
    }

    /// The seasonal part of a young series: the shape of its peers in the size of this series, and what the series has shown of its own beyond that, as
    /// far as it has been seen for long enough.
    fn borrowed(&self, shape: &Shape, floor: f64) -> Seasonal {
        let weekend = shape.weekend.as_ref().unwrap_or(&shape.weekday);
        let at = |i: usize| {
            let (weekday, weekend) = (shape.weekday[self.phases[i]], weekend[self.phases[i]]);
            weekday + self.calendar.rest_share(self.starts[i]) * (weekend - weekday)
        };
        let expected: Vec<f64> = (0..self.values.len()).map(at).collect();
        let amplitude = amplitude(&self.values, &expected, self.period);
        let left: Vec<f64> = self.values.iter().zip(&expected).map(|(value, expected)| value - amplitude * expected).collect();
        let detrended: Vec<f64> = left.iter().zip(centred_medians(&left, self.period)).map(|(value, trend)| value - trend).collect();
        let own = self.phases(&detrended, |_| true).profile();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
        let share = own_share(self.span as usize, self.period);
        let blend = |shape: &[f64]| {
            let value = |(shape, own): (&f64, &f64)| super::fit::rounded(amplitude * shape + share * own, floor * ROUNDING_SHARE);
            shape.iter().zip(&own).map(value).collect()
        };
        match &shape.weekend {
            Some(weekend) => Seasonal::Weekly { weekday: blend(&shape.weekday), weekend: blend(weekend) },
            None => Seasonal::Daily(blend(&shape.weekday)),
        }
    }

    /// Profiles for weekdays and for weekends, where they say more than one for all days.
    fn weekly(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let (period, weekends) = (self.period as f64, self.weekend.iter().filter(|weekend| **weekend).count() as f64);
        let (span, weekend, weekday) = WEEKLY_DAYS;
        let is_daily = (period - self.day).abs() < 0.5;
        if !is_daily || self.span < span * period || weekends < weekend * period || self.n() - weekends < weekday * period {
            return None;
        }
        let values = self.detrended(7 * self.period);
        let phases = [None, Some(false), Some(true)].map(|kind| self.phases(&values, |i| kind.is_none_or(|kind| self.weekend[i] == kind)));
        let [all, weekdays, weekends] = phases.each_ref().map(Phases::profile);
        let left = |profile: &dyn Fn(usize) -> f64| mad(&(0..values.len()).map(|i| values[i] - profile(i)).collect::<Vec<_>>());
        let one = left(&|i| all[self.phases[i]]);
        let two = left(&|i| {
            let (weekday, weekend) = (weekdays[self.phases[i]], weekends[self.phases[i]]);
            weekday + self.calendar.rest_share(self.starts[i]) * (weekend - weekday)
        });
        if two < WEEKLY_GAIN * one { Some((weekdays, weekends)) } else { Phases::apart(&all, &phases[1], &phases[2]) }
    }

    /// The first bucket that the scales are taken from.
    fn scales_from(&self, recent: Option<Time>) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // buckets of a day
        let settled = (self.values.len() / SETTLING_SHARE).min(self.day as usize);
        let at = |recent: Time| self.starts.partition_point(|start| *start < recent);
        // A series of which little was heard since has nothing newer to be measured by.
        recent.map(at).filter(|from| self.values.len() - from >= promise::BUCKETS_MIN / 2).unwrap_or(settled).max(settled)
    }

    /// Whether the buckets from `from` on are nearer to the model's profile than to none.
    fn bears_out(&self, model: &Model, from: usize) -> bool {
        let above = self.starts.iter().zip(&self.values).skip(from).map(|(start, value)| value - model.seasonal_at(*start));
        let left = |values: &[f64]| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // buckets of a quarter of a day
            let trend = centred_medians(values, (self.day as usize / 4).max(2));
            mad(&values.iter().zip(trend).map(|(value, trend)| value - trend).collect::<Vec<_>>())
        };
        left(&above.collect::<Vec<_>>()) <= left(&self.values[from..])
    }

    /// The least scale that means something.
    fn floor(&self) -> f64 {
        let quantile = |share: f64| interpolated_quantile(&self.values, share).unwrap_or(0.0);
        let largest = self.values.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
        (FLOOR_SHARE * (quantile(0.99) - quantile(0.01))).max(FLOOR_RELATIVE * largest).max(1e-12)
    }

    /// Buckets in a row that equal the one before, from when on they are strange. A standstill that was told of is none to learn from: a sensor that is dead
    /// for days would be well again with the next training.
    fn stuck_after(&self) -> Option<f64> {
        let (mut longest, mut standing, mut left_out, mut from) = (0.0_f64, 0.0, 0.0, 0);
        #[allow(clippy::float_cmp)] // standing still is meant
        for run in self.values.chunk_by(|one, next| one == next) {
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            let length = run.len() as f64 - 1.0;
            if length > 0.0 && self.anomalous[from..from + run.len()].contains(&true) {
                left_out += length;
            } else {
                standing += length;
                longest = longest.max(length);
            }
            from += run.len();
        }
        let (days, run_max, share_max) = MOVING;
        let n = self.n() - left_out;
        let moves = n >= days * self.day && standing / n.max(1.0) <= share_max && longest <= run_max;
        moves.then(|| (STUCK.0 * longest).max(STUCK.1))
    }
}

/// See the file's head.
pub(super) struct SeasonalLevel;

impl Fit for SeasonalLevel {
    fn span_min(&self, request: &Request) -> usize {
        request.period.max(BUCKETS_MIN)
    }

    fn fit(&self, grid: &Grid, request: &Request, shape: Option<&Shape>) -> Result<Fitted, Skipped> {
        let metric_type = grid.metric_type.unwrap_or_else(|| Evidence::of(grid).alone());
        let recent = grid.broken_at.map(|at| promise::recent_from(at, request));
        let cut = recent.and_then(|recent| promise::cut(grid, recent));
        // How long it stands still is asked of all there is: what broke the promise may be that it does.
        let whole = history(grid, metric_type);
        let stuck_after = whole.stuck_after();
        let history = cut.as_ref().map_or(whole, |cut| history(cut, metric_type));
        let grid = cut.as_ref().unwrap_or(grid);
        let model = model(grid, &history, metric_type, request, shape, (recent, stuck_after))
            .ok_or_else(|| Skipped::Internal { problem: "there is no bucket".into() })?;
        let profile = match &model.seasonal {
            Seasonal::Daily(profile) if profile.iter().all(|value| *value == 0.0) => "none",
            Seasonal::Daily(_) => "daily",
            Seasonal::Weekly { .. } => "weekday and weekend",
        };
        let mut parameters = json!({ "window_seconds": request.window / 1000, "profile": profile });
        if let Some(shape) = shape {
            let share = 1.0 - own_share(grid.values.len(), grid.period);
            parameters["borrowed"] = format!("{share:.2} of {} peers", shape.series).into();
        }
        if let Some(recent) = recent {
            parameters["scales_from"] = crate::instant::format(recent).into();
        }
        Ok(Fitted { model, kept: grid.observed(), parameters })
    }
}

/// What a series of this type is judged by.
fn history(grid: &Grid, metric_type: MetricType) -> History {
    match metric_type {
        MetricType::Gauge => History::of(grid, &grid.values),
        MetricType::Counter => History::of(grid, &growth(grid)),
    }
}

/// The model of one series, its profile borrowed where its peers have a shape and it is young. Its history must not be empty. `recent`: the scales are those
/// of the buckets from there on, and the profile is left out if these speak against it, since the series was another before.
fn model(
    grid: &Grid,
    history: &History,
    metric_type: MetricType,
    request: &Request,
    shape: Option<&Shape>,
    (recent, stuck_after): (Option<Time>, Option<f64>),
) -> Option<Model> {
    let floor = history.floor();
    let seasonal = shape.map_or_else(|| history.seasonal(floor), |shape| history.borrowed(shape, floor));
    let from = history.scales_from(recent);
    let mut model = Model {
        bucket_width: grid.width,
        trained_from: grid.start,
        trained_until: request.until(),
        level: 0.0,
        sigma: floor,
        seasonal,
        calendar: Arc::clone(&grid.calendar),
        method: Method::StlZscore,
        metric_type,
        cadence: dataflows::Cadence::Steady,
    };
    if recent.is_some() && !history.bears_out(&model, from) {
        model.seasonal = Seasonal::Daily(vec![0.0; history.period]);
    }
    let above: Vec<f64> = history.starts.iter().zip(&history.values).map(|(start, value)| value - model.seasonal_at(*start)).collect();
    let (first, start) = (*above.first()?, *history.starts.first()?);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // buckets of half a day
    let half_day = (history.day as usize / 2).clamp(1, above.len());
    let slow = median(&mut above[..half_day].to_vec())?;
    let fresh = Track::fresh(start, grid.width, slow, first);
    let mut tracker = Tracker { metrics: grid.metrics, stuck_after, ..scales(history, &above, slow, floor, fresh, from) };
    let buckets = history.starts.iter().zip(&history.values).map(|(start, value)| (*start, *value, model.season_at(*start)));
    promise::prime(&mut tracker, &buckets.collect::<Vec<_>>(), from, grid.width);
    tracker.primed.model = model.trained_until;
    let last = grid.values.iter().rposition(|value| value.is_finite())?;
    if metric_type == MetricType::Counter {
        (tracker.primed.counted, tracker.primed.last_start) = (Some(grid.values[last]), grid.time(last));
    }
    (model.level, model.sigma) = (tracker.primed.slow, tracker.slow_scale);
    model.method = Method::SeasonalLevel(Box::new(tracker));
    Some(model)
}

/// The scales, from a run of the two levels over the history; that of the slow level is found in two rounds, since it clips by itself.
fn scales(history: &History, above: &[f64], slow: f64, floor: f64, primed: Track, from: usize) -> Tracker {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // buckets of a day
    let day = history.day as usize;
    let detrended: Vec<f64> = above.iter().zip(centred_medians(above, day)).map(|(value, trend)| value - trend).collect();
    let mut slow_scale = mad(&detrended[from..]).max(floor);
    let (mut residuals, mut jumps) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        (residuals, jumps) = levels(above, slow, slow_scale);
        slow_scale = mad(&residuals[from..]).max(floor);
    }
    let mut drift = 0.0;
    let drifts = residuals.iter().map(|residual| {
        drift += DRIFT_STEP * (clip(residual / slow_scale, DRIFT_CLIP) - drift);
        drift
    });
    let drifts: Vec<f64> = drifts.collect();
    Tracker {
        slow_scale,
        fast_scale: mad(&jumps[from..]).max(floor),
        shift_scale: Some(mad(&departures(above)[from..]).max(floor)),
        drift_scale: mad(&drifts[from..]).max(DRIFT_SCALE_MIN),
        stuck_after: None,
        rare_spike: rare_spike((history.n() / TRUST_BUCKETS).min(1.0)),
        metrics: 1,
        primed,
    }
}

/// How far each value is from where the series was two before.
fn departures(above: &[f64]) -> Vec<f64> {
    let mut shift = Shift::default();
    let departure = |value: &f64| {
        let departure = value - shift.before.or(shift.middle).unwrap_or(*value);
        shift = shift.after(*value, true);
        departure
    };
    above.iter().map(departure).collect()
}

/// How far each value is from the slow level, and from the fast one.
fn levels(above: &[f64], slow: f64, slow_scale: f64) -> (Vec<f64>, Vec<f64>) {
    let (mut slow, mut fast) = (slow, above.first().copied().unwrap_or(0.0));
    let both = above.iter().map(|value| {
        let (residual, jump) = (value - slow, value - fast);
        slow += SLOW_STEP * clip(residual, SLOW_CLIP * slow_scale);
        fast += FAST_STEP * jump;
        (residual, jump)
    });
    both.unzip()
}
