//! A source that brings nothing new: whoever is told of incidents is told of that as well.

use crate::alerts::{feed, free_port, outbox, start};
use crate::incidents::trained;
use crate::receivers::Server;
use std::io::Write;
use std::time::Duration;

/// Failed once: no news looked as if all were well.
#[test]
fn who_is_told_of_incidents_hears_that_nothing_arrives_and_that_records_come_again() {
    let place = trained();
    let (webhook, manager) = (Server::http(), Server::http());
    let receivers =
        format!("--alert webhook:http://127.0.0.1:{}/ --alert alertmanager:http://127.0.0.1:{}?repeat=300ms", webhook.port, manager.port);
    let (mut run, mut pipe) = start(&place, &format!("{receivers} --stalled-after 1500ms --alert-severity critical"));
    feed(&mut pipe, 0..60, |_, _| 0.0);
    let is =
        |change: &'static str, opened: &'static str| move |told: &serde_json::Value| told["change"] == change && told["opened"] == opened;
    let stands = webhook.hears(is("opened", "2026-01-19T00:54:30Z"));
    assert_eq!((&stands["scope"], &stands["severity"], &stands["entity_id"]), (&"source".into(), &"critical".into(), &"file:-".into()));
    assert_eq!(stands["url"], "https://tidewatch.example/");
    assert!(
        stands["text"].as_str().unwrap().ends_with("nothing newer arrives, the watermark stands at 2026-01-19 00:54 UTC"),
        "{stands:#}"
    );
    // Of a minute's records some may have come after the first of them.
    let problem = stands["problem"].as_str().unwrap();
    assert!(problem.ends_with("nothing was read since") || problem.ends_with(" records were read since, and none moved it"), "{stands:#}");
    assert!(run.says("nothing newer arrives, and the watermark stands still"), "{}", run.stderr());
    manager.hears_again(3, |told| {
        let why = told[0]["annotations"]["description"].as_str().unwrap().contains("Why: the watermark stands at 2026-01-19T00:54:30Z");
        told[0]["labels"]["scope"] == "source" && why
    });
    feed(&mut pipe, 60..120, |_, _| 0.0);
    let over = webhook.hears(is("closed", "2026-01-19T00:54:30Z"));
    assert_eq!((&over["incident_id"], &over["status"], &over["problem"]), (&stands["incident_id"], &"closed".into(), &().into()));
    assert_eq!(over["until"], over["last"]);
    assert!(run.says("the watermark moves again"), "{}", run.stderr());
    // It stands again, elsewhere, and its log comes to an end.
    let again = webhook.hears(is("opened", "2026-01-19T01:54:30Z"));
    assert_ne!(again["incident_id"], stands["incident_id"]);
    drop(pipe);
    run.finish().well();
    let end = webhook.hears(is("closed", "2026-01-19T01:54:30Z"));
    assert!(end["text"].as_str().unwrap().ends_with("the log has come to its end"), "{end:#}");
    assert!(outbox(&place).contains("file:- since 2026-01-19T00:54:30Z"), "{}", outbox(&place));
    assert_eq!(place.run("incidents").well().stdout, "", "it is none");
}

/// Failed once: it was said that nothing comes, where a producer had begun to write something else.
#[test]
fn who_hears_that_nothing_newer_arrives_hears_what_is_refused_as_well() {
    let place = trained();
    let webhook = Server::http();
    let (run, mut pipe) = start(&place, &format!("--alert webhook:http://127.0.0.1:{}/ --stalled-after 1500ms", webhook.port));
    feed(&mut pipe, 0..60, |_, _| 0.0);
    // All the while, so that some of it comes after the watermark has moved for the last time.
    let (told, heard) = std::sync::mpsc::channel::<()>();
    let producer = std::thread::spawn(move || {
        while heard.recv_timeout(Duration::from_millis(50)).is_err() {
            pipe.write_all(b"rubbish\n").unwrap();
        }
    });
    let stands = webhook.hears(|told| told["opened"] == "2026-01-19T00:54:30Z");
    told.send(()).unwrap();
    producer.join().unwrap();
    run.finish().well();
    let problem = stands["problem"].as_str().unwrap();
    assert!(problem.contains("records were read since, and") && problem.ends_with("refused: see `tidewatch dead-letters`"), "{stands:#}");
}

/// Failed once: what waits for a day is given up, since an incident is told of again when it changes; a feed that stands still never does.
#[test]
fn a_receiver_that_was_away_for_days_hears_of_what_stands_still_and_not_of_what_is_over() {
    let place = trained();
    let port = free_port();
    let line = format!("--alert webhook:http://127.0.0.1:{port}/ --stalled-after 1500ms --alert-severity critical");
    let pending = "SELECT count(*) FROM outbox WHERE scope = 'source' AND state = 'pending'";
    let (_run, mut pipe) = start(&place, &line);
    feed(&mut pipe, 0..60, |_, _| 0.0);
    let stands = |since: &str| format!("{pending} AND status = 'open' AND opened = CAST(strftime('%s', '{since}') AS INTEGER) * 1000");
    assert!(place.comes_to_hold(&stands("2026-01-19T00:54:30Z")));
    feed(&mut pipe, 60..120, |_, _| 0.0);
    assert!(place.comes_to_hold(&stands("2026-01-19T01:54:30Z")));
    let days = "UPDATE outbox SET created_at = created_at - 2 * 86400000, next_try_at = 0";
    assert!(place.database().execute(days, []).unwrap() >= 3);
    let back = Server::http_at(port);
    let told = back.hears(|told| told["opened"] == "2026-01-19T01:54:30Z");
    assert_eq!(told["change"], "opened");
    assert!(back.messages().iter().all(|message| message.json()["opened"] != "2026-01-19T00:54:30Z"), "{:#?}", back.messages());
}
