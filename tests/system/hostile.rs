//! A file of records that nobody should send, between good ones: the run goes on, and counts each of them.

use crate::support::Place;
use std::collections::BTreeMap;

/// Good records: four entities each second for twenty minutes.
const GOOD: [&str; 4] = ["srv-1", "srv-2", "srv-3", "srv-4"];
const SECONDS: usize = 1200;

fn good(entity: &str, second: usize) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(r#"{{"server_id":"{entity}","timestamp":"2026-01-19T00:{minute:02}:{second:02}Z","cpu":{second}}}"#)
}

/// A record of a bad entity, so that what should be refused is seen where it is not.
fn server(rest: &str) -> Vec<u8> {
    format!(r#"{{"server_id":"bad","timestamp":"2026-01-19T00:10:00Z"{rest}}}"#).into_bytes()
}

fn timed(time: &str) -> Vec<u8> {
    format!(r#"{{"server_id":"bad","timestamp":{time},"cpu":1}}"#).into_bytes()
}

fn entity(entity: &str) -> Vec<u8> {
    format!(r#"{{"server_id":{entity},"timestamp":"2026-01-19T00:10:00Z","cpu":1}}"#).into_bytes()
}

/// Bad records with the reason that they must be refused for.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(300);
    let flood: String = (0..300).map(|i| format!(r#","m{i}":{i}"#)).collect();
    let deep = |depth: usize| format!(r#","x":{}1{}"#, "[".repeat(depth), "]".repeat(depth));
    let objects = format!(r#","x":{}1{}"#, r#"{"a":"#.repeat(500), "}".repeat(500));
    let mut all: Vec<(&str, Vec<u8>)> = Vec::new();
    let broken: [&[u8]; 16] = [
        b"{",
        b"}",
        b"[]",
        b"null",
        b"42",
        b"\"text\"",
        b"{}}",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"{\"a\" 1}",
        b"\x00",
        b"\x00\x01\x02\xff",
        b"\xff\xfe{\"server_id\":\"bad\"}",
        b"{\"server_id\":\"\xc3\x28\"}",
        b"\xef\xbb\xbf{\"server_id\":\"bad\"}",
        b"{} {}",
    ];
    all.extend(broken.map(|bytes| ("invalid_json", bytes.to_vec())));
    for rest in [
        r#","cpu":NaN"#,
        r#","cpu":Infinity"#,
        r#","cpu":-Infinity"#,
        r#","cpu":1e999"#,
        r#","cpu":0x10"#,
        r#","cpu":01"#,
        r#","cpu":-"#,
        r#","cpu":1."#,
        r#","cpu":.5"#,
        r#","cpu":+1"#,
        r#","cpu":1e"#,
        r#","cpu":1_000"#,
        r#","cpu":nan"#,
        r#","cpu":tru"#,
        r#","cpu":"\ud800""#,
        r#","cpu":"\udc00\ud800""#,
        r#","cpu":"\x41""#,
        r#","cpu":1,,"a":2"#,
        ",\"cpu\":\"a\u{1}b\"",
        ",\"cpu\":\"tab\tstop\"",
    ] {
        all.push(("invalid_json", server(rest)));
    }
    all.push(("too_deep", server(&deep(32))));
    all.push(("too_deep", server(&deep(200))));
    all.push(("too_deep", server(&deep(20_000))));
    all.push(("too_deep", server(&objects)));
    all.push(("too_deep", server(&format!(r#","x":{{"a":{}1{}}}"#, "[".repeat(31), "]".repeat(31)))));
    // Deep and never closed.
    all.push(("invalid_json", server(&format!(r#","x":{}"#, "[".repeat(60_000)))));
    all.push(("invalid_json", server(&format!(r#","x":{}"#, r#"{"a":"#.repeat(9000)))));
    all.push(("duplicate_key", server(r#","cpu":1,"cpu":2"#)));
    all.push(("duplicate_key", server(r#","server_id":"other","cpu":2"#)));
    all.push(("value_out_of_range", server(r#","cpu":1e300"#)));
    all.push(("value_out_of_range", server(r#","cpu":-9007199254740993000"#)));
    all.push(("value_out_of_range", server(r#","cpu":9007199254740992"#)));
    all.push(("value_out_of_range", server(&format!(r#","cpu":{}"#, "9".repeat(300)))));
    all.push(("invalid_json", server(&format!(r#","cpu":{}"#, "9".repeat(400)))));
    all.push(("too_many_fields", server(&flood)));
    all.push(("too_large", server(&format!(r#","cpu":1,"x":"{}""#, "x".repeat(70_000)))));
    all.push(("too_large", vec![b'x'; 3_000_000]));
    for rest in ["", r#","cpu":"high""#, r#","cpu":null,"memory":true"#, r#","cpu":{"mean":1}"#] {
        all.push(("no_metrics", server(rest)));
    }
    all.push(("bad_metric_name", server(r#","a:b":1"#)));
    all.push(("bad_metric_name", server(r#","":1"#)));
    all.push(("bad_metric_name", server(r#","a\u0000":1"#)));
    all.push(("name_too_long", server(&format!(r#","{long}":1"#))));
    all.push(("name_too_long", entity(&format!("\"{long}\""))));
    all.push(("label_too_long", server(&format!(r#","rack_id":"{long}","cpu":1"#))));
    // As a number it is short, as a label it has 301 digits.
    all.push(("label_too_long", server(r#","rack_id":1e300,"cpu":1"#)));
    all.push(("bad_label", server(r#","rack_id":"a\u0000","cpu":1"#)));
    for text in ["{}", "[]", "[\"a\"]", "\"\"", "null", "true", "1.5", "1e17", "-9007199254740993", "\"a\\u0000b\""] {
        all.push(("bad_entity", entity(text)));
    }
    all.push(("no_entity", br#"{"type":"server_metric","timestamp":"2026-01-19T00:10:00Z","cpu":1}"#.to_vec()));
    all.push(("no_time", br#"{"server_id":"bad","cpu":1}"#.to_vec()));
    for text in [
        "\"noon\"",
        "\"\"",
        "null",
        "true",
        "[]",
        "-1",
        "-1768780800",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-01-19 00:10\"",
        "{}",
        "\"2026-13-01T00:00:00Z\"",
        "\"2026-01-19T24:00:00Z\"",
        "\"2026-01-19T00:60:00Z\"",
        "\"2026-01-19T00:00:61Z\"",
        "\"2026-01-19T00:10:00\"",
        "\"2026-01-19T00:10:00+25:00\"",
        "\"20260119T001000Z\"",
        "\"+12026-01-19T00:10:00Z\"",
        "\"1768780800\"",
        "\"2026-01-19T00:10:00Z\\u0000\"",
        "-0.5",
    ] {
        all.push(("bad_time", timed(text)));
    }
    for text in [
        "\"2099-01-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59Z\"",
        "1e15",
        "99999999999",
        "1e300",
        "18446744073709551616",
        "\"2098-12-31T23:59:60Z\"",
    ] {
        all.push(("future", timed(text)));
    }
    for text in [
        "\"0001-01-01T00:00:00Z\"",
        "\"1969-12-31T23:59:59Z\"",
        "0",
        "-0",
        "1e-300",
        "\"2026-01-18T00:00:00Z\"",
        "\"0000-01-01T00:00:00Z\"",
        "\"2016-12-31T23:59:60Z\"",
    ] {
        all.push(("too_late", timed(text)));
    }
    for text in [
        r#"{"type":"weather","cpu":1}"#,
        "{}",
        r#"{"type":7,"cpu":1}"#,
        r#"{"type":7,"server_id":"bad","cpu":1}"#,
        r#"{"Type":"server_metric","SERVER_ID":"bad","cpu":1}"#,
        &format!(r#"{{"type":"{long}"}}"#),
        r#"{"type":"","server_id":"bad","cpu":1}"#,
    ] {
        all.push(("unknown_kind", text.as_bytes().to_vec()));
    }
    all
}

#[test]
fn bad_records_between_good_ones_are_counted_and_change_nothing() {
    let bad = bad();
    assert!(bad.len() >= 120, "{}", bad.len());
    let place = Place::new();
    let (mut clean, mut dirty) = (Vec::new(), Vec::new());
    for second in 0..SECONDS {
        for entity in GOOD {
            let line = format!("{}\n", good(entity, second)).into_bytes();
            clean.extend_from_slice(&line);
            dirty.extend_from_slice(&line);
        }
        // From the middle on, when the watermark has moved; with lines that hold nothing, in both styles of line ends.
        if let Some((_, bytes)) = second.checked_sub(SECONDS / 2).and_then(|place| bad.get(place)) {
            dirty.extend_from_slice(&[bytes.as_slice(), b"\n", b"\n", b" \t \r\n"].concat());
        }
    }
    // The last line has no end.
    dirty.extend_from_slice(b"{\"server_id\":\"bad\",\"timesta");
    place.write("clean.jsonl", clean);
    place.write("dirty.jsonl", dirty);
    let expected = place.run("run --source file:clean.jsonl --history embedded:clean.db").well();
    let outcome = place.run("run -w 2 --source file:dirty.jsonl").well();

    let mut reasons: BTreeMap<String, i64> = BTreeMap::from([("invalid_json".into(), 1)]);
    for (reason, _) in &bad {
        *reasons.entry((*reason).into()).or_default() += 1;
    }
    let database = place.database();
    let mut statement = database.prepare("SELECT reason, count(*) FROM dead_letters GROUP BY reason").unwrap();
    let stored = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>();
    assert_eq!(reasons, stored.unwrap());
    assert_eq!(outcome.digest(), expected.digest(), "good series have the buckets that they have without the bad records");
    let events = GOOD.len() * SECONDS;
    let outcome_of = |outcome: &str| place.count(&format!("SELECT sum(records) FROM outcomes WHERE outcome {outcome} 'event'"));
    assert_eq!((outcome_of("="), outcome_of("<>")), (events as i64, bad.len() as i64 + 1), "records in = events + dead letters");
    assert_eq!(
        place.count("SELECT count(*) FROM dead_letters WHERE length(detail) > 300"),
        0,
        "failed once: the parser quotes whole records"
    );
    assert_eq!(place.count("SELECT sum(count) FROM buckets"), events as i64);
    assert_eq!(place.count("SELECT count(*) FROM server_metrics"), events as i64);
    let summary = format!(" {} records in ", thousands(events + bad.len() + 1));
    assert!(outcome.stderr.contains(&summary), "no '{summary}' in {}", outcome.stderr);
    assert!(outcome.stderr.contains(&format!(" {} refused", bad.len() + 1)), "{}", outcome.stderr);
    assert_eq!(place.count("SELECT count(*) FROM dead_letters WHERE length(bytes) > 1024"), 0, "the beginning is enough");
}

fn thousands(number: usize) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}

#[test]
fn odd_records_that_can_be_read_are_read() {
    let place = Place::new();
    let records = [
        r#"  {"server_id":"escaped \u00e9\ud83d\ude00","timestamp":"2026-01-19T00:00:00Z","cpu":1}  "#,
        r#"{"server_id":7,"timestamp":1768780800,"cpu":-0.0}"#,
        r#"{"server_id":"milliseconds","timestamp":1768780800123,"cpu":1e-300}"#,
        r#"{"server_id":"zone","timestamp":"2026-01-19T05:30:00.5+05:30","cpu":8999999999999999}"#,
        r#"{"server_id":"' OR 1=1; DROP TABLE buckets; --","timestamp":"2026-01-19T00:00:00Z","cpu":1,"note":null,"tags":[1,{"a":2}]}"#,
        r#"{"service_name":"cart:1","timestamp":"2026-01-19T00:00:01Z","latency":3,"rack_id":5}"#,
    ];
    place.write("odd.jsonl", records.join("\r\n"));
    let outcome = place.run("run --source file:odd.jsonl").well();
    assert!(outcome.stderr.contains(" 0 refused"), "{}", outcome.stderr);
    // A number that no rule makes a label is a metric, so the last record has two.
    assert_eq!(place.count("SELECT count(*) FROM series"), 7);
    assert_eq!(place.count("SELECT count(*) FROM buckets WHERE bucket_start = 1768780800000 AND count = 1"), 7);
}

#[test]
fn a_file_of_nothing_but_rubbish_is_counted_to_its_end_and_no_success() {
    let place = Place::new();
    let mut state = 1_u64;
    let rubbish: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(500_000)
    .collect();
    place.write("rubbish", rubbish);
    let outcome = place.run("run --source file:rubbish");
    outcome.error(&["rubbish", "not one record is an event", "invalid_json", "dead-letters"]);
    // Read once more, it is no log of events all the same.
    place.run("run --source file:rubbish").error(&["not one record is an event"]);
    let refused = place.count("SELECT sum(records) FROM outcomes WHERE outcome <> 'event'");
    assert!(refused > 1000 && place.count("SELECT count(*) FROM dead_letters") <= 2000, "{refused}");
    assert!(outcome.stderr.contains(&format!(" {} refused", thousands(usize::try_from(refused).unwrap()))), "{}", outcome.stderr);
}
