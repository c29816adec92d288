//! The property that the fuzzer searches, over bytes that are made here: noise, records, and records with something amiss.

#[path = "../fuzz/fuzz_targets/property.rs"]
mod property;

use proptest::prelude::*;
use tidewatch::{instant, kind, limits, source};

/// Pieces that a record is made of, and such as it should not be made of.
const PIECES: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\ud83d\\ude00",
    "null",
    "true",
    "1e999",
    "-0.0",
    "NaN",
    "5e-324",
    "1e300",
    "7",
    "0.1",
    "9007199254740993",
    "123456789012345678901234567890",
    "\"type\":",
    "\"server_metric\"",
    "\"server_id\":",
    "\"service_name\":",
    "\"timestamp\":",
    "\"2026-01-24T12:34:56Z\"",
    "\"9999-12-31T23:59:60Z\"",
    "\"0000-01-01T00:00:00Z\"",
    "1769258096000",
    "\"rack_id\":",
    "\"cpu\":",
    "\"a:b\":",
    " ",
    "é",
];

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&PIECES[..])
}

/// A value of a field: most are fine.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => (-1e6..1e6_f64).prop_map(|number| format!("{number:e}")),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        4 => "\"[a-z0-9é]{0,20}\"",
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => (0..50_usize).prop_map(|depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth))),
        1 => piece().prop_map(str::to_owned),
    ]
}

/// A record that begins well.
fn record() -> impl Strategy<Value = String> {
    let key = prop_oneof![20 => "[a-z]{1,4}", 3 => Just("rack_id".to_owned()), 1 => Just("type".to_owned()), 1 => "[ -~]{0,20}"];
    prop::collection::vec((key, value()), 0..12).prop_map(|fields| {
        let rest: String = fields.iter().map(|(key, value)| format!(",{}:{value}", serde_json::Value::from(key.as_str()))).collect();
        format!(r#"{{"server_id":"a","timestamp":"2026-01-24T12:34:56Z"{rest}}}"#)
    })
}

#[test]
fn every_seed_of_the_fuzzer_is_an_event_or_a_refusal() {
    let seeds = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds")).unwrap();
    let read: Vec<Vec<u8>> = seeds.map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect();
    assert!(read.len() > 10);
    read.iter().for_each(|bytes| property::holds(bytes));
}

/// What the fuzzer would find at once must be found here too: most of what is made is decoded, and some of it is refused.
#[test]
fn the_records_that_are_made_reach_both_ends() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let decodes = |text: &str| source::decode::decode(text.as_bytes(), &kind::Kinds::default(), &limits::Limits::default()).is_ok();
    let accepted = (0..500).filter(|_| decodes(&record().new_tree(&mut runner).unwrap().current())).count();
    assert!((50..450).contains(&accepted), "{accepted} of 500 are events");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_record_with_anything_in_it_is_an_event_or_a_refusal(text in record()) {
        property::holds(text.as_bytes());
    }

    #[test]
    fn pieces_of_records_in_any_order_are_an_event_or_a_refusal(pieces in prop::collection::vec(piece(), 0..60)) {
        property::holds(pieces.concat().as_bytes());
    }

    #[test]
    fn noise_is_an_event_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        property::holds(&bytes);
    }
}
