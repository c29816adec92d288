//! What a run answers to those who ask it how it is.

use crate::support::{Place, Running};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const LINE: &str = "--source simulate:dev --seed 7 --start 2026-01-19T00:00:00Z --backfill 2d --for 10h --speed 600 --no-raw";

/// Where a run says that it listens.
fn address(run: &mut Running) -> String {
    assert!(run.says("listening at http://"), "{}", run.stderr());
    let text = run.stderr();
    let rest = text.split("listening at http://").nth(1).unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// The status and the whole answer to a GET.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn a_run_is_alive_from_its_start_and_ready_once_it_watches() {
    let place = Place::new();
    let mut run = place.call(&format!("{LINE} --listen 127.0.0.1:0")).env("TIDEWATCH_NO_PAGE", "no").start();
    let address = address(&mut run);
    assert_eq!(get(&address, "/livez").0, 200);
    let (status, answer) = get(&address, "/readyz");
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains(r#"{"ready":false,"stage":"starting","away":[],"models":0,"watermark":null,"lag_seconds":null}"#), "{answer}");
    assert!(run.says(" watching "), "{}", run.stderr());
    let mut ready = get(&address, "/readyz");
    while ready.0 == 503 || !ready.1.contains(r#""watermark":"2026-"#) {
        assert!(ready.1.contains(r#""away":[]"#), "{}", ready.1);
        ready = get(&address, "/readyz");
    }
    assert!(ready.1.contains(r#"{"ready":true,"stage":"watching","away":[],"#), "{}", ready.1);
    assert_eq!(get(&address, "/elsewhere").0, 404);
    let (status, problem) = get(&address, "/api/v1/elsewhere");
    assert!(status == 404 && problem.contains("{\"error\":\"there is no /api/v1/elsewhere; "), "{problem}");
    run.signal("INT");
    run.finish().well();
}

#[test]
fn an_address_that_was_asked_for_must_be_had_and_the_usual_one_need_not() {
    let place = Place::new();
    place.write("x.jsonl", "{\"server_id\":\"a\",\"timestamp\":1768780800,\"cpu\":1}\n");
    // Whoever has it now, it is taken.
    let _usual = TcpListener::bind("127.0.0.1:8080");
    let outcome = place.call("--source file:x.jsonl").env("TIDEWATCH_NO_PAGE", "no").finish().well();
    assert!(outcome.stderr.contains("WARN cannot listen at 127.0.0.1:8080"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--listen, or --no-page"), "{}", outcome.stderr);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for wrong in [&*address, "8080", "nowhere.invalid:80"] {
        let call = place.call(&format!("--source file:x.jsonl --listen {wrong}")).env("TIDEWATCH_NO_PAGE", "no");
        call.finish().error(&[wrong, "--listen", "HOST:PORT"]);
    }
    place.run(&format!("--source file:x.jsonl --listen {address} --no-page")).well();
}
