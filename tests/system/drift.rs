//! A model whose promise is broken: counted, told of, trained again on what came since, and whole again.

use crate::restart::assert_calibrated;
use crate::support::Place;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::Write as _;

const BUCKET: i64 = 300_000;
/// Buckets in a day.
const DAY: i64 = 288;
/// 2026-01-05T00:00:00Z.
const MONDAY: i64 = 1_767_571_200_000;
/// Drift begins here, in buckets.
const ONSET: i64 = 15 * DAY;
const ENTITIES: [&str; 4] = ["calm-1", "calm-2", "noisy", "shifted"];
const RUN: &str = "run --source file:metrics.jsonl --no-raw --commit-interval 5ms";

/// Normally distributed, nearly.
fn noise(series: usize, i: i64) -> f64 {
    let mut z = (series as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i.cast_unsigned().wrapping_mul(0xd1b5_4a32_d192_ed03);
    let mut chance = || {
        z ^= z << 13;
        z ^= z >> 7;
        z ^= z << 17;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..12).map(|_| chance()).sum::<f64>() - 6.0
}

fn value(series: usize, i: i64) -> f64 {
    let has_drifted = i >= ONSET;
    let phase = i as f64 / DAY as f64 + if has_drifted && ENTITIES[series] == "shifted" { 0.25 } else { 0.0 };
    let loudness = if has_drifted && ENTITIES[series] == "noisy" { 3.0 } else { 1.0 };
    50.0 + 10.0 * (phase * std::f64::consts::TAU).sin() + 2.0 * loudness * noise(series, i)
}

/// Appends the records of some buckets to the log; one in forty comes twenty minutes late.
fn append(place: &Place, buckets: std::ops::Range<i64>) {
    let (mut text, mut late) = (String::new(), Vec::new());
    for i in buckets.clone() {
        for (series, entity) in ENTITIES.iter().enumerate() {
            let (time, value) = (MONDAY + i * BUCKET + 1000, value(series, i));
            let line = format!(r#"{{"server_id":"{entity}","timestamp":{time},"cpu_usage_percent":{value}}}"#);
            if (i * 4 + series as i64) % 40 == 7 { late.push((i + 4, line)) } else { writeln!(text, "{line}").unwrap() }
        }
        late.retain(|(due, line)| {
            let is_due = *due <= i || i + 1 == buckets.end;
            if is_due {
                writeln!(text, "{line}").unwrap();
            }
            !is_due
        });
    }
    let mut file = OpenOptions::new().create(true).append(true).open(place.path("metrics.jsonl")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A time, as people write it.
fn at(bucket: i64) -> String {
    chrono::DateTime::from_timestamp_millis(MONDAY + bucket * BUCKET).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The entities that drift by what is counted last of them.
fn drifting(place: &Place) -> Vec<String> {
    let sql = "SELECT entity_id FROM calibration AS latest JOIN series USING (series_id) WHERE drifting_since IS NOT NULL
        AND day = (SELECT max(day) FROM calibration WHERE calibration.series_id = latest.series_id) ORDER BY 1";
    let database = place.database();
    let mut select = database.prepare(sql).unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The squares of what the verdicts deviate, in scales of the one model that they were made with.
fn squares(place: &Place, entity: &str, sigma: f64) -> i64 {
    let sql = "SELECT mean, expected FROM buckets JOIN series USING (series_id) JOIN tracks USING (series_id)
        WHERE entity_id = ?1 AND bucket_start <= last_start AND state IN ('normal', 'anomalous', 'accompanying')";
    let database = place.database();
    let mut select = database.prepare(sql).unwrap();
    let square = |row: &rusqlite::Row<'_>| {
        let deviation = (row.get::<_, f64>(0)? - row.get::<_, f64>(1)?) / sigma;
        #[allow(clippy::cast_possible_truncation)]
        Ok((deviation.clamp(-3.0, 3.0).powi(2) * 1e6).round() as i64)
    };
    select.query_map([entity], square).unwrap().map(Result::unwrap).sum()
}

fn model(place: &Place, entity: &str) -> serde_json::Value {
    serde_json::from_str(&place.run(&format!("models show server:{entity}:cpu_usage_percent")).well().stdout).unwrap()
}

#[test]
fn a_broken_promise_is_counted_told_of_and_mended_by_an_early_training() {
    let place = Place::new();
    append(&place, 0..14 * DAY);
    place.run(RUN).well();
    let until = at(14 * DAY);
    assert!(place.run(&format!("train --until {until}")).well().stdout.contains("trained 4 of 4"));
    append(&place, 14 * DAY..ONSET);
    place.run(RUN).well();
    assert_eq!(drifting(&place), Vec::<String>::new());

    // Killed on the way, and the log grows: what is counted is what the verdicts say all the same.
    append(&place, ONSET..ONSET + DAY + 100);
    let mut run = place.call(RUN).start();
    place.comes_to_hold(&format!("SELECT count(*) FROM calibration WHERE day >= {}", MONDAY + ONSET * BUCKET));
    run.kill();
    place.run(RUN).well();
    assert_calibrated(&place, &[]);
    for entity in ENTITIES {
        let sigma = model(&place, entity)["sigma"].as_f64().unwrap();
        let counted =
            place.count(&format!("SELECT sum(squares) FROM calibration JOIN series USING (series_id) WHERE entity_id = '{entity}'"));
        assert_eq!(counted, squares(&place, entity, sigma), "{entity}");
    }
    assert_eq!(drifting(&place), ["noisy", "shifted"]);
    let list = place.run("models list").well().stdout;
    let told: Vec<&str> = list.lines().filter(|line| line.contains("drifting since 2026-01-20T")).collect();
    assert!(told.len() == 2 && told[0].starts_with("server:noisy:") && told[1].starts_with("server:shifted:"), "{list}");
    let explained = place.run(&format!("explain noisy cpu_usage_percent {}", at(ONSET + DAY))).well().stdout;
    assert!(explained.contains("\ndrifting  since 2026-01-20T"), "{explained}");
    assert!(!place.run(&format!("explain calm-1 cpu_usage_percent {}", at(ONSET + DAY))).well().stdout.contains("drifting"));

    let sigma = model(&place, "noisy")["sigma"].as_f64().unwrap();
    let report = place.run(&format!("train --until {}", at(ONSET + DAY + 100))).well().stdout;
    assert!(report.contains("; 2 series drifting: server:noisy:cpu_usage_percent, server:shifted:cpu_usage_percent"), "{report}");
    assert!(model(&place, "noisy")["sigma"].as_f64().unwrap() > 2.0 * sigma, "the noise is three times what it was");
    assert!(
        model(&place, "noisy")["parameters"]["scales_from"].is_string() && model(&place, "calm-1")["parameters"]["scales_from"].is_null()
    );
    append(&place, ONSET + DAY + 100..ONSET + 4 * DAY);
    place.run(RUN).well();
    assert_eq!(drifting(&place), Vec::<String>::new(), "what was trained again is whole again");
    assert!(!place.run("models list").well().stdout.contains("drifting"));

    // Three days after the break nothing else counts: the new shape of the day is known.
    let report = place.run(&format!("train --until {}", at(ONSET + 4 * DAY))).well().stdout;
    assert!(report.contains("trained 4 of 4") && !report.contains("drifting"), "{report}");
    let (shifted, calm) = (model(&place, "shifted"), model(&place, "calm-1"));
    let (shifted_sigma, calm_sigma) = (shifted["sigma"].as_f64().unwrap(), calm["sigma"].as_f64().unwrap());
    assert!(
        shifted["parameters"]["profile"] == "daily" && shifted_sigma < 1.4 * calm_sigma,
        "sigma {shifted_sigma}, that of a calm one {calm_sigma}"
    );
}
