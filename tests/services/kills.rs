//! Killed at any moment, started again: the same final relation, on Kafka and PostgreSQL.

use crate::support::{Database, log_of, redis_database, relation, services, tidewatch};
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: u64 = 20;

#[test]
fn twenty_kills_change_nothing() {
    let Some(services) = services() else { return };
    let (calm, shaken) = (Database::create(&services.postgres, "calm"), Database::create(&services.postgres, "shaken"));
    let models = redis_database(&services.redis);
    let address = log_of(&services, "kills", "2h", "3d");
    let run = |history: &str| {
        let flags =
            ["--source", &address, "--models", &models, "--until-end", "--commit-interval", "20ms", "-w", "2", "--history", history];
        ["run"].iter().chain(&flags).map(ToString::to_string).collect::<Vec<String>>()
    };
    let to_the_end = |history: &str| tidewatch(&run(history).iter().map(String::as_str).collect::<Vec<_>>());
    to_the_end(&calm.url());
    tidewatch(&["train", "--history", &calm.url(), "--models", &models, "--until", "2026-01-19T00:00:00Z"]);
    // Scored from the beginning by the same models on both sides.
    let scored = Database::create(&services.postgres, "scored");
    let digest = to_the_end(&scored.url());

    let mut interrupted = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
            .args(run(&shaken.url()))
            .env("TIDEWATCH_NO_PAGE", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before the first commit to after the last, at moments that differ from run to run.
        let jitter = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros()) % 60;
        std::thread::sleep(Duration::from_millis(150 + 45 * kill + jitter));
        interrupted += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(to_the_end(&shaken.url()).lines().last(), digest.lines().last());
    // What is counted by the day is what the verdicts say that are settled.
    let differing = "SELECT count(*) FROM (
            SELECT series_id, date_trunc('day', bucket_start, 'UTC') AS day, count(*) AS scored, count(*) FILTER (WHERE abs(z_score) > 3) AS alarms
            FROM buckets JOIN tracks USING (series_id) WHERE bucket_start <= last_start AND state IN ('normal', 'anomalous', 'accompanying') GROUP BY 1, 2) AS told
        FULL JOIN calibration USING (series_id, day)
        WHERE (told.scored, told.alarms) IS DISTINCT FROM (calibration.scored, calibration.alarms)";
    assert!(shaken.number("SELECT count(*) FROM calibration WHERE scored > 0") > 100);
    assert_eq!(shaken.number(differing), 0);
    assert!(interrupted > KILLS / 4, "only {interrupted} of {KILLS} kills found the process alive");
    let (shaken, scored) = (relation(&shaken.url()), relation(&scored.url()));
    assert!(scored.len() > 100_000, "{} buckets", scored.len());
    assert_eq!(shaken.len(), scored.len());
    assert!(shaken == scored, "the first difference: {:?}", shaken.iter().zip(&scored).find(|pair| pair.0 != pair.1));
}
