//! What our own STL costs beside the crate `stlrs`, in the same run, and what 10,000 series of fourteen days cost robustly.
//!
//! `cargo bench --bench stl` measures; `cargo test --benches` runs the same on a little input, to see that it works.

use std::hint::black_box;
use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;
use tidewatch::stl::{Parameters, Plan};

/// Measurements of which the best counts: other work on the machine only ever adds.
const TRIES: usize = 3;

/// How much is measured.
struct Size {
    n: usize,
    period: usize,
    /// Series that are fitted side by side.
    series: usize,
    /// Series of which the cost of 10,000 is told.
    fleet: usize,
    /// CPU-seconds that a try takes at least.
    least: f64,
}

/// A day-shaped series with noise and spikes.
fn series(size: &Size, seed: u64) -> Vec<f64> {
    let noise =
        |i: usize| ((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(2 * seed + 1) >> 40) as f64 / f64::from(1_u32 << 24);
    let spike = |i: usize| if (i as u64 * 31 + seed).is_multiple_of(997) { 60.0 } else { 0.0 };
    let swing = |i: usize| 10.0 * (i as f64 / size.period as f64 * std::f64::consts::TAU).sin();
    (0..size.n).map(|i| 50.0 + i as f64 * 1e-3 + swing(i) + 4.0 * noise(i) + spike(i)).collect()
}

/// The best of some tries, in CPU-seconds, each repeated for so long: the kernel tells them a few milliseconds late.
fn seconds(least: f64, mut work: impl FnMut()) -> f64 {
    let once = |_| {
        let (started, mut times) = (clock(), 0.0);
        loop {
            work();
            times += 1.0;
            let spent = clock() - started;
            if spent >= least {
                return spent / times;
            }
        }
    };
    (0..TRIES).map(once).fold(f64::INFINITY, f64::min)
}

/// Seconds that this thread has run, where the kernel tells (Linux); elsewhere, seconds since the first call.
fn clock() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let run = text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok());
    run.map_or_else(|| start.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// Milliseconds a fit by stlrs, and by us alone and side by side, both into memory that is used again.
fn compare(size: &Size, parameters: &Parameters) -> [f64; 3] {
    let many: Vec<Vec<f64>> = (0..size.series as u64).map(|seed| series(size, seed)).collect();
    let many: Vec<&[f64]> = many.iter().map(Vec::as_slice).collect();
    let mut theirs = stlrs::params();
    theirs.seasonal_length(parameters.seasonal.window).seasonal_jump(parameters.seasonal.jump);
    theirs.trend_jump(parameters.trend.jump).low_pass_jump(parameters.low_pass.jump).robust(parameters.outer_loops > 0);
    let plan = Plan::new(parameters.clone(), size.n).expect("the parameters make sense");
    let (ours, stlrs) = (plan.fit(many[0]).expect("finite"), theirs.fit(many[0], size.period).expect("finite"));
    // Robustness weights step by 4e-6 at their margins, wherever the last bit of a residual falls.
    let near = ours.trend.iter().zip(stlrs.trend()).all(|(one, other)| (one - other).abs() < 1e-4);
    assert!(near, "the trends are the same");
    let stlrs = seconds(size.least, || drop(black_box(theirs.fit(many[0], size.period))));
    let (mut fitter, mut found) = (plan.fitter(), Vec::new());
    let mut fit = |series: &[&[f64]]| fitter.fit_all(series, black_box(&mut found)).expect("finite");
    let one = seconds(size.least, || fit(&many[..1]));
    let beside = seconds(size.least, || fit(&many)) / many.len() as f64;
    [stlrs, one, beside].map(|seconds| seconds * 1e3)
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let size = if is_bench {
        Size { n: 4_032, period: 288, series: 16, fleet: 500, least: 0.1 }
    } else {
        Size { n: 120, period: 12, series: 3, fleet: 8, least: 0.0 }
    };
    let (n, period) = (size.n, size.period);
    let say = |line: String| drop(writeln!(std::io::stdout(), "{line}"));
    say(format!("{:>10} {:>7} {:>5} {:>10} {:>17} {:>17}", "seasonal", "robust", "jump", "stlrs ms", "alone ms", "side by side ms"));
    for (name, window) in [("289", period), ("periodic", 10 * n + 1), ("7", 7)] {
        for (robust, jump) in [("off", "tenth"), ("off", "1"), ("on", "tenth"), ("on", "1")] {
            let mut parameters = Parameters::new(period, window);
            parameters = if robust == "on" { parameters.robust() } else { parameters };
            parameters = if jump == "1" { parameters.at_every_value() } else { parameters };
            let [stlrs, one, beside] = compare(&size, &parameters);
            let (times_one, times_beside) = (stlrs / one, stlrs / beside);
            say(format!("{name:>10} {robust:>7} {jump:>5} {stlrs:10.2} {one:9.3} ({times_one:4.1}x) {beside:9.3} ({times_beside:4.1}x)"));
        }
    }
    let many: Vec<Vec<f64>> = (0..size.fleet as u64).map(|seed| series(&size, seed)).collect();
    let many: Vec<&[f64]> = many.iter().map(Vec::as_slice).collect();
    let plan = Plan::new(Parameters::stlrs(period).robust(), n).expect("the parameters make sense");
    let (mut fitter, mut found) = (plan.fitter(), Vec::new());
    let mut fit = |series: &[&[f64]]| fitter.fit_all(series, black_box(&mut found)).expect("finite");
    let cost = seconds(size.least, || many.chunks(size.series).for_each(&mut fit)) * 10_000.0 / many.len() as f64;
    say(format!("10,000 series of {n} values, robust, jumps of a tenth, {cost:.1} CPU-seconds (measured on {} and scaled)", many.len()));
}
