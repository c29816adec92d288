//! The default method, `seasonal_level`: a series is followed by a slow and a fast level under its seasonal profile, and a deviation counts for as
//! much as it is rare for this very series.
//!
//! An ordered fold: `(state, bucket) -> (state', verdict)`. Four views look at a bucket: a *spike* is a jump of the fast level that leads away from
//! the slow one, a *shift* is two buckets in a row to one side of where the series was, a *drift* is a small deviation that goes on, *stuck* is a series
//! that no longer moves. Each is divided by what it takes to make the peaks of this series, which [`crate::peaks`] remembers, ordinary; and after an
//! alarm less is said of what goes on as it was (habituation).
//!
//! **Invariant.** A bucket's reading is a function of the state after the buckets before it and of the model, and of nothing else.

use crate::Time;
use crate::calibration::Watch;
use crate::model::MetricType;
use crate::peaks::Calibration;
use crate::reading::Reading;
use crate::season::Season;
use crate::shift::{Shift, TOLD};
use crate::step::Step;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

const DAY: Time = 86_400_000;

/// The slow level takes so much of a residual per bucket: what lasts for some hours is the new normal.
pub const SLOW_STEP: f64 = 0.03;
/// ...of which at most so many scales count, so that an outage does not drag the level along.
pub const SLOW_CLIP: f64 = 2.0;
/// The fast level is nearly the last bucket: a spike is a jump from there, which autocorrelated series need.
pub const FAST_STEP: f64 = 0.9;
/// The drift view averages over about so many buckets, an hour of five minutes.
const DRIFT_BUCKETS: f64 = 12.0;
/// A residual counts as at most so many scales in the drift view, so that one spike is no drift.
pub const DRIFT_CLIP: f64 = 8.0;
/// A drift goes on while the bucket itself deviates by this share of what the latest did, to the same side; an hour after a spike remembers it, and nothing is wrong.
const DRIFT_SHARE: f64 = 0.5;
/// The usual step over a gap is at most so many usual deviations. What is further off shows as a drift within the hour. Of series with a gap of ten hours
/// each three days, 0.2 % are flagged at its end, and 14 % were without this (AIOps).
const STRAYS: f64 = 4.0;
/// A standstill speaks from its usual length on, and is no louder at twice that.
const STUCK: (f64, f64) = (3.0, 6.0);
/// Peaks are collected over a quarter of a day, since nights differ from days, but over no fewer buckets than these.
const BLOCK_MIN: f64 = 12.0;
/// The histogram of peaks forgets half of them in a training window.
const PEAKS_HALF_DAYS: f64 = 14.0;
/// A deviation makes those after it quieter as if it had been no louder than this, or one enormous alarm would silence a series for days, ...
const HABITUATION_MAX: f64 = 20.0;
/// ...which halves in a quarter of a day, but in no fewer buckets than these, while the series is off...
const HABITUATION_MIN: f64 = 72.0;
/// ...and so many times as fast while it is not: an outage that comes back hours after the first must be heard as it was. For the drift view alone what is
/// remembered does not fade below that view itself, or a shift would be louder from hour to hour while the level follows it.
const HABITUATION_QUIET: i32 = 3;
/// A series is not off within so many usual deviations.
pub(crate) const QUIET: f64 = 2.0;
/// A quarter of a day.
const QUARTER: f64 = 0.25;
/// Each time the metrics of an entity are twice as many, it takes this share of the threshold more: each of them is a chance to be wrong. To keep the
/// false alarms of an entity at those of a single metric it would take several times as much, and find little: metrics of an entity go together.
const CHANCES: f64 = 0.05;

/// The share that the newest bucket has in the drift view.
pub const DRIFT_STEP: f64 = 2.0 / (DRIFT_BUCKETS + 1.0);

/// What a deviation is divided by where an entity has so many metrics: 1 for one alone, 1.19 for 14.
pub fn chances(metrics: u32) -> f64 {
    1.0 + CHANCES * f64::from(metrics.max(1)).log2()
}

fn never() -> Time {
    Time::MIN
}

/// The metrics of an entity, where an older model does not say how many they are.
fn alone() -> u32 {
    1
}

/// What training knows of a series besides its profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracker {
    /// The scale of deviations from the slow level, in the metric's unit, positive; so is the next.
    pub slow_scale: f64,
    /// The scale of deviations from the fast level.
    pub fast_scale: f64,
    /// The scale of deviations from where the series was two buckets before; `None` in an older model, by which nothing shifts.
    #[serde(default)]
    pub shift_scale: Option<f64>,
    /// The scale of the drift view, in slow scales.
    pub drift_scale: f64,
    /// So many equal buckets in a row are strange; `None` for a series that stands still by nature.
    pub stuck_after: Option<f64>,
    /// What a rare peak of the spike view is scaled down to: see [`rare_spike`](crate::peaks::rare_spike).
    pub rare_spike: f64,
    /// How many metrics the entity has, this one included: see [`chances`].
    #[serde(default = "alone")]
    pub metrics: u32,
    /// The state when training ended, from the history folded like the buckets after it.
    pub primed: Track,
}

/// What is remembered of a series between two of its buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// The end of the training of the model that is followed.
    pub model: Time,
    /// The start of the last bucket that was learnt from.
    pub last_start: Time,
    /// Its mean, or what a counter had grown in it.
    pub last: f64,
    /// The start of the last bucket with samples, if it is later: what a silence covers is seen, and not learnt from.
    #[serde(default = "never")]
    pub seen: Time,
    /// The mean of a counter in the last bucket with samples; `None` for a gauge.
    #[serde(default)]
    pub counted: Option<f64>,
    /// How many samples of a counter were in that bucket; 0 where that is not known, or it is a gauge.
    #[serde(default)]
    pub samples: u64,
    /// What the profile said of it.
    pub last_seasonal: f64,
    /// The slow level, in the metric's unit.
    pub slow: f64,
    /// The fast level.
    pub fast: f64,
    /// Where it was before its last bucket.
    #[serde(default)]
    pub shift: Shift,
    /// The average of the latest deviations, in slow scales.
    pub drift: f64,
    /// Buckets in a row that equalled the one before.
    pub run: f64,
    /// The loudest of late, fading.
    pub habituation: f64,
    /// The same for the drift view, at least as much: while a deviation goes on, it fades no further than the drift view does.
    #[serde(default)]
    pub lasting: f64,
    /// Buckets since the last peaks were filed.
    pub block: f64,
    /// The highest of the spike view since then.
    pub spike_peak: f64,
    /// The highest of the drift view since then.
    pub drift_peak: f64,
    /// The peaks that were filed.
    pub calibration: Arc<Calibration>,
    /// Whether deviations are as large as the model promised.
    #[serde(default)]
    pub watch: Watch,
}

/// What a gap leaves of a state.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Resumed {
    /// How far it usually is from the fast level to the next bucket.
    jump_scale: f64,
    /// The average of the latest deviations.
    drift: f64,
    /// The loudest of late.
    habituation: f64,
    /// The same for the drift view.
    lasting: f64,
}

/// What follows from the width of a bucket.
#[derive(Clone, Copy)]
struct Rhythm {
    /// Buckets in a day.
    day: f64,
    block: f64,
}

impl Rhythm {
    fn of(width: Time) -> Self {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let day = (DAY as f64 / width.max(1) as f64).round().max(2.0);
        Self { day, block: (QUARTER * day).floor().max(BLOCK_MIN) }
    }

    /// What is left of older peaks when new ones are filed.
    fn peaks_decay(self) -> f64 {
        0.5_f64.powf(self.block / (PEAKS_HALF_DAYS * self.day))
    }

    /// What is left of the loudest of late after another bucket.
    fn habituation_decay(self, is_quiet: bool) -> f64 {
        let decay = 0.5_f64.powf(1.0 / (QUARTER * self.day).max(HABITUATION_MIN));
        if is_quiet { decay.powi(HABITUATION_QUIET) } else { decay }
    }
}

impl Track {
    /// The state before the first bucket of a series, which starts at `start` and is `fast` above its profile.
    pub fn fresh(start: Time, width: Time, slow: f64, fast: f64) -> Self {
        Self {
            model: Time::MIN,
            last_start: start - width,
            seen: Time::MIN,
            // No number equals it.
            last: f64::NAN,
            counted: None,
            samples: 0,
            last_seasonal: 0.0,
            slow,
            fast,
            shift: Shift::default(),
            drift: 0.0,
            run: 0.0,
            habituation: 0.0,
            lasting: 0.0,
            block: 0.0,
            spike_peak: 0.0,
            drift_peak: 0.0,
            calibration: Arc::default(),
            watch: Watch::default(),
        }
    }

    /// How the state goes on under another model, whose profile says `seasonal` of the last bucket. Where training has seen as much as the state, it
    /// knows better; otherwise the levels move by what the profiles differ, and only the peaks are the new model's.
    /// Levels of a counter's growth say nothing of a gauge, nor the other way round.
    pub fn follow<'a>(
        track: Option<&'a Self>,
        model: Time,
        tracker: &Tracker,
        metric_type: MetricType,
        seasonal: impl Fn(Time) -> f64,
    ) -> Cow<'a, Self> {
        let primed = &tracker.primed;
        let is_alike = |track: &Self| track.counted.is_some() == (metric_type == MetricType::Counter);
        match track {
            Some(track) if track.model == model => Cow::Borrowed(track),
            Some(track) if track.last_start > primed.last_start && is_alike(track) => {
                let now = seasonal(track.last_start);
                let moved = track.last_seasonal - now;
                Cow::Owned(Self {
                    model,
                    slow: track.slow + moved,
                    fast: track.fast + moved,
                    shift: Shift { peak: primed.shift.peak, ..track.shift.moved(moved) },
                    last_seasonal: now,
                    block: primed.block,
                    spike_peak: primed.spike_peak,
                    drift_peak: primed.drift_peak,
                    calibration: Arc::clone(&primed.calibration),
                    watch: primed.watch.following(Some(&track.watch)),
                    ..track.clone()
                })
            }
            _ => Cow::Owned(Self {
                model,
                seen: primed.seen.max(track.map_or(Time::MIN, |track| track.seen)),
                // What was seen later, and not learnt from, a counter has grown by all the same.
                counted: track
                    .filter(|track| track.seen > primed.last_seen() && is_alike(track))
                    .map_or(primed.counted, |track| track.counted),
                samples: track.filter(|track| track.last_seen() >= primed.last_seen() && is_alike(track)).map_or(0, |track| track.samples),
                watch: primed.watch.following(track.map(|track| &track.watch)),
                ..primed.clone()
            }),
        }
    }

    /// How many buckets lie between the last one with samples and that which starts at `start`: 1 without a gap.
    pub fn buckets_until(&self, start: Time, width: Time) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let buckets = ((start - self.last_seen()) / width.max(1)) as f64;
        buckets.max(1.0)
    }

    /// The start of the last bucket with samples.
    pub fn last_seen(&self) -> Time {
        self.seen.max(self.last_start)
    }

    /// The state after a bucket with this `mean` of so many samples that is not learnt from. A counter goes on from there: what it has grown by meanwhile is
    /// over.
    pub fn skip(&self, start: Time, mean: f64, count: u64) -> Self {
        let samples = self.counted.map_or(0, |_| count);
        Self { seen: start.max(self.seen), counted: self.counted.map(|_| mean), samples, shift: self.shift.interrupted(), ..self.clone() }
    }

    /// By what share of a bucket's growth a counter may seem to have grown more or less than it has, where this bucket has so many samples and the last one had
    /// another number: those that one of them lacks may all be from one of its ends, and move the time that its mean is of by half of what they cover.
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub fn uneven(&self, count: u64) -> f64 {
        let (lacking, most) = (self.samples.abs_diff(count) as f64, self.samples.max(count) as f64);
        if self.samples > 0 && count > 0 { lacking / (2.0 * most) } else { 0.0 }
    }

    /// What is left of the state when the next bucket with samples comes, so many buckets of `width` after the last one.
    ///
    /// A series may have gone anywhere meanwhile, by the steps of a random walk, which grow with the root of their number; yet not too far from its level.
    fn resume(&self, tracker: &Tracker, buckets: f64, width: Time) -> Resumed {
        let Self { drift, habituation, lasting, .. } = *self;
        let Tracker { slow_scale, fast_scale, .. } = *tracker;
        let gap = buckets - 1.0;
        if gap <= 0.0 {
            return Resumed { jump_scale: fast_scale, drift, habituation, lasting };
        }
        let faded = Rhythm::of(width).habituation_decay(true).powf(gap);
        Resumed {
            jump_scale: (fast_scale * buckets.sqrt()).min(STRAYS * slow_scale.max(fast_scale)),
            drift: drift * (1.0 - DRIFT_STEP).powf(gap),
            habituation: habituation * faded,
            lasting: lasting * faded,
        }
    }

    /// The arithmetic of the next bucket, which has this `width` and `mean`; `season` is what the profile says of it.
    pub fn read(&self, tracker: &Tracker, start: Time, width: Time, mean: f64, season: Season) -> Reading {
        let buckets = self.buckets_until(start, width);
        let resumed = self.resume(tracker, buckets, width);
        // Over a gap nobody knows how it was.
        let was_off = if buckets > 1.0 { 0.0 } else { self.last - self.last_seasonal - self.slow };
        let seasonal = season.nearest(mean - self.slow, was_off, tracker.slow_scale);
        let above = mean - seasonal;
        let (residual, jump) = (above - self.slow, above - self.fast);
        let spike = Step { by: jump, scale: resumed.jump_scale, was_off: self.fast - self.slow }.seen(residual, tracker.slow_scale);
        let shifted = tracker.shift_scale.filter(|_| buckets <= 1.0).map(|scale| (self.shift.by(above), scale));
        let (by, scale) = shifted.unwrap_or((0.0, 1.0));
        let shift = Step { by, scale, was_off: self.shift.was_off(self.slow) }.seen(residual, tracker.slow_scale);
        let deviation = (residual / tracker.slow_scale).clamp(-DRIFT_CLIP, DRIFT_CLIP);
        let drift_after = resumed.drift + DRIFT_STEP * (deviation - resumed.drift);
        let goes_on = residual * drift_after > 0.0 && residual.abs() >= DRIFT_SHARE * drift_after.abs() * tracker.slow_scale;
        #[allow(clippy::float_cmp)] // standing still is meant
        let run = if mean == self.last { self.run + 1.0 } else { 0.0 };
        Reading {
            start,
            mean,
            buckets,
            usual: season.now,
            seasonal,
            level: self.slow,
            is_return: spike.is_return,
            residual,
            jump,
            peak: spike.peak,
            spike: spike.counts,
            shifted: by,
            shift: if self.shift.told { 0.0 } else { shift.counts },
            shift_peak: shift.peak,
            drift_after,
            drift: if goes_on { drift_after.abs() / tracker.drift_scale } else { 0.0 },
            run,
            stuck: tracker.stuck_after.map_or(0.0, |after| (STUCK.0 * run / after).min(STUCK.1)),
            spike_divisor: self.calibration.spike_divisor.0,
            shift_divisor: self.calibration.shift_divisor.0,
            drift_divisor: self.calibration.drift_divisor.0,
            remembered: resumed.habituation,
            lasting: resumed.lasting.max(resumed.habituation),
            chances: chances(tracker.metrics),
            slow_scale: tracker.slow_scale,
        }
    }

    /// The state after the bucket of a reading.
    pub fn after(&self, reading: &Reading, tracker: &Tracker, width: Time) -> Self {
        let rhythm = Rhythm::of(width);
        let habituation =
            (reading.remembered * rhythm.habituation_decay(reading.deviation().abs() < QUIET)).max(reading.loudness().min(HABITUATION_MAX));
        // Each field by itself: a copy of the whole would count and discount what is shared.
        let mut after = Self {
            model: self.model,
            last_start: reading.start,
            seen: reading.start,
            last: reading.mean,
            counted: self.counted,
            samples: self.samples,
            last_seasonal: reading.usual,
            slow: self.slow + SLOW_STEP * clip(reading.residual, SLOW_CLIP * tracker.slow_scale),
            fast: self.fast + FAST_STEP * reading.jump,
            shift: Shift {
                peak: self.shift.peak.max(reading.shift_peak),
                told: reading.z_score().abs() >= TOLD,
                ..self.shift.after(reading.mean - reading.seasonal, reading.buckets <= 1.0)
            },
            drift: reading.drift_after,
            run: reading.run,
            habituation,
            lasting: reading.lasting.min(reading.views()[2]).max(habituation),
            block: self.block + 1.0,
            spike_peak: self.spike_peak.max(reading.peak),
            drift_peak: self.drift_peak.max(reading.drift),
            calibration: Arc::clone(&self.calibration),
            watch: self.watch.after(reading.start, width, reading.deviation(), reading.z_score()),
        };
        if after.block >= rhythm.block {
            after.calibration = {
                let highest = [after.spike_peak, after.shift.peak, after.drift_peak];
                Arc::new(self.calibration.with(highest, rhythm.peaks_decay(), tracker.rare_spike))
            };
            (after.block, after.spike_peak, after.shift.peak, after.drift_peak) = (0.0, 0.0, 0.0, 0.0);
        }
        after
    }
}

impl Tracker {
    /// What makes this unusable, if anything.
    pub fn defect(&self) -> Option<&'static str> {
        let scales = [self.slow_scale, self.fast_scale, self.drift_scale, self.rare_spike];
        let Track { last, last_seasonal, slow, fast, shift, drift, run, habituation, lasting, block, spike_peak, drift_peak, .. } =
            &self.primed;
        let calibration = &self.primed.calibration;
        let state = [last, last_seasonal, slow, fast, drift, run, habituation, lasting, block, spike_peak, drift_peak];
        let peaks = [calibration.spike, calibration.shift, calibration.drift];
        let peaks = peaks.iter().flat_map(|peaks| peaks.bins.iter().chain(std::iter::once(&peaks.mass)));
        if scales.iter().chain(&self.shift_scale).chain(&self.stuck_after).any(|scale| !(*scale > 0.0 && scale.is_finite())) {
            Some("a scale is not a positive number")
        } else if state.into_iter().chain(peaks).any(|number| !number.is_finite()) || !self.primed.watch.is_finite() || !shift.is_finite() {
            Some("a number of the state is not finite")
        } else if [calibration.spike_divisor, calibration.shift_divisor, calibration.drift_divisor]
            .iter()
            .any(|divisor| !(divisor.0 >= 1.0 && divisor.0.is_finite()))
        {
            Some("a divisor is below 1")
        } else {
            None
        }
    }
}

/// At most `most` to either side.
pub fn clip(value: f64, most: f64) -> f64 {
    value.clamp(-most, most)
}
