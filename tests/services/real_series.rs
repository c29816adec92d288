//! Real CPU, network and disk metrics of the Numenta Anomaly Benchmark: what comes out of the live way must be what a backtest says.

use crate::support::{Database, Services, data, redis_database, services, tidewatch};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;
use tidewatch::history;
use tidewatch::instant;
use tidewatch::source::kafka::producer::KafkaLog;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

struct Row {
    time: i64,
    timestamp: String,
    entity: String,
    value: String,
}

/// The series of a month: they overlap, so that one moment can separate training from scoring for all of them.
struct Cohort {
    name: String,
    rows: Vec<Row>,
    train_until: i64,
}

fn cohorts() -> Option<Vec<Cohort>> {
    let archive = data()?.join("nab.csv.gz");
    let unpacked = Command::new("gzip").arg("-dc").arg(&archive).output().unwrap();
    assert!(unpacked.status.success(), "{} cannot be unpacked", archive.display());
    let mut reader = csv::Reader::from_reader(unpacked.stdout.as_slice());
    let mut series: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for record in reader.records().map(Result::unwrap).filter(|record| record[1].starts_with("realAWSCloudwatch.")) {
        let row = Row {
            time: instant::parse(&record[0]).unwrap(),
            timestamp: record[0].into(),
            entity: record[1].into(),
            value: record[3].into(),
        };
        series.entry(row.entity.clone()).or_default().push(row);
    }
    assert_eq!(series.len(), 17, "the AWS series of the benchmark");
    let mut months: BTreeMap<String, Vec<Vec<Row>>> = BTreeMap::new();
    for rows in series.into_values() {
        months.entry(rows[0].timestamp[..7].into()).or_default().push(rows);
    }
    Some(months.into_iter().map(|(month, series)| cohort(&month, series)).collect())
}

fn cohort(month: &str, series: Vec<Vec<Row>>) -> Cohort {
    let latest_start = series.iter().map(|rows| rows[0].time).max().unwrap();
    let earliest_end = series.iter().map(|rows| rows[rows.len() - 1].time).min().unwrap();
    let train_until = (latest_start.midpoint(earliest_end)) / (5 * MINUTE) * (5 * MINUTE);
    let mut rows: Vec<Row> = series.into_iter().flatten().collect();
    rows.sort_by_key(|row| row.time);
    Cohort { name: month.replace('-', "_"), rows, train_until }
}

type Anomalies = BTreeSet<(String, String, String, u64, u64, u64)>;

fn bits(text: &str) -> u64 {
    text.parse::<f64>().unwrap().to_bits()
}

/// What a backtest over the same rows says.
fn by_backtest(cohort: &Cohort, folder: &std::path::Path) -> Anomalies {
    let (input, output) = (folder.join("input.csv"), folder.join("output.csv"));
    let mut text = String::from("timestamp,entity,metric,value\n");
    for row in &cohort.rows {
        writeln!(text, "{},{},value,{}", row.timestamp, row.entity, row.value).unwrap();
    }
    std::fs::write(&input, text).unwrap();
    let until = instant::format(cohort.train_until);
    tidewatch(&["backtest", input.to_str().unwrap(), "--train-until", &until, "--out", output.to_str().unwrap()]);
    let mut reader = csv::Reader::from_path(&output).unwrap();
    let expected = "timestamp,entity,metric,value,expected,z_score,is_anomaly";
    assert!(reader.headers().unwrap().iter().collect::<Vec<_>>().join(",").starts_with(expected));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), cohort.rows.iter().filter(|row| row.time >= cohort.train_until).count(), "one row per row of the input");
    let anomalous = rows.iter().filter(|row| &row[6] == "true");
    // A row has its own time; the anomaly has that of its bucket.
    anomalous.map(|row| (row[7].into(), row[1].into(), row[2].into(), bits(&row[8]), bits(&row[4]), bits(&row[5]))).collect()
}

fn produce<'a>(address: &str, rows: impl Iterator<Item = &'a Row>) {
    let mut log = KafkaLog::open(address).unwrap();
    for row in rows {
        let record =
            format!(r#"{{"type":"server_metric","timestamp":"{}","server_id":"{}","value":{}}}"#, row.timestamp, row.entity, row.value);
        log.write(&row.entity, record.as_bytes()).unwrap();
    }
    log.finish().unwrap();
}

/// Servers that go on after the last row, enough of them to reach every partition: time has passed for all.
fn go_on(address: &str, after: i64) {
    let rows: Vec<Row> = (0..64)
        .map(|number| Row { time: after, timestamp: instant::format(after), entity: format!("later-{number}"), value: "1".into() })
        .collect();
    produce(address, rows.iter());
}

/// What the live way says: produced to Kafka, aggregated to PostgreSQL, trained to Redis, scored.
fn by_running(cohort: &Cohort, services: &Services) -> Anomalies {
    let database = Database::create(&services.postgres, &format!("nab_{}", cohort.name));
    let (history_url, models_url) = (database.url(), redis_database(&services.redis));
    let address = format!("kafka://{}/nab-{}-{}", services.kafka, cohort.name, std::process::id());
    let run = |workers| {
        tidewatch(&["run", "--source", &address, "--history", &history_url, "--models", &models_url, "--until-end", "-w", workers])
    };
    produce(&address, cohort.rows.iter().filter(|row| row.time < cohort.train_until));
    // The last bucket before the training ends must have been closed, which takes the watermark past its end.
    go_on(&address, cohort.train_until + MINUTE);
    run("1");
    let report = tidewatch(&["train", "--history", &history_url, "--models", &models_url, "--until", &instant::format(cohort.train_until)]);
    assert!(report.contains("trained"), "{report}");
    produce(&address, cohort.rows.iter().filter(|row| row.time >= cohort.train_until));
    go_on(&address, cohort.rows[cohort.rows.len() - 1].time + DAY);
    run("2");
    let mut history = history::open(&history_url).unwrap();
    assert!(history.dead_letters().unwrap().is_empty(), "{:?}", history.dead_letters());
    let anomalies = history.anomalies(i64::MIN, i64::MAX).unwrap();
    let row = |anomaly: history::Anomaly| {
        let (actual, expected) = (anomaly.actual_value.to_bits(), anomaly.expected_value.to_bits());
        (instant::format(anomaly.start), anomaly.name.entity_id, anomaly.name.metric, actual, expected, anomaly.z_score.to_bits())
    };
    anomalies.into_iter().map(row).collect()
}

#[test]
fn the_live_way_and_a_backtest_find_the_same_anomalies_in_real_series() {
    let (Some(services), Some(cohorts)) = (services(), cohorts()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut total = 0;
    for cohort in &cohorts {
        let expected = by_backtest(cohort, folder.path());
        let found = by_running(cohort, &services);
        let (live, past) = (found.difference(&expected).next(), expected.difference(&found).next());
        assert_eq!(
            (live, past),
            (None, None),
            "the first that is only live, and the first that is only in the backtest, of {}",
            cohort.name
        );
        total += found.len();
    }
    assert!(total > 50, "the comparison must compare something: {total} anomalies");
}
