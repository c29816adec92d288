//! What is to be said of the buckets of one series, from scratch: one loop over all of them, the state a list of numbers.
//!
//! Written from the description of the method, not from its code: nothing of `tracking.rs` or `peaks.rs` is called.

use super::WIDTH;
use dataflows::verdict::Unscored;
use dataflows::{Bucket, Cadence, Method, MetricType, Model, Number, Score, Season, State, Time, Tracker, Verdict};
use std::sync::Arc;

/// Slow and fast level, drift, run, last mean, last seasonal, last start, habituation, buckets in the block, its two peaks, then the two histograms, each
/// behind its mass; then what a counter stood at, NaN where there is none; at
/// last the start of the last bucket that was seen and not learnt from, the samples that a counter had in it, the habituation of the drift view, and of the
/// shift view the middle level, the same a bucket before (NaN: not known), the last bucket above its profile, the peak, the histogram, and whether the last
/// bucket was told of.
type Numbers = [f64; 71];

fn start_of(tracker: &Tracker) -> Numbers {
    let primed = &tracker.primed;
    let mut state = [0.0; 71];
    state[46] = f64::NEG_INFINITY;
    state[45] = primed.counted.unwrap_or(f64::NAN);
    state[..11].copy_from_slice(&[
        primed.slow,
        primed.fast,
        primed.drift,
        primed.run,
        primed.last,
        primed.last_seasonal,
        primed.last_start as f64,
        primed.habituation,
        primed.block,
        primed.spike_peak,
        primed.drift_peak,
    ]);
    for (place, peaks) in [(11, primed.calibration.spike), (28, primed.calibration.drift), (53, primed.calibration.shift)] {
        state[place] = peaks.mass;
        state[place + 1..place + 17].copy_from_slice(&peaks.bins);
    }
    state[48] = primed.lasting;
    let shift = primed.shift;
    state[70] = f64::from(shift.told);
    state[49..53].copy_from_slice(&[shift.middle.unwrap_or(f64::NAN), shift.before.unwrap_or(f64::NAN), shift.last, shift.peak]);
    state
}

fn quantile(histogram: &[f64], share: f64) -> f64 {
    let (lowest, step) = (0.5_f64.ln(), (300_f64.ln() - 0.5_f64.ln()) / 15.0);
    let mut before = 0.0;
    for bin in 0..16 {
        let cumulated = before + histogram[1 + bin] / histogram[0];
        if cumulated >= share {
            return (lowest + step * (bin as f64 - 0.5 + (share - before) / (cumulated - before).max(1e-12))).exp();
        }
        before = cumulated;
    }
    300.0
}

fn divisor(histogram: &[f64], typical: f64, rare: f64) -> f64 {
    if histogram[0] == 0.0 { 1.0 } else { (quantile(histogram, 0.5) / typical).max(quantile(histogram, 0.95) / rare).max(1.0) }
}

fn add(histogram: &mut [f64], peak: f64, decay: f64) {
    let place = ((peak.max(1e-9).ln() - 0.5_f64.ln()) / ((300_f64.ln() - 0.5_f64.ln()) / 15.0)).clamp(0.0, 15.0);
    let bin = (place as usize).min(14);
    histogram.iter_mut().for_each(|mass| *mass *= decay);
    histogram[0] += 1.0;
    histogram[1 + bin] += 1.0 - (place - bin as f64);
    histogram[2 + bin] += place - bin as f64;
}

/// One bucket: the score, and the numbers after it.
fn step(mut s: Numbers, tracker: &Tracker, start: Time, mean: f64, model: &Model) -> (Score, Numbers) {
    let day = 86_400_000.0 / WIDTH as f64;
    let buckets = ((start - s[6].max(s[46]) as Time) / WIDTH).max(1) as f64;
    let Season { before, now: usual, after } = model.season_at(start);
    let (was_off, off) = (if buckets > 1.0 { 0.0 } else { s[4] - s[5] - s[0] }, mean - s[0] - usual);
    let is_edge = (before - after).abs() > 5.0 * tracker.slow_scale && !(was_off * off > 0.0 && was_off.abs() > 2.0 * tracker.slow_scale);
    let (least, most) = (before.min(after).min(usual), before.max(after).max(usual));
    let seasonal = if is_edge { (mean - s[0]).clamp(least, most) } else { usual };
    let (above, expected) = (mean - seasonal, seasonal + s[0]);
    let fade = 0.5_f64.powf(1.0 / (day / 4.0).max(72.0));
    let fade_quiet = fade.powi(3);
    let mut step = tracker.fast_scale;
    if buckets > 1.0 {
        let gap = buckets - 1.0;
        step = (tracker.fast_scale * buckets.sqrt()).min(4.0 * tracker.slow_scale.max(tracker.fast_scale));
        s[2] *= (1.0 - 2.0 / 13.0_f64).powf(gap);
        s[7] *= fade_quiet.powf(gap);
        s[48] *= fade_quiet.powf(gap);
    }
    let (slow, fast) = (above - s[0], above - s[1]);
    let mut spike = if slow * fast > 0.0 { (fast.abs().min(16.0 * slow.abs()) / step).min(300.0) } else { 0.0 };
    let peak = spike;
    if spike > 0.0 && (s[1] - s[0]).abs() > 3.0 * tracker.slow_scale && slow.abs() <= tracker.slow_scale {
        spike = spike.min(slow.abs() / tracker.slow_scale);
    }
    let (last, now) = (s[51] - s[50], above - s[50]);
    let mut shift = if buckets <= 1.0 && last * now > 0.0 && now * slow > 0.0 {
        (last.abs().min(now.abs()).min(16.0 * slow.abs()) / tracker.shift_scale.unwrap()).min(300.0)
    } else {
        0.0
    };
    let shift_peak = shift;
    if shift > 0.0 && (s[50] - s[0]).abs() > 3.0 * tracker.slow_scale && slow.abs() <= tracker.slow_scale {
        shift = shift.min(slow.abs() / tracker.slow_scale);
    }
    if s[70] > 0.0 {
        shift = 0.0;
    }
    (s[50], s[49], s[51]) = (s[49], s[49] + 0.3 * (above - s[49]), above);
    if buckets > 1.0 || s[50].is_nan() {
        (s[50], s[49]) = (f64::NAN, above);
    }
    s[2] += 2.0 / 13.0 * ((slow / tracker.slow_scale).clamp(-8.0, 8.0) - s[2]);
    let gone = slow * s[2] <= 0.0 || slow.abs() < 0.5 * s[2].abs() * tracker.slow_scale;
    let drift = if gone { 0.0 } else { s[2].abs() / tracker.drift_scale };
    s[3] = if mean == s[4] { s[3] + 1.0 } else { 0.0 };
    let stuck = tracker.stuck_after.map_or(0.0, |after| (3.0 * s[3] / after).min(6.0));
    let often = divisor(&s[11..28], 1.5, tracker.rare_spike);
    let rare_shift = 4.0 * (tracker.rare_spike / 4.75).powi(3);
    let often_shifts = divisor(&s[53..70], 0.8, rare_shift).max(often / 2.0);
    let spoken = (0.93 * spike / often).max(0.93 * shift / often_shifts);
    let lasting = 0.62 * drift / divisor(&s[28..45], 1.5, 3.0);
    s[48] = s[48].max(s[7]);
    let z = (spoken.max(1.35 * stuck) / (s[7] / 2.5).max(1.0)).max(lasting / (s[48] / 2.5).max(1.0));
    let is_quiet = ((mean - expected) / tracker.slow_scale).abs() < 2.0;
    s[7] = (s[7] * if is_quiet { fade_quiet } else { fade }).max(z.min(20.0));
    s[48] = s[48].min(lasting).max(s[7]);
    s[0] += 0.03 * slow.clamp(-2.0 * tracker.slow_scale, 2.0 * tracker.slow_scale);
    s[1] += 0.9 * fast;
    (s[8], s[9], s[10], s[52]) = (s[8] + 1.0, s[9].max(peak), s[10].max(drift), s[52].max(shift_peak));
    let block = (day / 4.0).floor().max(12.0);
    if s[8] >= block {
        let (spike, drift, decay) = (s[9], s[10], 0.5_f64.powf(block / (14.0 * day)));
        let spike = if s[11] < 20.0 { spike.min(3.0 * tracker.rare_spike * often) } else { spike };
        let shift = if s[53] < 20.0 { s[52].min(3.0 * rare_shift * often_shifts) } else { s[52] };
        add(&mut s[11..28], spike, decay);
        add(&mut s[28..45], drift, decay);
        add(&mut s[53..70], shift, decay);
        (s[8], s[9], s[10], s[52]) = (0.0, 0.0, 0.0, 0.0);
    }
    (s[4], s[5], s[6]) = (mean, usual, start as f64);
    let z = z / (1.0 + 0.05 * f64::from(tracker.metrics).log2());
    s[70] = f64::from(z >= 3.0);
    let z = if slow >= 0.0 { z } else { -z };
    let sigma = if z == 0.0 || mean == expected { tracker.slow_scale } else { (mean - expected).abs() / z.abs() };
    (Score { expected: Number(expected), sigma: Number(sigma), z_score: Number(z) }, s)
}

/// The numbers as they go on under a model.
fn before(state: Option<Numbers>, followed: Time, model: &Model, tracker: &Tracker) -> Numbers {
    let primed = start_of(tracker);
    match state {
        Some(state) if followed == model.trained_until => state,
        Some(mut state) if state[6] > primed[6] && state[45].is_nan() == (model.metric_type == MetricType::Gauge) => {
            // What training has not seen goes on; the levels move by what the profiles differ at the last bucket.
            let now = model.seasonal_at(state[6] as Time);
            let moved = state[5] - now;
            (state[0], state[1], state[5]) = (state[0] + moved, state[1] + moved, now);
            state[49..52].iter_mut().for_each(|level| *level += moved);
            state[8..45].copy_from_slice(&primed[8..45]);
            state[52..70].copy_from_slice(&primed[52..70]);
            state
        }
        _ => {
            let mut fresh = primed;
            fresh[46] = primed[46].max(state.map_or(f64::NEG_INFINITY, |state| state[46]));
            if let Some(state) = state.filter(|state| state[46] > primed[46].max(primed[6]) && state[45].is_nan() == fresh[45].is_nan()) {
                fresh[45] = state[45];
            }
            let alike = |state: &Numbers| state[45].is_nan() == fresh[45].is_nan();
            let known = state.filter(|state| state[46].max(state[6]) >= primed[46].max(primed[6]) && alike(state));
            fresh[47] = known.map_or(0.0, |state| state[47]);
            fresh
        }
    }
}

/// Whether a series that was heard last at `heard` is missed at `start`: samples were due since, and it is not forgotten.
fn is_missed(model: Option<&Arc<Model>>, heard: Time, start: Time) -> bool {
    let (silent, forgotten_after) = ((start - heard) / WIDTH, super::TIMING.forget / WIDTH);
    match model.map(|model| &model.cadence) {
        None | Some(Cadence::Steady) => silent <= forgotten_after,
        Some(Cadence::Unknown) => false,
        Some(Cadence::Within(buckets)) => (Time::from(*buckets)..=forgotten_after + Time::from(*buckets)).contains(&silent),
        // All of it is on one Thursday.
        Some(Cadence::Phases { weekday, longest, .. }) => {
            let due = |slot: Time| weekday.iter().any(|(first, end)| (*first..*end).contains(&((slot % 4) as u32)));
            let (heard, now) = (heard / WIDTH, start / WIDTH);
            // The time that it was heard in, or up to two buckets before.
            let mut next = (heard..=heard + 2).find(|slot| due(*slot)).unwrap_or(heard);
            let (begin, mut missed) = (next, false);
            while due(next) && next <= now + 2 {
                missed |= next == now;
                next += 1;
            }
            let is_done = begin > heard && next - begin <= 2;
            silent <= forgotten_after + Time::from(*longest) && (missed && !is_done || (next..=now).any(due))
        }
    }
}

/// The verdicts on the buckets of one series, in order; none on those in which no samples were due.
pub fn verdicts(buckets: &[Bucket], models: &[Arc<Model>], silenced: &dyn Fn(&Bucket) -> bool) -> Vec<Verdict> {
    let (mut state, mut followed, mut heard): (Option<Numbers>, Time, Time) = (None, Time::MIN, 0);
    let judge = |bucket: &Bucket| {
        let said = |score: Option<Score>, state: State| Some(Verdict { bucket: *bucket, score, state });
        let (young, ready): (Vec<&Arc<Model>>, Vec<&Arc<Model>>) =
            models.iter().filter(|model| model.trained_until <= bucket.start).partition(|model| matches!(model.method, Method::Warming(_)));
        let newest = ready.into_iter().max_by_key(|model| model.trained_until);
        let Some(aggregate) = bucket.aggregate else {
            if !is_missed(newest, heard, bucket.start) {
                return None;
            }
            return said(None, if silenced(bucket) { State::Silenced } else { State::Missing });
        };
        heard = bucket.start;
        let Some(model) = newest else {
            return said(None, State::Unscored(if young.is_empty() { Unscored::NoModel } else { Unscored::Warming }));
        };
        let (mean, count) = (aggregate.mean.0, aggregate.count as f64);
        let (score, after) = match &model.method {
            Method::StlZscore | Method::SeasonalNaive => {
                let (expected, sigma) = (model.level + model.seasonal_at(bucket.start), model.sigma);
                (Score { expected: Number(expected), sigma: Number(sigma), z_score: Number((mean - expected) / sigma) }, None)
            }
            Method::Warming(_) => unreachable!("it is not ready"),
            Method::SeasonalLevel(tracker) => {
                let before = before(state, followed, model, tracker);
                let steps = ((bucket.start as f64 - before[6].max(before[46])) / WIDTH as f64).max(1.0);
                let (counted, is_counter) = (before[45], model.metric_type == MetricType::Counter);
                if is_counter && (counted.is_nan() || mean < counted) {
                    let mut after = before;
                    (after[45], after[6], after[47]) = (mean, bucket.start as f64, count);
                    (after[49], after[50]) = (f64::NAN, f64::NAN);
                    (state, followed) = (Some(after), model.trained_until);
                    return said(None, State::Unscored(Unscored::Reset));
                }
                let (mut value, mut lacking) = (mean, 0.0);
                if is_counter {
                    value = (mean - counted) / steps;
                    // As if all samples that one of the two buckets has more than the other had been lost at one end.
                    if before[47] > 0.0 && before[47] != count {
                        lacking = (before[47] - count).abs() / (2.0 * before[47].max(count));
                        let usual = before[0] + model.seasonal_at(bucket.start);
                        let left = ((value - usual).abs() - lacking * usual.abs() / steps).max(0.0);
                        value = usual + (value - usual).signum() * left;
                    }
                }
                let (mut score, mut after) = step(before, tracker, bucket.start, value, model);
                if is_counter {
                    (score.expected, score.sigma) = (Number(counted + steps * score.expected.0), Number(steps * score.sigma.0));
                    let sigma = (mean - score.expected.0).abs() / score.z_score.0.abs();
                    if lacking > 0.0 && sigma.is_normal() {
                        score.sigma = Number(sigma);
                    }
                }
                (after[45], after[47]) = if is_counter { (mean, count) } else { (f64::NAN, 0.0) };
                (score, Some(after))
            }
        };
        let anomalous = score.z_score.0.abs() > 3.0;
        if anomalous && silenced(bucket) {
            if let Method::SeasonalLevel(tracker) = &model.method {
                let mut seen = before(state, followed, model, tracker);
                seen[46] = bucket.start as f64;
                (seen[49], seen[50]) = (f64::NAN, f64::NAN);
                (seen[45], seen[47]) = if seen[45].is_nan() { (f64::NAN, 0.0) } else { (mean, count) };
                (state, followed) = (Some(seen), model.trained_until);
            }
            return said(Some(score), State::Silenced);
        }
        (state, followed) = (after, model.trained_until);
        said(Some(score), if anomalous { State::Anomalous } else { State::Normal })
    };
    buckets.iter().filter_map(judge).collect()
}
