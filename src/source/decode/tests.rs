//! Records that are events, and records that are none.

use super::*;

fn reason(text: &str) -> &'static str {
    decode(text.as_bytes(), &Kinds::default(), &Limits::default()).map_or_else(|refusal| refusal.reason, |_| "accepted")
}

#[test]
fn an_event_of_the_design_is_understood() {
    let text = r#"{"type":"server_metric","timestamp":"2026-01-24T12:34:56Z","server_id":"srv-001","rack_id":"rack-A","cpu_usage_percent":85.2,"note":null}"#;
    let decoded = decode(text.as_bytes(), &Kinds::default(), &Limits::default()).unwrap();
    assert_eq!((decoded.kind, &*decoded.entity_id, decoded.time), (0, "srv-001", 1_769_258_096_000));
    assert_eq!(decoded.labels, vec![("rack_id".into(), "rack-A".into())]);
    assert_eq!(decoded.metrics, vec![("cpu_usage_percent".into(), 85.2)]);
}

#[test]
fn a_record_without_type_is_known_by_its_entity() {
    let text = r#"{"service_name":"cart","timestamp":1769258096,"error_rate_percent":0}"#;
    let decoded = decode(text.as_bytes(), &Kinds::default(), &Limits::default()).unwrap();
    assert_eq!((decoded.kind, decoded.time), (1, 1_769_258_096_000));
    assert_eq!(
        decode(text.replace("1769258096", "1769258096000").as_bytes(), &Kinds::default(), &Limits::default()).unwrap().time,
        decoded.time
    );
}

#[test]
fn what_is_inside_of_objects_is_read_where_a_kind_names_it() {
    let text = r#"{"name":"cpu","fields":{"usage_idle":98.2,"cores":{"busy":3},"a:b":1},"tags":{"host":"web-1","rack":7},"timestamp":1769258096,"up":1}"#;
    let table = "[telegraf]\nentity = 'tags.host'\nlabels = ['tags.rack']\nmetrics = ['fields.usage_*', 'fields.cores.busy']";
    let kinds = |table: &str| Kinds::with(toml::from_str(table).unwrap()).unwrap();
    let known = kinds(table);
    let decoded = decode(text.as_bytes(), &known, &Limits::default()).unwrap();
    assert_eq!(&*decoded.entity_id, "web-1");
    assert_eq!(decoded.labels, vec![("tags.rack".into(), "7".into())]);
    assert_eq!(decoded.metrics, vec![("fields.usage_idle".into(), 98.2), ("fields.cores.busy".into(), 3.0)]);
    assert_eq!(known.iter().last().unwrap().rack.as_deref(), Some("tags.rack"));
    // By default only what is outside, as if nothing were inside.
    let outside = kinds("[telegraf]\nentity = 'tags.host'");
    assert_eq!(decode(text.as_bytes(), &outside, &Limits::default()).unwrap().metrics, vec![("up".into(), 1.0)]);
    let refused = |text: &str| decode(text.as_bytes(), &known, &Limits::default()).unwrap_err();
    assert_eq!(refused(&text.replace("usage_idle", "idle").replace("busy", "b")).reason, "no_metrics");
    assert_eq!(refused(&text.replace("\"rack\":7", "\"host\":7")).reason, "duplicate_key");
    assert_eq!(refused(&text.replace("\"rack\":7", &format!("\"x\":{}{}", "{\"a\":".repeat(40), "}".repeat(40)))).reason, "invalid_json");
    let deep = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
    assert_eq!(refused(&text.replace("\"rack\":7", &format!("\"x\":{deep}"))).reason, "too_deep");
    // An object without a name is one all the same.
    assert_eq!(
        decode(text.replace("\"up\":1", "\"\":{\"up\":1}").as_bytes(), &outside, &Limits::default()).unwrap_err().reason,
        "no_metrics"
    );
    // What nobody names is left out, and refuses nothing; nor does what is too far inside to be named.
    let unnamed = format!("\"x\":{{{}}},\"x.y\":1,\"rack\":7", (0..300).map(|i| format!("\"m{i}\":{i}")).collect::<Vec<_>>().join(","));
    assert_eq!(decode(text.replace("\"rack\":7", &unnamed).as_bytes(), &known, &Limits::default()).unwrap().metrics.len(), 2);
    let far = format!("\"{}\":{{\"usage_x\":1}},\"rack\":7", "x".repeat(300));
    assert_eq!(decode(text.replace("\"rack\":7", &far).as_bytes(), &known, &Limits::default()).unwrap().metrics.len(), 2);
    // Nor does what another kind names.
    let server = |more: &str| format!(r#"{{"server_id":"a","timestamp":1769258096,"cpu":1,{more}}}"#);
    let more: String = (0..300).map(|i| format!(",\"usage_{i}\":{i}")).collect();
    for more in &[format!("\"fields\":{{\"usage\":1{more}}}"), r#""tags":{"host":1,"host":2}"#.into()] {
        assert_eq!(decode(server(more).as_bytes(), &known, &Limits::default()).unwrap().metrics.len(), 1);
    }
    // Failed once: what was behind such a flood was lost without a word.
    let two = Kinds::with(toml::from_str(&format!("{table}\n[other]\nentity = 'id'\nmetrics = ['values.*']")).unwrap()).unwrap();
    let behind = format!(r#"{{"type":"other","id":"a","timestamp":1769258096,"fields":{{"usage":1{more}}},"values":{{"v":1}}}}"#);
    assert_eq!(decode(behind.as_bytes(), &two, &Limits::default()).unwrap_err().reason, "too_many_fields");
    // Failed once: without a type it was of another kind where there was such a flood.
    let known = Kinds::with(toml::from_str("[a]\nentity = 'tags.host'\nmetrics = ['fields.*']\n[b]\nentity = 'id'").unwrap()).unwrap();
    let guessed = |more: &str| {
        let text = format!(r#"{{"id":"b","timestamp":1769258096,"fields":{{"usage_0":1{more}}},"tags":{{"host":"a"}},"up":1}}"#);
        decode(text.as_bytes(), &known, &Limits::default())
            .map_or_else(|refusal| refusal.reason.into(), |decoded| decoded.entity_id.to_string())
    };
    assert_eq!((guessed("").as_str(), guessed(&more.replace("_0", "_x")).as_str()), ("a", "too_many_fields"));
    let many: String = (0..300).map(|i| format!("\"usage_{i}\":{i},")).collect();
    assert_eq!(refused(&text.replace("\"a:b\":1", &format!("{many}\"a:b\":1"))).reason, "too_many_fields");
}

#[test]
fn what_a_record_measures_stands_before_the_names_of_its_metrics() {
    let table = "[telegraf]\nentity = 'tags.host'\nmetrics = ['fields.*']\nprefix = ['name', 'tags.cpu', 'tags.drive', 'tags.n']";
    let kinds = Kinds::with(toml::from_str(table).unwrap()).unwrap();
    let names = |name: &str, tags: &str| {
        let text = format!(r#"{{"name":"{name}","tags":{{"host":"web-1"{tags}}},"fields":{{"used":1}},"timestamp":1769258096,"n":9}}"#);
        let mut decoder = crate::source::decoder::Decoder::new(kinds.clone(), Limits::default());
        let mut name = || decoder.decode(text.as_bytes()).unwrap().metrics[0].0.to_string();
        (name(), name()).0
    };
    assert_eq!(names("mem", ""), "mem.fields.used");
    assert_eq!(names("cpu", r#","cpu":"cpu0","n":2"#), "cpu.cpu0.2.fields.used");
    assert_eq!(names("disk", r#","drive":"C:","cpu":null"#), "disk.C_.fields.used");
    let stripped = Kinds::with(toml::from_str(&format!("{table}\nstrip = 'fields.'")).unwrap()).unwrap();
    let mut decoder = crate::source::decoder::Decoder::new(stripped, Limits::default());
    for (field, name) in [("used", "mem.used"), ("free", "mem.free"), ("used", "mem.used")] {
        let text = format!(r#"{{"name":"mem","tags":{{"host":"web-1"}},"fields":{{"{field}":1}},"timestamp":1769258096}}"#);
        assert_eq!(decoder.decode(text.as_bytes()).unwrap().metrics, vec![(name.into(), 1.0)]);
    }
    let flat = "[m]\nentity = 'host'\nstrip = 'v.'";
    let mut decoder = crate::source::decoder::Decoder::new(Kinds::with(toml::from_str(flat).unwrap()).unwrap(), Limits::default());
    let text = r#"{"host":"x","timestamp":1769258096,"v.a":1,"b":2,"v.":3}"#;
    assert_eq!(decoder.decode(text.as_bytes()).unwrap().metrics, vec![("a".into(), 1.0), ("b".into(), 2.0), ("v.".into(), 3.0)]);
    let refusal = decoder.decode(text.replace("\"b\"", "\"a\"").as_bytes()).unwrap_err();
    assert_eq!((refusal.reason, refusal.detail.as_str()), ("duplicate_key", "two metrics are called 'a' without 'v.'"));
    let flat = "[m]\nentity = 'host'\nprefix = ['what']";
    let kinds = Kinds::with(toml::from_str(flat).unwrap()).unwrap();
    let mut decoder = crate::source::decoder::Decoder::new(kinds, Limits::default());
    // Failed once: what was learned from a record without anything to stand there was said of those with it.
    for (what, name) in [("", "used"), ("a", "a.used"), ("b", "b.used"), ("b", "b.used"), ("", "used"), ("c", "c.used")] {
        let text = format!(r#"{{"host":"x","what":"{what}","timestamp":1769258096,"used":1}}"#);
        assert_eq!(decoder.decode(text.as_bytes()).unwrap().metrics, vec![(name.into(), 1.0)]);
    }
    assert!(Kinds::with(toml::from_str("[m]\nentity = 'host'\nprefix = ['host']").unwrap()).unwrap_err().contains("before the names"));
}

#[test]
fn a_number_may_be_written_as_a_text_where_the_kind_names_it() {
    let table = "[prometheus]\nentity = 'labels.instance'\nmetrics = ['value', 'x*']\nprefix = ['name']";
    let kinds = Kinds::with(toml::from_str(table).unwrap()).unwrap();
    let mut decoder = crate::source::decoder::Decoder::new(kinds, Limits::default());
    let mut say = |value: &str, others: &str| {
        let text = format!(
            r#"{{"timestamp":"2026-01-24T12:34:56Z","value":{value},"name":"up","labels":{{"__name__":"up","instance":"web:9100"}}{others}}}"#
        );
        let decoded = decoder.decode(text.as_bytes());
        decoded.map(|decoded| {
            (decoded.entity_id.to_string(), decoded.metrics.iter().map(|one| (one.0.to_string(), one.1)).collect::<Vec<_>>())
        })
    };
    for (value, number) in
        [(r#""1""#, 1.0), (r#""0.25""#, 0.25), (r#""-7e2""#, -700.0), ("3", 3.0), (r#""12.5""#, 12.5), (r#""9876543210""#, 9_876_543_210.0)]
    {
        assert_eq!(say(value, ""), Ok(("web:9100".into(), vec![("up.value".into(), number)])), "{value}");
    }
    for value in [r#""NaN""#, r#""+Inf""#, r#""""#, r#""1 2""#, r#""007""#, r#""1e999""#, "null"] {
        let refusal = say(value, "").unwrap_err();
        assert_eq!(
            (refusal.reason, &*refusal.detail),
            ("no_metrics", "'value' is no number, and nothing else is to be watched"),
            "{value}"
        );
    }
    assert_eq!(
        say(r#""1""#, r#","xa":"5","xb":6"#).unwrap().1,
        [("up.value".into(), 1.0), ("up.xb".into(), 6.0)],
        "by a pattern, texts are none"
    );
}

#[test]
fn what_is_no_event_is_refused_with_its_reason() {
    let server = |rest: &str| reason(&format!(r#"{{"server_id":"a","timestamp":"2026-01-24T12:34:56Z"{rest}}}"#));
    assert_eq!(server(r#","cpu":1"#), "accepted");
    assert_eq!(server(""), "no_metrics");
    assert_eq!(server(r#","cpu":"high""#), "no_metrics");
    assert_eq!(server(r#","cpu":1,"cpu":2"#), "duplicate_key");
    assert_eq!(server(r#","cpu":NaN"#), "invalid_json");
    assert_eq!(server(r#","cpu":1e999"#), "invalid_json");
    assert_eq!(server(r#","cpu":1e300"#), "value_out_of_range");
    assert_eq!(server(r#","a:b":1"#), "bad_metric_name");
    assert_eq!(server(&format!(r#","x":{}1{}"#, "[".repeat(200), "]".repeat(200))), "too_deep");
    assert_eq!(server(&(0..300).map(|i| format!(r#","m{i}":{i}"#)).collect::<String>()), "too_many_fields");
    assert_eq!(server(&format!(r#","x":"{}""#, "x".repeat(Limits::default().record_bytes_max))), "too_large");
    assert_eq!(reason(r#"{"server_id":"","timestamp":"2026-01-24T12:34:56Z","cpu":1}"#), "bad_entity");
    assert_eq!(reason(r#"{"server_id":"a","timestamp":"noon","cpu":1}"#), "bad_time");
    assert_eq!(reason(r#"{"server_id":"a","cpu":1}"#), "no_time");
    assert_eq!(reason(r#"{"type":"server_metric","timestamp":"2026-01-24T12:34:56Z","cpu":1}"#), "no_entity");
    assert_eq!(reason(r#"{"type":"weather","cpu":1}"#), "unknown_kind");
    assert_eq!(reason("{}"), "unknown_kind");
    assert_eq!(reason(""), "empty");
    for broken in ["null", "[]", "42", "{", "\u{0}", "{\"a\":1}}"] {
        assert_eq!(reason(broken), "invalid_json", "{broken:?}");
    }
    assert_eq!(decode(b"\xff\xfe", &Kinds::default(), &Limits::default()).unwrap_err().reason, "invalid_json");
}
