//! Series made from formulas, and what models make of them.

use dataflows::Time;
use tidewatch::history::TrainingRow;
use tidewatch::models::Trained;
use tidewatch::series::SeriesName;
use tidewatch::train::{MethodName, Request, fit};

pub const BUCKET: Time = 300_000;
pub const DAY: Time = 86_400_000;

/// 2026-01-05T00:00:00Z.
pub const MONDAY: Time = 1_767_571_200_000;

/// The standard deviation of the noise.
pub const SIGMA: f64 = 1.0;

/// A daily wave with a peak that is narrow enough to be missed out of phase, a weekly part, and normal noise.
#[derive(Clone, Copy)]
pub struct Curve {
    pub wave: f64,
    pub weekend: f64,
    pub seed: u64,
}

impl Curve {
    pub fn daily() -> Self {
        Self { wave: 10.0, weekend: 0.0, seed: 1 }
    }

    pub fn flat() -> Self {
        Self { wave: 0.0, ..Self::daily() }
    }

    /// The value without noise.
    pub fn at(&self, time: Time) -> f64 {
        let share = time.rem_euclid(DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
        let shape = share.sin() + (2.0 * share).cos() / 2.0;
        // Weekends are lower during the day, by as much as `weekend`.
        let weekend = if dataflows::Calendar::default().is_rest(time) { self.weekend * (0.6 - 0.4 * share.cos()) } else { 0.0 };
        50.0 + self.wave * shape + weekend
    }

    /// Normal noise of the bucket at `time`: Box and Muller (1958) over splitmix64 (Steele et al. 2014).
    fn noise(&self, time: Time) -> f64 {
        let state = self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ time as u64;
        let (a, b) = (uniform(state), uniform(state ^ 0x5555_5555_5555_5555));
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// In (0, 1].
fn uniform(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::MIN_POSITIVE
}

pub fn name() -> SeriesName {
    SeriesName::new("server", "srv-001", "cpu_usage_percent")
}

/// Five-minute means of the curve in `[from, until)`, as `take` leaves them.
pub fn rows(curve: &Curve, from: Time, until: Time, take: impl Fn(Time, f64) -> Option<f64>) -> Vec<TrainingRow> {
    let row = |start: Time| {
        let mean = take(start, curve.at(start) + SIGMA * curve.noise(start))?;
        Some(TrainingRow { series: name().id(), start, mean, anomalous: false })
    };
    (from..until).step_by(BUCKET as usize).filter_map(row).collect()
}

/// A request for models of the method `stl_zscore`.
pub fn stl(until: Time) -> Request {
    Request { methods: MethodName::StlZscore.into(), ..Request::new(until, 0) }
}

/// The model of rows until a time, by that method.
pub fn trained(rows: &[TrainingRow], until: Time) -> Trained {
    fit(&name(), rows, &stl(until)).unwrap()
}
