//! Alerts from a PostgreSQL that two processes share: the one that may commit sends, and the other goes on where it was killed.

use crate::receivers::{Answer, Message, Server};
use crate::support::{Database, Process, redis_database, services, tidewatch};
use std::collections::{BTreeMap, BTreeSet};

fn process(database: &Database, models: &str, server: &Server) -> Process {
    let line = format!(
        "run --source simulate:chaos --seed 7 --start 2026-01-19T00:00:00Z --backfill 2d --for 3h --speed 600 --no-raw --no-page --standby \
         --history {} --models {models} --alert ops=webhook:http://127.0.0.1:{}/ --alert-per-hour 1000",
        database.url(),
        server.port
    );
    Process::start(line.split_whitespace().map(str::to_owned).collect())
}

fn key(message: &Message) -> String {
    message.header("Idempotency-Key").unwrap().to_owned()
}

#[test]
fn a_standby_sends_nothing_until_it_takes_over_and_then_what_was_left() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "told");
    let folder = tempfile::tempdir().unwrap();
    let models = format!("embedded:{}", folder.path().join("models.db").display());
    let server = Server::http();
    // The fourth one arrives, and nobody says so before the kill.
    server.answer(&[Answer::Status(200), Answer::Status(200), Answer::Status(200), Answer::Silence]);
    let mut first = process(&database, &models, &server);
    // Not before it has sent something: a simulation lets go of its claim for a moment between its past and its present.
    server.comes_to(1);
    let mut second = process(&database, &models, &server);
    assert!(second.says("another process is watching"), "{}", second.said());
    let lost = key(&server.comes_to(4)[3]);
    first.kill();
    assert!(second.says("this one takes over"), "{}", second.said());
    let (code, _, said) = second.finish();
    assert_eq!(code, Some(0), "{said}");

    let told = server.messages();
    let keys: BTreeSet<String> = told.iter().map(key).collect();
    let doubled = told.len() - keys.len();
    assert!(doubled > 0, "what was on its way is sent again");
    assert_eq!(told.iter().filter(|message| key(message) == lost).count(), doubled + 1, "and nothing else is: {told:#?}");
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE state = 'delivered'"), i64::try_from(keys.len()).unwrap());
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE state = 'pending'"), 0);
    let mut changes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for message in told.iter().filter(|message| seen.insert(key(message))) {
        let body = message.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        changes.entry(text("incident_id")).or_default().push(text("change"));
    }
    assert!(changes.values().all(|changes| changes[0] == "opened"), "{changes:#?}");
    let ends = |changes: &[String]| changes.iter().position(|change| change == "withdrawn").is_none_or(|at| at + 1 == changes.len());
    assert!(
        changes.len() >= 3 && changes.values().all(|changes| ends(changes) || changes.contains(&"reopened".to_owned())),
        "{changes:#?}"
    );
}

/// What stands in the outbox survives a kill: nobody is told twice that nothing arrives, and everybody that records come again.
#[test]
fn that_nothing_arrives_is_told_once_and_its_end_by_whoever_comes_after_a_kill() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "stalled");
    let topic = format!("kafka://{}/stalled-{}", services.kafka, std::process::id());
    let produce = |start: &str, backfill: &str| {
        let line = format!("generate --to {topic} --seed 7 --speed max --start {start} --backfill {backfill} --for 20m");
        tidewatch(&line.split(' ').collect::<Vec<_>>());
    };
    produce("2026-01-19T00:00:00Z", "2h");
    let server = Server::http();
    let line = format!(
        "run --source {topic} --history {} --models {} --no-page --stalled-after 2s --alert ops=webhook:http://127.0.0.1:{}/",
        database.url(),
        redis_database(&services.redis),
        server.port
    );
    let start = || Process::start(line.split(' ').map(str::to_owned).collect());
    let mut run = start();
    // That nothing has arrived yet may be told before.
    let stands = server.hears(|told| told["change"] == "opened" && told["opened"].as_str().unwrap().starts_with("2026-01-19T00:19"));
    assert_eq!((&stands["scope"], &stands["entity_id"]), (&"source".into(), &topic.as_str().into()));
    // A kill before it is noted that it was delivered has it told twice, by one key.
    let delivered = "SELECT count(*) FROM outbox WHERE state = 'delivered' AND opened >= '2026-01-19T00:19:00Z'";
    let is_noted = |_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        database.number(delivered) > 0
    };
    assert!((0..1200).any(is_noted), "{:#?}", server.messages());
    run.kill();
    // Failed once: who had read to the end of what there was told that this was the end.
    let to_its_end = format!("{line} --until-end");
    tidewatch(&to_its_end.split(' ').collect::<Vec<_>>());
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE change = 'closed' AND opened >= '2026-01-19T00:19:00Z'"), 0);
    let mut run = start();
    assert!(run.says("nothing newer arrives"), "{}", run.said());
    produce("2026-01-19T00:20:00Z", "0s");
    let is_over = |told: &serde_json::Value| told["change"] == "closed" && told["incident_id"] == stands["incident_id"];
    server.hears(is_over);
    let told = server.messages().into_iter().filter(|message| message.json()["incident_id"] == stands["incident_id"]).count();
    assert_eq!(told, 2, "{:#?}", server.messages());
    run.signal("INT");
    assert_eq!(run.finish().0, Some(0));
}
