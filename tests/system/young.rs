//! A server that joins a running fleet: silent while nothing is known of it, useful after a day, and never silent about which of both holds.

use crate::support::Place;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;

/// 2026-01-19T00:00:00Z, in minutes since 1970: a Monday, and when the new server joins.
const START: i64 = 29_479_680;
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
/// The servers of the fleet; the new one comes after them.
const FLEET: i64 = 4;
/// The new server goes wrong for a quarter of an hour on its second day, at half past two.
const WRONG: Range<i64> = DAY + 14 * HOUR + 30..DAY + 14 * HOUR + 45;

/// Something like noise between -1 and 1, the same each time.
fn noise(server: i64, minute: i64) -> f64 {
    let mut state =
        (server + 1).cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ minute.cast_unsigned().wrapping_mul(0xd1b5_4a32_d192_ed03);
    state = (state ^ (state >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    state ^= state >> 33;
    ((state >> 40) as f64 / f64::from(1 << 23)) - 1.0
}

/// Load from nine to five, on each server more.
fn usual(server: i64, minute: i64) -> f64 {
    let works = (9 * HOUR..17 * HOUR).contains(&minute.rem_euclid(DAY));
    20.0 + if works { 15.0 + 5.0 * server as f64 } else { 0.0 } + noise(server, minute)
}

/// What all servers say every five minutes of a span, counted from when the new one joins.
fn lines(minutes: Range<i64>) -> String {
    let mut text = String::new();
    for minute in minutes.step_by(5) {
        for server in 0..=FLEET {
            let (is_new, seconds) = (server == FLEET, (START + minute) * 60);
            let wrong = if is_new && WRONG.contains(&minute) { 25.0 } else { 0.0 };
            let value = usual(server, minute) + wrong;
            if minute >= 0 || !is_new {
                let _ = writeln!(text, r#"{{"server_id":"srv-{server}","timestamp":{seconds},"cpu":{value:.4}}}"#);
            }
        }
    }
    text
}

/// A place in which the log is watched as it grows.
struct Fleet(Place);

impl Fleet {
    /// Lets the log grow by a span, and watches that.
    fn grow(&self, minutes: Range<i64>) {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(self.0.path("fleet.jsonl")).unwrap();
        log.write_all(lines(minutes).as_bytes()).unwrap();
        drop(log);
        self.0.run("run --source file:fleet.jsonl").well();
    }

    /// Trains on what came before a minute; what the report says.
    fn train(&self, minute: i64) -> String {
        let until = tidewatch::instant::format((START + minute) * 60_000);
        self.0.run(&format!("train --until {until}")).well().stdout
    }

    /// The states of the new server's buckets in a span, each with how many there are.
    fn states(&self, minutes: Range<i64>) -> Vec<(String, i64)> {
        let database = self.0.database();
        let query = "SELECT state, count(*) FROM buckets JOIN series USING (series_id) WHERE entity_id = 'srv-4' \
                     AND bucket_start >= ?1 AND bucket_start < ?2 GROUP BY state ORDER BY state";
        let mut statement = database.prepare(query).unwrap();
        let span = [minutes.start, minutes.end].map(|minute| (START + minute) * 60_000);
        statement.query_map(span, |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    /// The line that `models list` has for the new server.
    fn model(&self) -> String {
        let listed = self.0.run("models list").well().stdout;
        listed.lines().find(|line| line.starts_with("server:srv-4:cpu ")).unwrap_or_default().to_owned()
    }
}

#[test]
fn a_server_that_joins_is_silent_at_first_and_useful_after_a_day() {
    let fleet = Fleet(Place::new());
    fleet.grow(-5 * DAY..3 * HOUR);
    let report = fleet.train(3 * HOUR);
    assert!(report.contains("trained 4 of 5 series") && report.contains("warming: 36 of 288 buckets"), "{report}");
    assert!(fleet.model().contains("warming  36 of 288 buckets until 2026-01-19T03:00:00Z"), "{}", fleet.model());

    fleet.grow(3 * HOUR..DAY);
    assert_eq!(fleet.states(3 * HOUR..DAY), [("unscored(warming)".to_owned(), 21 * 12)]);
    let told = fleet.0.run("explain srv-4 cpu 2026-01-19T12:00:00Z").well().stdout;
    assert!(told.contains("unscored(warming: 36 of 288 buckets when it was last trained, until 2026-01-19T03:00:00Z)"), "{told}");

    assert!(fleet.train(DAY).contains("trained 5 of 5 series"));
    assert!(fleet.model().contains("profile 1.00 of 4 peers"), "{}", fleet.model());
    fleet.grow(DAY..2 * DAY);
    let (before, after) = (fleet.states(DAY..WRONG.start), fleet.states(WRONG.end + 6 * HOUR..2 * DAY));
    assert_eq!(before, [("normal".to_owned(), (WRONG.start - DAY) / 5)], "an ordinary morning");
    assert!(after.iter().all(|(state, _)| state == "normal"), "an ordinary evening: {after:?}");
    assert!(fleet.states(WRONG).iter().any(|(state, _)| state == "anomalous"), "{:?}", fleet.states(WRONG));
    // Its second day is expected to go up at nine, which it has seen once, as its peers do, by as much as it did.
    let told = fleet.0.run("explain srv-4 cpu 2026-01-20T09:15:00Z").well();
    let expected = told.numbers("expected  ")[0];
    assert!((expected - 55.0).abs() < 4.0, "{}", told.stdout);
    assert!(told.stdout.contains("young, so its profile is 1.00 of 4 peers"), "{}", told.stdout);
}

/// Failed once, in thought: a server that was silent for longer than the training window is young again, and what is said of it would have taken its
/// model out of force.
#[test]
fn what_is_said_of_a_young_series_takes_no_model_out_of_force() {
    let fleet = Fleet(Place::new());
    fleet.grow(-2 * DAY..2 * DAY);
    assert!(fleet.train(2 * DAY).contains("trained 5 of 5 series"));
    let model = fleet.model();
    let report = fleet.0.run("train --until 2026-01-21T00:00:00Z --period 900 --window 7d").well().stdout;
    assert!(report.contains("trained 4 of 5 series"), "{report}");
    assert_eq!(fleet.model(), model);
    fleet.grow(2 * DAY..2 * DAY + 2 * HOUR);
    assert_eq!(fleet.states(2 * DAY..2 * DAY + 2 * HOUR), [("normal".to_owned(), 24)]);
}

/// On one series of a month that anybody can make: that it works, not what it says of real ones.
#[test]
fn how_much_history_it_takes_is_measured() {
    let place = Place::new();
    let series = "import gzip, random\n\
        from datetime import datetime, timedelta\n\
        random.seed(7)\n\
        with gzip.open('kpi5.csv.gz', 'wt') as file:\n\
        \x20   print('timestamp,entity,metric,value,label,split', file=file)\n\
        \x20   for i in range(40 * 288):\n\
        \x20       at, odd = datetime(2026, 1, 1) + timedelta(minutes=5 * i), i // 288 % 7 < 2 and i % 288 == 100\n\
        \x20       print(f'{at:%Y-%m-%dT%H:%M:%SZ},a,value,{random.gauss(50, 1) + 40 * odd:.3f},{int(odd)},train', file=file)\n";
    let made = std::process::Command::new("python3").args(["-c", series]).current_dir(place.path(".")).status().unwrap();
    assert!(made.success());
    let bench = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/young");
    let output = std::process::Command::new(bench)
        .arg("3")
        .env("TIDEWATCH_DATA", place.path("."))
        .env("TIDEWATCH", env!("CARGO_BIN_EXE_tidewatch"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let row: Vec<&str> = said.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert!(output.status.success() && row.len() == 5, "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        row[..4],
        ["3", "2", "4", "4"],
        "two pairs of a Thursday and a Friday fit, with a label a day, and all of them are found: {said}"
    );
}
