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
        2 => ("[a-c]", -1e3..1e3_f64, "[a-c]").prop_map(|(one, number, other)| format!(r#"{{"{one}":{number},"{other}":{{"d":"e","f":1}}}}"#)),
    ]
}

/// A record that begins well.
fn record() -> impl Strategy<Value = String> {
    let key = prop_oneof![20 => "[a-z]{1,4}", 3 => Just("rack_id".to_owned()), 2 => Just("tags".to_owned()), 1 => Just("type".to_owned()), 1 => "[ -~]{0,20}"];
    prop::collection::vec((key, value()), 0..12).prop_map(|fields| {
        let rest: String = fields.iter().map(|(key, value)| format!(",{}:{value}", serde_json::Value::from(key.as_str()))).collect();
        format!(r#"{{"server_id":"a","timestamp":"2026-01-24T12:34:56Z"{rest}}}"#)
    })
}

/// Values as producers write them, plain and not.
fn shape() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (-1e6..1e6_f64, 0..8_usize).prop_map(|(number, digits)| format!("{number:.digits$}")),
        2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?",
        1 => "-?[0-9.eE+-]{0,8}",
        4 => "\"[a-z0-9-]{0,20}\"",
        2 => "\"-?[0-9]{1,4}(\\.[0-9]{1,3})?(e5|x| )?\"",
        2 => "\"20[0-9][0-9]-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,6})?(Z|z|[+]01:00)\"",
        2 => "\"([a-zé\u{7f}]|\\\\[nu\"]|\\\\u00[0-9a-f]{2}|[\x00-\x20]){0,6}\"",
        1 => prop::sample::select(&["null", "true", "NaN", "1e999", "-0", "-0.0", "{}", "[1]", "{\"a\":[]}", "{\"a\":1.5}", "{\"a\":\"b\"}", "\"server_metric\"", ""][..]).prop_map(str::to_owned),
    ]
}

/// Numbers about the border of what is read quickly: many digits, zeros in front, an exponent behind.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[1-9][0-9]{0,3}\\.[0-9]{11,15}",
        "-?[1-9][0-9]{13,17}",
        "-?0[0-9]{1,3}",
        "-?0\\.0{0,12}[0-9]{1,6}",
        "[0-9]{1,3}(\\.|e|E[+-]?[0-9]|\\.[0-9]e[0-9])"
    ]
}

/// Instants about the border of what is read quickly.
fn instant() -> impl Strategy<Value = String> {
    "\"20[0-9]{2}-(0[0-9]|1[0-3])-[0-3][0-9][Tt ](2[34]|1[0-9]):(59|60|0[0-9]):(59|60|61|0[0-9])(\\.[0-9]{1,4})?(Z|z|[+]00:00|\"|)\""
}

/// What happens to a record on its way from one producer to another.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(usize, String),
    Number(usize, String),
    Time(String),
    Tail(String),
    Remove(usize),
    Double(usize),
    Swap(usize, usize),
    Add(usize, String, String),
    Space(usize, usize),
    Cut(usize),
    Byte(usize, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = || 0..12_usize;
    prop_oneof![
        12 => (place(), shape()).prop_map(|(place, value)| Mutation::Replace(place, value)),
        6 => (place(), number()).prop_map(|(place, value)| Mutation::Number(place, value)),
        3 => instant().prop_map(Mutation::Time),
        2 => "[ \n,}0-9]{1,2}".prop_map(Mutation::Tail),
        1 => place().prop_map(Mutation::Remove),
        1 => place().prop_map(Mutation::Double),
        1 => (place(), place()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        1 => (place(), "[a-z]{1,4}|rack_id|type|timestamp|tags|tags.a|tags>a|tags>path|fields>a|name|value", shape()).prop_map(|(place, name, value)| Mutation::Add(place, name, value)),
        1 => (0..200_usize, 0..3_usize).prop_map(|(place, space)| Mutation::Space(place, space)),
        1 => (0..300_usize).prop_map(Mutation::Cut),
        2 => (0..300_usize, any::<u8>()).prop_map(|(place, byte)| Mutation::Byte(place, byte)),
    ]
}

/// A plain record in one of several styles: with its type or without, its time as a text or a number, spaces or none, objects in it or none.
fn plain_record() -> impl Strategy<Value = (Vec<(String, String)>, bool)> {
    let number = (0..1_000_000_u32, 0..6_u32).prop_map(|(number, digits)| format!("{}", f64::from(number) / 10f64.powi(digits as i32)));
    let metrics = prop::collection::vec(("[a-z]{2,12}", number.clone()), 1..7);
    let inside = prop::collection::vec(("tags>[ab]|tags>host|tags>path|fields>[a-z]{1,3}|x>y>[a-c]", number), 0..6);
    (any::<bool>(), any::<bool>(), any::<bool>(), metrics, inside, any::<bool>()).prop_map(
        |(typed, numeric, spaced, metrics, inside, first)| {
            let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let mut fields = if typed { vec![field("type", r#""server_metric""#)] } else { Vec::new() };
            fields.push(field("timestamp", if numeric { "1769258096.5" } else { r#""2026-01-24T12:34:56Z""# }));
            fields.extend([
                field("server_id", r#""srv-001""#),
                field("rack_id", r#""rack-A""#),
                field("note", r#""n""#),
                field("up", "true"),
            ]);
            fields.extend(metrics);
            // An object holds what stands together; of two of one name a record is refused, and so are fields that are there twice.
            let mut inside: std::collections::BTreeMap<String, String> = inside.into_iter().collect();
            for (name, value) in &mut inside {
                if name.starts_with("tags>") && name != "tags>b" {
                    *value = format!("\"{value}\"");
                }
            }
            let place = if first { 0 } else { fields.len() };
            fields.splice(place..place, inside);
            if spaced == first {
                fields.push(field("value", r#""0.25""#));
            }
            (fields, spaced)
        },
    )
}

/// `a>b` is a field of the object `a`, which holds those of its fields that stand together.
fn written(fields: &[(String, String)], spaced: bool) -> Vec<u8> {
    let (comma, colon) = if spaced { (", ", ": ") } else { (",", ":") };
    let object = |name: &str| name.split_once('>').map(|(object, _)| object.to_owned());
    let parts = fields.chunk_by(|(one, _), (other, _)| object(one).is_some() && object(one) == object(other)).map(|part| {
        match object(&part[0].0) {
            Some(name) => {
                let inside: Vec<(String, String)> =
                    part.iter().map(|(field, value)| (field[name.len() + 1..].to_owned(), value.clone())).collect();
                format!("\"{name}\"{colon}{}", String::from_utf8_lossy(&written(&inside, spaced)))
            }
            None => part.iter().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect(),
        }
    });
    format!("{{{}}}", parts.collect::<Vec<_>>().join(comma)).into_bytes()
}

fn mutated(mut fields: Vec<(String, String)>, spaced: bool, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        let count = fields.len().max(1);
        match mutation {
            Mutation::Replace(place, value) => fields.get_mut(place % count).into_iter().for_each(|field| field.1.clone_from(value)),
            Mutation::Number(place, value) => {
                let is_number = |field: &&mut (String, String)| field.1.starts_with(|first: char| first.is_ascii_digit());
                let count = fields.iter_mut().filter(is_number).count().max(1);
                fields.iter_mut().filter(is_number).nth(place % count).into_iter().for_each(|field| field.1.clone_from(value));
            }
            Mutation::Time(value) => fields.iter_mut().filter(|field| field.0 == "timestamp").for_each(|field| field.1.clone_from(value)),
            Mutation::Remove(place) if fields.len() > 1 => drop(fields.remove(place % count)),
            Mutation::Double(place) => fields.push(fields[place % count].clone()),
            Mutation::Swap(one, other) => fields.swap(one % count, other % count),
            Mutation::Add(place, name, value) => fields.insert(place % count, (name.clone(), value.clone())),
            _ => {}
        }
    }
    let mut bytes = written(&fields, spaced);
    for mutation in mutations {
        match mutation {
            Mutation::Space(place, space) => bytes.insert(place % (bytes.len() + 1), b" \n\t"[*space]),
            Mutation::Tail(text) => bytes.extend(text.as_bytes()),
            Mutation::Cut(place) => bytes.truncate(*place),
            Mutation::Byte(place, byte) if *place < bytes.len() => bytes[*place] = *byte,
            _ => {}
        }
    }
    bytes
}

#[test]
fn every_seed_of_the_fuzzer_is_an_event_or_a_refusal() {
    let seeds = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds")).unwrap();
    let read: Vec<Vec<u8>> = seeds.map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect();
    assert!(read.len() > 10);
    read.iter().for_each(|bytes| property::holds(bytes));
    read.iter().for_each(|bytes| property::agrees(&[], bytes));
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

/// A template for what has objects in it is learned, not only left to others.
#[test]
fn what_stands_inside_of_objects_is_expected_as_well() {
    let table = "[telegraf]\nentity = 'tags.host'\nlabels = ['tags.dc']\nmetrics = ['fields.*']\nprefix = ['name', 'tags.cpu']";
    let kinds = kind::Kinds::with(toml::from_str(table).unwrap()).unwrap();
    let mut decoder = source::decoder::Decoder::new(kinds, limits::Limits::default());
    let record = |name: &str, tags: &str, value: u32, host: &str| {
        format!(
            r#"{{"fields":{{"idle":{value}.25,"n":7}},"name":"{name}","tags":{{{tags}"dc":"eu","host":"{host}"}},"timestamp":1769258096}}"#
        )
    };
    let mut read = |text: String| {
        let quick = decoder.read(text.as_bytes(), source::decoder::Expected::default()).unwrap();
        let is_quick = matches!(quick, source::decoder::Read::Filled(_));
        let decoded = quick.decoded();
        (is_quick, decoded.entity_id.to_string(), decoded.metrics.iter().map(|metric| (metric.0.to_string(), metric.1)).collect::<Vec<_>>())
    };
    let said = |is_quick: bool, host: &str, before: &str, value: f64| {
        (is_quick, host.to_owned(), vec![(format!("{before}.fields.idle"), value), (format!("{before}.fields.n"), 7.0)])
    };
    assert_eq!(read(record("cpu", r#""cpu":"cpu0","#, 1, "a")), said(false, "a", "cpu.cpu0", 1.25));
    assert_eq!(read(record("cpu", r#""cpu":"cpu1","#, 2, "a")), said(false, "a", "cpu.cpu1", 2.25));
    assert_eq!(read(record("mem", "", 3, "a")), said(false, "a", "mem", 3.25));
    assert_eq!(read(record("cpu", r#""cpu":"cpu1","#, 40, "b")), said(true, "b", "cpu.cpu1", 40.25));
    assert_eq!(read(record("mem", "", 500, "a")), said(true, "a", "mem", 500.25));
    assert_eq!(read(record("cpu", r#""cpu":"cpu0","#, 6, "c")), said(true, "c", "cpu.cpu0", 6.25));
    assert_eq!(read(record("swap", "", 6, "c")), said(false, "c", "swap", 6.25));
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
}

proptest! {
    // Each case is a few microseconds, and what it looks for is rare.
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// A template must not read what it does not fully understand, and of what it reads not one bit differently.
    #[test]
    fn a_decoder_that_has_learned_says_what_one_says_that_has_not(
        (fields, spaced) in plain_record(),
        mutations in prop::collection::vec(mutation(), 0..3),
    ) {
        let (learned, read) = (written(&fields, spaced), mutated(fields, spaced, &mutations));
        property::agrees(&[&learned], &read);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn noise_is_an_event_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        property::holds(&bytes);
    }
}
