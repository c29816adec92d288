//! What must hold of the decoder for any bytes; the fuzz target and a test of the application look for bytes for which it does not.

use crate::instant;
use crate::kind::Kinds;
use crate::limits::Limits;
use crate::source::decode::{Decoded, decode};
use crate::source::decoder::{Decoder, Expected, Read};
use dataflows::accumulator::VALUE_LIMIT;
use serde_json::{Map, Number, Value, json};

/// Small enough that inputs of a fuzzer reach every limit.
const SMALL: Limits = Limits {
    record_bytes_max: 1024,
    depth_max: 3,
    fields_max: 8,
    name_bytes_max: 16,
    labels_max: 1,
    label_bytes_max: 8,
    entities_max: 1,
    metrics_max: 1,
    series_max: 1,
    dead_letters_max: 1,
    in_flight_bytes_max: 1,
};

/// Records of producers who write alike: what a decoder has learned before it meets an odd one.
const PRODUCERS: [&str; 11] = [
    r#"{"type":"server_metric","timestamp":"2026-01-24T12:34:56Z","server_id":"srv-001","rack_id":"rack-A","cpu":85.2,"rx":-0.5}"#,
    r#"{"timestamp": 1769258096, "service_name": "cart", "zone_id": "z", "note": "plain", "up": true, "p50": 12, "p99": 0.125}"#,
    r#"{"server_id":"a","timestamp":"2026-01-24T12:34:56.250Z","cpu":1}"#,
    r#"{"server_id":"a","timestamp":"2026-01-24T12:34:56Z","cpu":null,"a":1}"#,
    r#"{"server_id":"a","timestamp":"2026-01-24T12:34:56Z","note":"","a":1}"#,
    r#"{"x":{"y":{"z":2},"u":-1},"server_id":"a","tags":{"a":"r","b":1.5},"timestamp":1769258096,"note":"n","cpu":1}"#,
    r#"{"fields":{"used":1,"free":0.5},"name":"mem","tags":{"dc":"eu","host":"web-1"},"timestamp":1769258096}"#,
    r#"{"fields":{"used":2},"name":"disk","tags":{"dc":"eu","host":"web-1","path":"/data"},"timestamp":1769258096}"#,
    r#"{"fields":{"used":2},"name":"disk","tags":{"dc":"eu","host":"web-1","path":"/"},"timestamp":1769258096}"#,
    r#"{"fields":{"used":3},"name":"swap","tags":{"dc":"eu","host":"web-2","path":"/"},"timestamp":1769258096}"#,
    r#"{"value":"0.25","name":"load1","tags":{"host":"web-1"},"timestamp":1769258096}"#,
];

/// The built-in kinds, and the same where one of them takes what is inside of objects as well, or lets something stand before the names of metrics, and with
/// one that has all of it inside, and one whose names are cut.
fn all_kinds() -> [Kinds; 5] {
    let inside =
        json!({"server_metric": {"entity": "server_id", "labels": ["rack_id", "zone_id", "tags.a"], "metrics": ["*", "tags.*", "x.*"]}});
    let prefixed = json!({"server_metric": {"entity": "server_id", "labels": ["rack_id"], "prefix": ["note", "tags.a"]}});
    let nested = json!({"telegraf": {"entity": "tags.host", "labels": ["tags.dc"], "metrics": ["fields.*", "value"], "prefix": ["name", "tags.path"]}});
    let stripped =
        json!({"server_metric": {"entity": "server_id", "labels": ["rack_id"], "metrics": ["*", "tags.*", "x.*"], "strip": "tags."}});
    let [inside, prefixed, nested, stripped] = [inside, prefixed, nested, stripped].map(|table| {
        let tables = serde_json::from_value(table).expect("a table of kinds");
        Kinds::with(tables).expect("kinds that can be meant")
    });
    [Kinds::default(), inside, prefixed, nested, stripped]
}

/// A decoder that has learned how others write says of `bytes`, and says again once it has learned from them, what one that has learned nothing says.
///
/// # Panics
/// Where that does not hold: a fault of the templates.
pub fn agrees(learned: &[&[u8]], bytes: &[u8]) {
    for (kinds, limits) in all_kinds().into_iter().flat_map(|kinds| [(kinds.clone(), Limits::default()), (kinds, SMALL)]) {
        let mut decoder = Decoder::new(kinds.clone(), limits);
        for record in PRODUCERS.iter().map(|text| text.as_bytes()).chain(learned.iter().copied()) {
            let _ = decoder.decode(record);
        }
        // What another record of each form said of its entity, and what this one did.
        let mut said = vec![(0, Vec::new())];
        for record in PRODUCERS.iter().map(|text| text.as_bytes()).chain(learned.iter().copied()).chain([bytes; 2]) {
            if let Ok(Read::Filled(filled)) = decoder.read(record, Expected::default()) {
                said.push((filled.form(), filled.entity()));
            }
        }
        for (form, said) in &said {
            let quick = decoder.read(bytes, Expected { form: *form, said }).map(|read| {
                let (name, said) = match &read {
                    Read::Filled(filled) => (Some(filled.entity_id().to_vec()), filled.is_expected().then(|| filled.entity())),
                    Read::Decoded(_) => (None, None),
                };
                (read.decoded(), name, said)
            });
            match (quick, decode(bytes, &kinds, &limits)) {
                (Ok((quick, name, now)), Ok(slow)) => {
                    assert_eq!(bits(&quick), bits(&slow));
                    assert!(name.is_none_or(|name| name == slow.entity_id.as_bytes()) && now.is_none_or(|now| now == *said));
                }
                (quick, slow) => assert_eq!(quick.map(|_| ()), slow.map(|_| ())),
            }
        }
    }
}

/// An event whose values are compared to the last bit: -0.0 is not 0.0.
fn bits(decoded: &Decoded<'_>) -> String {
    let metrics: Vec<(&str, u64)> = decoded.metrics.iter().map(|(name, value)| (&**name, value.to_bits())).collect();
    format!("{} {:?} {} {:?} {metrics:?}", decoded.kind, decoded.entity_id, decoded.time, decoded.labels)
}

/// Decodes under two sets of limits. What is accepted keeps to the limits, and says the same when it is written down and read again; what is refused
/// has a reason of one word and a short sentence.
///
/// # Panics
/// Where that does not hold: a fault of the decoder.
pub fn holds(bytes: &[u8]) {
    for (kinds, limits) in all_kinds().into_iter().flat_map(|kinds| [(kinds.clone(), Limits::default()), (kinds, SMALL)]) {
        match decode(bytes, &kinds, &limits) {
            Ok(decoded) => check(bytes, &decoded, &kinds, &limits),
            Err(refusal) => {
                let named = refusal.reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                assert!(named && !refusal.reason.is_empty(), "'{}' is no reason", refusal.reason);
                assert!(!refusal.detail.is_empty() && refusal.detail.len() < 512, "{} bytes of '{}'", refusal.detail.len(), refusal.detail);
            }
        }
    }
}

fn check(bytes: &[u8], decoded: &Decoded<'_>, kinds: &Kinds, limits: &Limits) {
    assert!(bytes.len() <= limits.record_bytes_max && depth(bytes) <= limits.depth_max);
    assert!((1..=limits.name_bytes_max).contains(&decoded.entity_id.len()));
    assert!(decoded.labels.len() <= limits.labels_max && decoded.labels.iter().all(|label| label.1.len() <= limits.label_bytes_max));
    assert!((1..=limits.fields_max).contains(&(decoded.metrics.len() + decoded.labels.len())));
    for (name, value) in decoded.metrics.iter() {
        assert!(value.abs() < VALUE_LIMIT, "{value}");
        assert!((1..=limits.name_bytes_max).contains(&name.len()) && !name.contains(':'), "{name}");
    }
    // Written with all its names, it may be longer than what it was read from.
    let text = written(decoded, kinds);
    let ample = Limits { fields_max: limits.fields_max + 3, ..Limits { record_bytes_max: usize::MAX, ..*limits } };
    match decode(text.as_bytes(), kinds, &ample) {
        Ok(again) => assert_eq!(bits(&again), bits(decoded), "{text}"),
        Err(refusal) => panic!("{text} is refused: {refusal:?}"),
    }
}

/// The event as a record.
fn written(decoded: &Decoded<'_>, kinds: &Kinds) -> String {
    let kind = kinds.iter().nth(decoded.kind).expect("a kind that is there");
    let mut record = Map::new();
    record.insert("type".into(), kind.name.clone().into());
    record.insert(kind.entity.clone(), decoded.entity_id.as_ref().into());
    let text = instant::format(decoded.time);
    let time = if instant::parse(&text) == Some(decoded.time) { text.into() } else { Value::from(decoded.time) };
    record.insert(kind.time.clone(), time);
    // An object of this crate is sorted by name; labels and metrics keep their order by being written one by one.
    let mut json = Value::from(record).to_string();
    json.pop();
    for (name, text) in decoded.labels.iter() {
        json.push_str(&format!(",{}:{}", Value::from(name.as_ref()), Value::from(text.as_ref())));
    }
    for (name, value) in decoded.metrics.iter() {
        let number = Number::from_f64(*value).expect("a finite number");
        json.push_str(&format!(",{}:{number}", Value::from(name.as_ref())));
    }
    json + "}"
}

/// How deep the brackets of a valid JSON text are nested.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
