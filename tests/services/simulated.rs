//! A simulated datacenter through Kafka, PostgreSQL and Redis.

use crate::support::{Database, redis_database, services, tidewatch};
use dataflows::State;
use redis::Commands;
use tidewatch::history;

#[test]
fn a_model_of_the_dev_preset_is_readable_in_redis_and_live_equals_file() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "dev");
    let (history_url, models_url) = (database.url(), redis_database(&services.redis));
    let address = format!("kafka://{}/dev-{}", services.kafka, std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let file = format!("file:{}", folder.path().join("dev.jsonl").display());
    let embedded = format!("embedded:{}", folder.path().join("dev.db").display());
    let pinned =
        ["--preset", "dev", "--seed", "7", "--start", "2026-01-19T00:00:00Z", "--for", "10m", "--speed", "max", "--backfill", "4d"];
    for to in [&address, &file] {
        tidewatch(&[&["generate", "--to", to], pinned.as_slice()].concat());
    }
    let run = |source: &str, history: &str| {
        tidewatch(&["run", "--source", source, "--history", history, "--models", &models_url, "--until-end", "-w", "2"]);
    };
    run(&address, &history_url);
    tidewatch(&["train", "--history", &history_url, "--models", &models_url, "--until", "2026-01-19T00:00:00Z"]);

    let mut connection = redis::Client::open(models_url.as_str()).unwrap().get_connection().unwrap();
    let document: String = connection.get("model:server:srv-001:cpu_usage_percent").unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["trained_until"], "2026-01-19T00:00:00Z");
    assert_eq!(document["method"], "seasonal_level");
    assert_eq!(connection.get::<_, u64>("models:generation").unwrap(), 1);

    // The same records from a file, where the log's end closes the last buckets: all that Kafka's open log has closed must agree.
    run(&file, &embedded);
    let collect = |url: &str| {
        let mut verdicts = Vec::new();
        history::open(url).unwrap().verdicts(i64::MIN, 1_768_780_800_000, &mut |verdict| verdicts.push(verdict)).unwrap();
        verdicts.sort();
        verdicts
    };
    let (live, file) = (collect(&history_url), collect(&embedded));
    assert!(live.len() > 200_000 && live.iter().all(|verdict| verdict.state != State::Missing), "{} buckets", live.len());
    assert_eq!(live.len(), file.len());
    assert!(
        live.iter().zip(&file).all(|(live, file)| live == file),
        "the first difference: {:?}",
        live.iter().zip(&file).find(|pair| pair.0 != pair.1)
    );
}
