//! Kafka, Redis and PostgreSQL stopped for half a minute each in mid-run, while the producer goes on: nothing lost, nothing twice, no restart.
//!
//! A target of its own: cargo runs targets one after the other, so nobody else needs the services meanwhile.

#[path = "../services/support.rs"]
#[allow(dead_code)] // the real series are of no use here
mod support;
mod watched;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Database, Services, redis_database, services, tidewatch};
use watched::Watched;

/// How long a service is away.
const OUTAGE: Duration = Duration::from_secs(30);

/// What the run may grow by while PostgreSQL is away. The 200,000 records that a worker may hold take some 80 MiB with their raw events; all that
/// the producer writes meanwhile would take four times that.
const GROWTH_KIB: u64 = 150 * 1024;

/// What happens first, at sixty times the pace of life, and what the producer floods the topic with later.
const PACED: [&str; 6] = ["--start", "2026-01-19T00:00:00Z", "--for", "45m", "--speed", "60"];
const FLOOD: [&str; 6] = ["--start", "2026-01-19T00:45:00Z", "--for", "30h", "--speed", "max"];

/// Stops or starts a service, where this test is the one that may.
fn service(action: &str, name: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");
    assert!(Command::new(script).args([action, name]).stdout(Stdio::null()).status().unwrap().success(), "{action} {name}");
}

/// Whether the services are ours to stop. Without them the test is skipped aloud, and fails under `CI=true`.
fn stoppable() -> Option<Services> {
    let services = services()?;
    if std::env::var_os("TIDEWATCH_SERVICES_DIR").is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "TIDEWATCH_SERVICES_DIR is not set: the services are not ours to stop");
        eprintln!("skipped: TIDEWATCH_SERVICES_DIR is not set, so the services are not ours to stop; scripts/services run sets it");
        return None;
    }
    Some(services)
}

/// The simulated producer, from outside.
fn produce(to: &str, part: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(["generate", "--to", to, "--preset", "dev", "--seed", "7", "--backfill", "0s"]).args(part);
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// How many records a producer says that it has written.
fn written(producer: Child) -> i64 {
    let output = producer.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let count = said.lines().find_map(|line| line.split_once(" records, ")).unwrap_or_else(|| panic!("{said}")).0;
    count.replace(',', "").parse().unwrap()
}

/// Models of three simulated days, in a Redis database.
fn train(services: &Services) -> String {
    let models = redis_database(&services.redis);
    let topic = format!("kafka://{}/before-{}", services.kafka, std::process::id());
    let before = ["--start", "2026-01-19T00:00:00Z", "--for", "0s", "--speed", "max", "--backfill", "3d", "--preset", "dev", "--seed", "7"];
    tidewatch(&[&["generate", "--to", &topic], before.as_slice()].concat());
    let history = Database::create(&services.postgres, "before");
    tidewatch(&["run", "--source", &topic, "--history", &history.url(), "--models", &models, "--until-end", "--no-raw"]);
    tidewatch(&["train", "--history", &history.url(), "--models", &models, "--until", "2026-01-19T00:00:00Z"]);
    models
}

/// How many records of the topic a history has committed.
fn committed(history: &str) -> i64 {
    let mut client = postgres::Client::connect(history, postgres::NoTls).unwrap();
    client.query_one("SELECT coalesce(sum(next_offset), 0)::bigint FROM progress", &[]).unwrap().get(0)
}

#[test]
fn services_that_go_away_and_come_back_change_nothing_and_are_named_meanwhile() {
    let Some(services) = stoppable() else { return };
    let models = train(&services);
    let topic = format!("kafka://{}/outages-{}", services.kafka, std::process::id());
    // A small queue in the client, so that what grows is what the run holds.
    let source = format!("{topic}?queued.max.messages.kbytes=1024");
    let (shaken, calm) = (Database::create(&services.postgres, "shaken"), Database::create(&services.postgres, "calm"));
    let (shaken, calm) = (shaken.url(), calm.url());
    let flags =
        |history: &str| ["run", "--source", &source, "--history", history, "--models", &models, "--idle-timeout", "10m"].map(str::to_owned);

    let paced = produce(&topic, &PACED);
    watched::until("the topic is there", || tidewatch_check(&topic));
    let mut run = Watched::start(&flags(&shaken));
    run.await_away(&[]);

    for name in ["redis", "kafka"] {
        service("stop-one", name);
    }
    let since = Instant::now();
    run.await_away(&["source", "models"]);
    std::thread::sleep(OUTAGE.saturating_sub(since.elapsed()));
    assert_eq!(run.away(), ["source", "models"]);
    for name in ["redis", "kafka"] {
        service("start-one", name);
    }
    run.await_away(&[]);
    let mut records = written(paced);

    let before = run.resident_kib();
    service("stop-one", "postgres");
    let since = Instant::now();
    let flood = produce(&topic, &FLOOD);
    run.await_away(&["history"]);
    let mut most = before;
    while since.elapsed() < OUTAGE {
        most = most.max(run.resident_kib());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(run.away(), ["history"]);
    service("start-one", "postgres");
    records += written(flood);
    run.await_away(&[]);
    watched::until("everything is committed", || committed(&shaken) == records);
    assert_eq!(run.away(), [""; 0]);
    let said = run.stop();
    eprintln!("{records} records; {} KiB before PostgreSQL was stopped, {} KiB more at most while it was away", before, most - before);
    assert!(most - before < GROWTH_KIB, "grew by {} KiB while PostgreSQL was away", most - before);
    for (away, back) in [
        ("the source is away", "the source is back"),
        ("the models are away", "the models are back"),
        ("history is away", "history is back"),
    ] {
        assert!(said.contains(away) && said.contains(back), "'{away}', '{back}':\n{said}");
    }

    let undisturbed: Vec<String> = flags(&calm).into_iter().chain(["--until-end".into()]).collect();
    tidewatch(&undisturbed.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(committed(&calm), records);
    let digest = |history: &str| tidewatch(&["digest", "--history", history]);
    assert!(digest(&calm).contains("buckets"), "{}", digest(&calm));
    assert_eq!(digest(&shaken), digest(&calm));
}

/// Whether the topic can be read.
fn tidewatch_check(topic: &str) -> bool {
    let status = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(["check", "--source", topic, "--history", "embedded:nowhere.db", "--models", "embedded:nowhere.db"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}
