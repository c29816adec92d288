//! How long the dashboards' queries take on fourteen days of a fleet: a measurement, which `benches/dashboards` runs and prints.

use crate::dashboards::{Choice, boards, list, panels, text};
use crate::grafana::{Reader, all, alone};
use crate::support::{Database, tidewatch, variable};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// Where the simulation ends: 2026-02-02T00:00:00Z.
const END: i64 = 1_769_990_400;

/// What people look back over, in seconds.
const SPANS: [(&str, i64); 3] = [("14d", 14 * 86_400), ("24h", 86_400), ("1h", 3600)];

/// Panels that leave it to their width get so many points: one that takes half of a large screen.
const POINTS: i64 = 1000;

/// The steps that Grafana rounds to, in seconds, each with the width from which the next one is taken (`roundInterval` in its `rangeutil`).
const STEPS: [(i64, i64); 13] = [
    (90, 60),
    (210, 120),
    (450, 300),
    (750, 600),
    (1050, 900),
    (1500, 1200),
    (2700, 1800),
    (5400, 3600),
    (9000, 7200),
    (16_200, 10_800),
    (32_400, 21_600),
    (86_400, 43_200),
    (i64::MAX, 86_400),
];

/// A query and how long it took.
struct Measured {
    milliseconds: f64,
    span: &'static str,
    step: i64,
    place: String,
}

/// The step of a panel over a range: what its points come to, rounded, and no less than the panel asks for.
fn step(panel: &Value, length: i64) -> i64 {
    let width = length / panel["maxDataPoints"].as_i64().unwrap_or(POINTS);
    let rounded = STEPS.iter().find(|(below, _)| width < *below).map_or(width, |(_, step)| *step);
    let least = text(&panel["interval"]);
    let least = least.trim_end_matches('m').parse().map_or(0, |minutes: i64| minutes * 60);
    rounded.max(least)
}

/// The server that a URL names, or one that a simulation fills.
fn filled() -> Option<(Reader, i64, Option<Database>)> {
    if let Ok(url) = std::env::var("TIDEWATCH_BENCH_HISTORY") {
        let mut reader = Reader::connect(&url);
        let end = reader.number("SELECT extract(epoch FROM max(horizon))::bigint FROM sources");
        return Some((reader, end, None));
    }
    let database = Database::create(&variable("TIDEWATCH_TEST_POSTGRES", "the URL of a PostgreSQL server")?, "panels");
    let folder = tempfile::tempdir().unwrap();
    let models = format!("embedded:{}", folder.path().join("models.db").display());
    let preset = std::env::var("TIDEWATCH_BENCH_PRESET").unwrap_or_else(|_| "production".into());
    let stores = ["--history", &database.url(), "--models", &models];
    // Fourteen days that are scored, since what was only backfilled has neither z_scores nor anomalies.
    let pinned =
        ["--seed", "7", "--start", "2026-01-19T00:00:00Z", "--backfill", "2d", "--for", "14d", "--interval", "5m", "--speed", "max"];
    let since = Instant::now();
    tidewatch(&[&["run", "--source", &format!("simulate:{preset}"), "--no-raw", "-w", "2"], &pinned[..], &stores[..]].concat());
    eprintln!(
        "{preset}: two days to train on and fourteen to look at, simulated, scored and stored in {:.1} s",
        since.elapsed().as_secs_f64()
    );
    // What autovacuum does within a minute or two: nobody looks at a dashboard of fourteen days before.
    database.run("VACUUM ANALYZE");
    Some((Reader::connect(&database.url()), END, Some(database)))
}

/// A query over each span that ends at `end`, the median of three.
fn measure(reader: &mut Reader, place: &str, panel: &Value, query: &str, choice: &Choice, taken: &mut Vec<Measured>) {
    // What is counted by the wall clock is asked for around now.
    let by_wall_clock = query.contains("FROM commits") || query.contains("FROM dead_letters");
    let end = if by_wall_clock { chrono::Utc::now().timestamp() } else { choice.range.1 };
    for (span, length) in SPANS {
        let choice = Choice { range: (end - length, end), interval: step(panel, length), ..choice.clone() };
        let query = choice.expand(query);
        let mut times: Vec<f64> = (0..3).map(|_| reader.milliseconds(place, &query)).collect();
        times.sort_by(f64::total_cmp);
        taken.push(Measured { milliseconds: times[1], span, step: choice.interval, place: place.into() });
    }
}

/// All queries of a dashboard: variables, annotations, panels.
fn measure_board(name: &str, board: &Value, reader: &mut Reader, choice: &mut Choice, taken: &mut Vec<Measured>) {
    all(board, reader, choice);
    for variable in list(&board["templating"]["list"]).iter().filter(|variable| variable["type"] == "query") {
        measure(reader, &format!("{name}: ${}", text(&variable["name"])), variable, text(&variable["query"]), choice, taken);
    }
    for one in list(&board["annotations"]["list"]).iter().filter(|one| !one["target"].is_null()) {
        measure(reader, &format!("{name}: @{}", text(&one["name"])), one, text(&one["target"]["rawSql"]), choice, taken);
    }
    for panel in panels(board).filter(|panel| !text(&panel["title"]).ends_with("(Prometheus)")) {
        for target in list(&panel["targets"]) {
            measure(reader, &format!("{name}: {}", text(&panel["title"])), panel, text(&target["rawSql"]), choice, taken);
        }
    }
}

#[test]
#[ignore = "a measurement: benches/dashboards"]
fn how_long_the_panels_take() {
    let Some((mut reader, end, database)) = filled() else { return };
    let mut taken = Vec::new();
    let one = alone(&mut reader, "server");
    for (name, board) in boards() {
        let variables = if name == "series" { one.clone() } else { BTreeMap::new() };
        let mut choice = Choice { range: (end - 3600, end), interval: 300, variables };
        measure_board(&name, &board, &mut reader, &mut choice, &mut taken);
    }
    drop(database);
    taken.sort_by(|one, other| other.milliseconds.total_cmp(&one.milliseconds));
    eprintln!("{:>8}  {:<5}{:>6}  panel", "ms", "span", "step");
    for Measured { milliseconds, span, step, place } in &taken {
        eprintln!("{milliseconds:>8.1}  {span:<5}{:>5}m  {place}", step / 60);
    }
    let slow = taken.iter().filter(|one| one.milliseconds > 200.0).count();
    eprintln!("{slow} of {} queries take more than 200 ms", taken.len());
}
