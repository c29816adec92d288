//! Who is told of incidents, by servers that really listen: in order, at least once and always by the same key, whoever is away or killed.

use crate::incidents::{SPIKE, START, line, lines, trained};
use crate::mail;
use crate::receivers::{Answer, Message, Server};
use crate::support::{Place, Running};
use crate::tls;
use std::io::Write;
use std::net::TcpListener;
use std::process::ChildStdin;
use std::time::Duration;

/// The logs of these tests are of one day in January, and their alerts are news for longer than that.
const RUN: &str = "--source file:- --commit-interval 50ms --page-url https://tidewatch.example/ --alert-age-max 10000d";

/// A host that is far too high from 01:40 until 03:20.
fn shift(host: usize, minute: i64) -> f64 {
    if host == 3 && (100..200).contains(&minute) { 30.0 } else { 0.0 }
}

pub fn start(place: &Place, flags: &str) -> (Running, ChildStdin) {
    let (mut run, pipe) = place.call(&format!("{RUN} {flags}")).piped();
    assert!(run.says(" watching "), "{}", run.stderr());
    (run, pipe)
}

pub fn feed(pipe: &mut ChildStdin, minutes: std::ops::Range<i64>, shift: impl Fn(usize, i64) -> f64) {
    pipe.write_all(lines(minutes, shift).as_bytes()).unwrap();
    pipe.flush().unwrap();
}

/// A port at which nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What has become of incidents, as a webhook was told.
fn changes(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.json()["change"].as_str().unwrap().to_owned()).collect()
}

fn keys(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.header("Idempotency-Key").unwrap()).collect()
}

pub fn outbox(place: &Place) -> String {
    place.run("alert list").well().stdout
}

#[test]
fn every_receiver_is_told_once_when_an_incident_opens_and_once_when_it_is_over() {
    let place = trained();
    let (slack, webhook, manager, mails) = (Server::http(), Server::http(), Server::http(), mail::server());
    place.write("secret", "hunter2\n");
    place.write("slack", format!("http://127.0.0.1:{}/services/T0/B0/hunter2\n", slack.port));
    let config = format!(
        "[[alert]]\nname = \"channel\"\nurl = \"slack:@slack\"\n\
         [[alert]]\nname = \"hook\"\nurl = \"webhook:http://127.0.0.1:{}/in?token=hunter2\"\npassword_file = \"secret\"\n\
         [[alert]]\nname = \"manager\"\nurl = \"alertmanager:http://127.0.0.1:{}/am\"\nseverity = \"low\"\n\
         [[alert]]\nname = \"mail\"\nurl = \"smtp://me@127.0.0.1:{}?to=a@here.example,b@here.example&from=t@here.example&tls=none\"\npassword_file = \"secret\"\n",
        webhook.port, manager.port, mails.port
    );
    place.write("tidewatch.toml", config);
    let (run, mut pipe) = start(&place, "--config tidewatch.toml");
    feed(&mut pipe, 0..150, shift);
    let opened = webhook.comes_to(1).remove(0);
    [&slack, &manager, &mails].into_iter().for_each(|server| drop(server.comes_to(1)));
    feed(&mut pipe, 150..400, shift);
    let told = webhook.comes_to(2);
    [&slack, &manager, &mails].into_iter().for_each(|server| drop(server.comes_to(2)));
    drop(pipe);
    let run = run.finish().well();
    assert!(!format!("{}{}", run.stdout, run.stderr).contains("hunter2"), "{}", run.stderr);

    assert_eq!(changes(&told), ["opened", "closed"]);
    let body = opened.json();
    assert_eq!((&body["entity_id"], &body["severity"], &body["status"]), (&"srv-03".into(), &"critical".into(), &"open".into()));
    assert_eq!((&body["opened"], &body["peak"]["metric"]), (&"2026-01-19T01:40:00Z".into(), &"cpu".into()));
    let id = body["incident_id"].as_str().unwrap().to_owned();
    assert_eq!(body["url"], format!("https://tidewatch.example/incidents/{id}"));
    assert!(opened.envelope.starts_with("POST /in?token=hunter2 "), "{}", opened.envelope);
    assert_eq!(opened.header("Idempotency-Key"), body["idempotency_key"].as_str());
    assert!(opened.header("Tidewatch-Signature").unwrap().starts_with("sha256="));

    let text = slack.messages()[0].json()["blocks"][0]["text"]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("*CRITICAL: server srv-03, cpu 8") && text.contains("Since: 2026-01-19 01:40 UTC"), "{text}");
    let over = slack.messages()[1].json()["text"].as_str().unwrap().to_owned();
    assert!(over.starts_with("Over after ") && over.contains(": server srv-03, "), "{over}");

    let posted: Vec<_> = manager.messages().iter().map(Message::json).collect();
    let ends = |at: usize| chrono::DateTime::parse_from_rfc3339(posted[at][0]["endsAt"].as_str().unwrap()).unwrap();
    assert_eq!((&posted[0][0]["labels"], posted[0].as_array().unwrap().len()), (&posted[1][0]["labels"], 1));
    let now = chrono::Utc::now();
    assert!(ends(0) > now + chrono::Duration::minutes(3) && ends(1) <= now, "{posted:#?}");
    assert!(manager.messages()[0].envelope.starts_with("POST /am/api/v2/alerts "));

    let mails = mails.messages();
    let first = mails[0].header("Message-ID").unwrap();
    assert!(mails[0].envelope.contains("AUTH PLAIN") && mails[0].envelope.contains("RCPT TO:<b@here.example>"), "{}", mails[0].envelope);
    assert!(mails[0].header("Subject").unwrap().starts_with("[tidewatch] CRITICAL: server srv-03"), "{:?}", mails[0].headers);
    assert_eq!((mails[1].header("References"), mails[1].header("In-Reply-To")), (Some(first), Some(first)));
    assert_ne!(mails[1].header("Message-ID"), Some(first));
    let listed = outbox(&place);
    assert!(listed.contains("in all: channel 2 delivered, hook 2 delivered, mail 2 delivered, manager 2 delivered"), "{listed}");
}

#[test]
fn an_alertmanager_hears_again_of_what_is_open_and_no_more_of_what_is_over() {
    let place = trained();
    let server = Server::http();
    let (run, mut pipe) = start(&place, &format!("--alert alertmanager:http://127.0.0.1:{}?repeat=300ms", server.port));
    feed(&mut pipe, 0..150, shift);
    let ends = |message: &Message| message.json()[0]["endsAt"].as_str().unwrap().to_owned();
    let told = server.comes_to(4);
    assert!(told.windows(2).all(|pair| ends(&pair[0]) < ends(&pair[1])), "each time it lasts a little longer: {told:#?}");
    feed(&mut pipe, 150..400, shift);
    assert!(place.comes_to_hold("SELECT count(*) FROM outbox WHERE change = 'closed' AND state = 'delivered'"));
    let n = server.messages().len();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(server.messages().len(), n);
    drop(pipe);
    run.finish().well();
}

#[test]
fn a_host_that_is_still_silent_is_not_told_as_well_when_nothing_is_expected_of_it_any_more() {
    let place = trained();
    let server = Server::http();
    let (run, mut pipe) = start(&place, &format!("--alert webhook:http://127.0.0.1:{}/ --forget 40m --out-of-orderness 0s", server.port));
    let but = |without: &[usize], minutes: std::ops::Range<i64>| -> String {
        let is_there = |line: &&str| !without.iter().any(|host| line.contains(&format!("srv-{host:02}")));
        lines(minutes, |_, _| 0.0).lines().filter(is_there).map(|line| format!("{line}\n")).collect()
    };
    pipe.write_all((but(&[], 0..60) + &but(&[3, 9], 60..85)).as_bytes()).unwrap();
    pipe.flush().unwrap();
    server.comes_to(2);
    pipe.write_all(but(&[3], 85..400).as_bytes()).unwrap();
    drop(pipe);
    run.finish().well();
    let told: Vec<_> = server.comes_to(4).iter().map(Message::json).filter(|told| told["change"] == "closed").collect();
    let of = |host: &str| told.iter().find(|told| told["entity_id"] == host).unwrap_or_else(|| panic!("nothing of {host}: {told:#?}"));
    assert_eq!((&of("srv-03")["forgotten"], &of("srv-09")["forgotten"]), (&true.into(), &false.into()));
    assert!(of("srv-03")["text"].as_str().unwrap().starts_with("Still silent, and no longer waited for: server srv-03"));
    let over = of("srv-09")["text"].as_str().unwrap();
    assert!(over.starts_with("Over after ") && over.contains(": server srv-09, "), "{over}");
}

#[test]
fn of_a_rack_that_is_off_it_is_said_who_was_hit_and_that_it_is_off() {
    let place = trained();
    let server = Server::http();
    let (run, mut pipe) = start(&place, &format!("--alert webhook:http://127.0.0.1:{}/ --out-of-orderness 0s", server.port));
    // One of them deviates before, which is no more than one of seven signs.
    let shifted = |host: usize, minute: i64| if host == 9 && minute == 60 { 30.0 } else { 0.0 };
    let without = |rack: &str, minutes: std::ops::Range<i64>| -> String {
        lines(minutes, shifted).lines().filter(|line| !line.contains(rack)).map(|line| format!("{line}\n")).collect()
    };
    pipe.write_all((lines(0..65, shifted) + &without("rack-B", 65..100)).as_bytes()).unwrap();
    pipe.flush().unwrap();
    let told = server.hears(|told| told["scope"] == "rack");
    assert_eq!(told["hit"], serde_json::json!(["srv-06", "srv-07", "srv-08", "srv-09", "srv-10", "srv-11"]), "{told:#}");
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("6 of 6 servers of rack rack-B, no samples, though others have some; worst srv-09 cpu 8"), "{text}");
    drop(pipe);
    run.finish().well();
}

/// Failed once: a host that was critical and stopped sending was told to nobody.
#[test]
fn a_host_in_trouble_that_stops_sending_is_told_of() {
    let place = trained();
    let server = Server::http();
    let (run, mut pipe) = start(&place, &format!("--alert webhook:http://127.0.0.1:{}/ --out-of-orderness 0s", server.port));
    let shifted = |host: usize, minute: i64| if host == 3 && minute >= 60 { 30.0 } else { 0.0 };
    pipe.write_all(lines(0..75, shifted).as_bytes()).unwrap();
    pipe.flush().unwrap();
    server.comes_to(1);
    let others: Vec<String> =
        lines(75..110, shifted).lines().filter(|line| !line.contains("srv-03")).map(|line| format!("{line}\n")).collect();
    pipe.write_all(others.concat().as_bytes()).unwrap();
    pipe.flush().unwrap();
    let told = server.hears(|told| told["change"] == "escalated");
    assert_eq!((&told["entity_id"], &told["severity"], &told["silent"]), (&"srv-03".into(), &"critical".into(), &true.into()));
    assert!(told["text"].as_str().unwrap().ends_with(", and then no samples, though others have some"), "{told:#}");
    drop(pipe);
    run.finish().well();
    let escalated = server.messages().iter().filter(|message| message.json()["change"] == "escalated").count();
    assert_eq!(escalated, 1, "{:#?}", server.messages());
}

#[test]
fn a_receiver_that_fails_is_asked_again_in_order_and_keeps_nobody_else_waiting() {
    let place = trained();
    let (failing, silent, well) = (Server::http(), Server::http(), Server::http());
    let away = free_port();
    failing.answer(&[Answer::Status(500), Answer::Status(503)]);
    silent.answer(&[Answer::Silence]);
    let urls: Vec<String> = [("failing", failing.port), ("silent", silent.port), ("well", well.port), ("away", away)]
        .iter()
        .map(|(name, port)| format!("--alert {name}=webhook:http://127.0.0.1:{port}/"))
        .collect();
    let (run, mut pipe) = start(&place, &urls.join(" "));
    feed(&mut pipe, 0..150, shift);
    well.comes_to(1);
    feed(&mut pipe, 150..400, shift);
    assert_eq!(changes(&well.comes_to(2)), ["opened", "closed"], "while the others are in trouble");
    assert!(place.comes_to_hold("SELECT count(*) FROM incidents WHERE status = 'closed'"), "the pipeline goes on");
    let listed = outbox(&place);
    assert!(listed.contains("pending    away") && listed.contains("failed: Connection refused"), "{listed}");
    let back = Server::http_at(away);
    for server in [&failing, &silent, &back] {
        let told = server.comes_to(if server.port == back.port {
            2
        } else if server.port == failing.port {
            4
        } else {
            3
        });
        let changes = changes(&told);
        let attempts = changes.len() - 1;
        assert_eq!(changes, [vec!["opened"; attempts], vec!["closed"]].concat());
        assert!(keys(&told)[..attempts].iter().all(|key| *key == keys(&told)[0]), "{:?}", keys(&told));
    }
    drop(pipe);
    let run = run.finish().well();
    assert_eq!(run.stderr.matches("a receiver of alerts is away").count(), 3, "{}", run.stderr);
    assert_eq!(run.stderr.matches("the receiver of alerts is back").count(), 3, "{}", run.stderr);
    assert!(run.stderr.contains("failing, webhook at 127.0.0.1") && run.stderr.contains("it answers 500"), "{}", run.stderr);
}

#[test]
fn a_kill_between_commit_and_delivery_loses_no_alert_and_doubles_none_but_by_its_key() {
    let place = trained();
    let server = Server::http();
    server.answer(&[Answer::Silence]);
    let line = format!("run --source file:log.jsonl --alert-age-max 10000d --alert ops=webhook:http://127.0.0.1:{}/", server.port);
    place.write("log.jsonl", lines(0..150, shift));
    let mut run = place.call(&line).start();
    server.comes_to(1);
    run.kill();
    assert_eq!(place.count("SELECT count(*) FROM outbox WHERE state = 'pending' AND attempts = 1"), 1, "{}", run.stderr());
    place.write("log.jsonl", lines(0..400, shift));
    place.run(&line).well();
    place.run(&line).well();
    let told = server.messages();
    assert_eq!(changes(&told), ["opened", "opened", "closed"], "{}", outbox(&place));
    assert!(keys(&told)[0] == keys(&told)[1] && keys(&told)[1] != keys(&told)[2], "{:?}", keys(&told));
}

#[test]
fn what_is_past_is_told_nobody() {
    let place = trained();
    let server = Server::http();
    place.write("log.jsonl", lines(0..150, shift));
    let run = place.run(&format!("run --source file:log.jsonl --alert webhook:http://127.0.0.1:{}/", server.port)).well();
    assert!(run.stdout.contains("incident  opened on server srv-03"), "{}", run.stdout);
    assert_eq!((server.messages(), outbox(&place).trim()), (vec![], "the outbox is empty"));
    assert!(run.stderr.contains("so that nobody was told of them; `tidewatch incidents` lists them incidents=1"), "{}", run.stderr);
}

/// Three hosts of two racks, one after another, each critical.
fn three(host: usize, minute: i64) -> f64 {
    let from = [(1, 100), (4, 150), (9, 200)].into_iter().find(|(hit, _)| *hit == host);
    if from.is_some_and(|(_, from)| (from..from + 150).contains(&minute)) { 30.0 } else { 0.0 }
}

#[test]
fn more_than_a_receiver_can_take_is_held_back_and_counted() {
    let place = trained();
    let server = Server::http();
    // What is critical counts half, so two in an hour.
    let (run, mut pipe) = start(&place, &format!("--alert ops=webhook:http://127.0.0.1:{}/ --alert-per-hour 1", server.port));
    feed(&mut pipe, 0..130, three);
    server.comes_to(1);
    feed(&mut pipe, 130..180, three);
    server.comes_to(2);
    feed(&mut pipe, 180..230, three);
    assert!(place.comes_to_hold("SELECT count(*) FROM outbox WHERE state = 'held_back'"), "{}", outbox(&place));
    feed(&mut pipe, 230..600, three);
    let told = server.comes_to(4);
    assert!(place.comes_to_hold("SELECT count(*) FROM outbox WHERE state = 'overtaken'"), "{}", outbox(&place));
    drop(pipe);
    run.finish().well();
    assert_eq!(changes(&server.messages()), ["opened", "opened", "closed", "closed"], "the end of what was held back is held back, too");
    let held: Vec<i64> = told.iter().map(|message| message.json()["held_back"].as_i64().unwrap()).collect();
    assert_eq!(held, [0, 0, 1, 0]);
    let listed = outbox(&place);
    assert!(listed.contains("in all: ops 4 delivered, ops 1 held_back, ops 1 overtaken"), "{listed}");
}

#[test]
fn a_false_alarm_that_nobody_has_heard_of_stays_unheard_and_another_is_taken_back() {
    let place = trained();
    let (well, away) = (Server::http(), free_port());
    let flags = format!("--alert well=webhook:http://127.0.0.1:{}/ --alert away=webhook:http://127.0.0.1:{away}/", well.port);
    let (run, mut pipe) = start(&place, &flags);
    feed(&mut pipe, 0..60, |_, _| 0.0);
    SPIKE.iter().for_each(|value| writeln!(pipe, "{}", line(7, START + 60, *value)).unwrap());
    feed(&mut pipe, 65..80, |_, _| 0.0);
    well.comes_to(1);
    (0..200).for_each(|_| writeln!(pipe, "{}", line(7, START + 61, 49.5)).unwrap());
    pipe.flush().unwrap();
    let told = well.comes_to(2);
    assert_eq!(changes(&told), ["opened", "withdrawn"]);
    assert!(told[1].json()["withdrawn_reason"].as_str().unwrap().contains("took its evidence back"), "{}", told[1].body);
    let back = Server::http_at(away);
    assert!(place.comes_to_hold("SELECT count(*) > 1 FROM outbox WHERE receiver = 'away' AND state = 'overtaken'"), "{}", outbox(&place));
    drop(pipe);
    run.finish().well();
    assert_eq!(back.messages(), []);
}

#[test]
fn a_sample_says_that_it_is_one_and_a_failure_is_an_exit_code() {
    let place = Place::new();
    let (server, mails) = (Server::http(), mail::server());
    place.write("secret", "hunter2\n");
    let port = server.port;
    let flags =
        format!("--alert slack:http://127.0.0.1:{port}/hunter2 --alert mail=smtp://127.0.0.1:{}?to=a@b.example&tls=none", mails.port);
    let told = place.run(&format!("alert test {flags}")).well();
    assert!(told.stdout.contains("ok      slack ") && told.stdout.contains("ok      mail "), "{}", told.stdout);
    assert!(
        server.messages()[0].json()["text"].as_str().unwrap().starts_with("TEST, nothing is wrong: HIGH: 17 of 20 servers of rack rack-B")
    );
    assert!(mails.messages()[0].header("Subject").unwrap().contains("TEST, nothing is wrong"), "{:?}", mails.messages()[0].headers);
    place.run(&format!("alert test mail {flags}")).well();
    assert_eq!((server.messages().len(), mails.messages().len()), (1, 2));

    server.answer(&[Answer::Status(404)]);
    let call = place.call(&format!("alert test {flags} --alert gone=webhook:http://me:hunter2@127.0.0.1:{}/hunter2", free_port()));
    let failed = call.env("TIDEWATCH_LOG", "trace").finish();
    assert!(
        failed.stdout.contains("it answers 404 Not Found: told you so") && failed.stdout.contains("Connection refused"),
        "{}",
        failed.stdout
    );
    assert!(failed.stderr.contains("error: 2 of 3 did not take the sample"), "{}", failed.stderr);
    assert!(
        failed.code == Some(1) && !format!("{}{}", failed.stdout, failed.stderr).contains("hunter2"),
        "{}{}",
        failed.stdout,
        failed.stderr
    );

    place.run("alert test").error(&["nobody is told", "--alert URL", "[[alert]]"]);
    place.run(&format!("alert test nobody {flags}")).error(&["there is no receiver 'nobody'", "slack, mail"]);
}

#[test]
fn a_receiver_in_tls_is_told_only_if_it_proves_who_it_is() {
    let place = Place::new();
    let (server, certificate) = tls::server();
    place.write("ours.pem", certificate);
    let test = |host: &str, trusted: &str| {
        let call = place.call(&format!("alert test --alert webhook:https://{host}:{}/", server.port));
        call.env("SSL_CERT_FILE", place.path(trusted).to_str().unwrap()).finish()
    };
    place.write("none.pem", "");
    for refused in [test("localhost", "none.pem"), test("127.0.0.1", "ours.pem")] {
        assert!(refused.code == Some(1) && refused.stdout.contains("certificate verify failed"), "{}", refused.stdout);
    }
    assert_eq!(server.messages(), []);
    test("localhost", "ours.pem").well();
    assert_eq!(server.messages().len(), 1);
}

#[test]
fn a_receiver_that_cannot_be_meant_is_refused_with_its_name_and_without_its_secrets() {
    let place = Place::new();
    place.write("x.jsonl", "{\"server_id\":\"a\",\"timestamp\":1768780800,\"cpu\":1}\n");
    let cases: [(&str, &[&str]); 7] = [
        ("[[alert]]\nname = \"ops\"\nurll = \"hunter2\"\n", &["unknown key 'urll'", "did you mean 'url'?"]),
        ("[[alert]]\nname = \"ops\"\nurl = \"slack:https://x/\"\ncolour = \"hunter2\"\n", &["unknown key 'colour'", "password_file"]),
        ("[[alert]]\nname = \"ops\"\n", &["alert", "url"]),
        ("alert = \"hunter2\"\n", &["[[alert]]", "--alert"]),
        ("[[alert]]\nname = \"ops\"\nurl = \"hunter2:x\"\n", &["alert 'ops'", "slack:https://"]),
        ("[[alert]]\nname = \"ops\"\nurl = \"slack:https://x/hunter2\"\nseverity = \"loud\"\n", &["alert 'ops'", "low, medium, high"]),
        ("[[alert]]\nname = \"o\"\nurl = \"webhook:https://x/\"\npassword_file = \"nowhere\"\n", &["alert 'o'", "nowhere", "No such file"]),
    ];
    for (text, parts) in cases {
        place.write("wrong.toml", text);
        let error = place.run("run --source file:x.jsonl --config wrong.toml").error(parts);
        assert!(!error.contains("hunter2"), "{error}");
    }
    place.write("right.toml", "[[alert]]\nname = \"ops\"\nurl = \"slack:https://hooks.example/hunter2\"\nseverity = \"high\"\n");
    let checked = place.run("check --source file:x.jsonl --config right.toml").well().stdout;
    assert!(checked.contains("ok      alert    ops: slack at hooks.example, from severity high, at most 30 an hour"), "{checked}");
    let wrong = place.call("check --source file:x.jsonl").env("TIDEWATCH_ALERT", "slack:http://a/ b=ftp:hunter2").finish();
    assert!(wrong.stdout.contains("failed  alert ") && !wrong.stdout.contains("hunter2"), "{}", wrong.stdout);
}
