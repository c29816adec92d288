//! A host in trouble, as a table to be watched: three of its metrics jump at once, and one of them furthest for its noise.

use std::fmt::Write as _;

/// 2026-01-19T00:00:00Z, in seconds since 1970: three days before it train.
const START: i64 = 1_768_780_800;
const DAY: i64 = 86_400;
pub const METRICS: [&str; 3] = ["cpu", "load", "memory"];

/// When the first server goes wrong: the load jumps furthest for its noise.
pub const WRONG: std::ops::Range<i64> = START + 7200..START + 8100;

/// Scores [`table`] as `metrics.csv` and keeps what it comes to.
pub const BACKTEST: &str =
    "backtest metrics.csv --train-until 2026-01-19T00:00:00Z --out out.csv --history embedded:past.db --models embedded:past.db";

/// Every five minutes of three days and a half, of two servers; noise of half a unit that never repeats.
pub fn table() -> String {
    let mut text = String::from("timestamp,entity,metric,value\n");
    for time in (START - 3 * DAY..START + DAY / 2).step_by(300) {
        for (server, name) in ["srv-1", "srv-2"].into_iter().enumerate() {
            for (place, metric) in METRICS.into_iter().enumerate() {
                let seed = (time / 300) as f64 * 12.9898 + (3 * server + place) as f64 * 78.233;
                let jump = if server == 0 && WRONG.contains(&time) { [12.0, 30.0, 18.0][place] } else { 0.0 };
                let value = 50.0 + (seed.sin() * 43_758.545).fract() / 2.0 + jump;
                let _ = writeln!(text, "{},{name},{metric},{value:.4}", tidewatch::instant::format(time * 1000));
            }
        }
    }
    text
}
