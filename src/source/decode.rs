//! Records become events: one JSON object to one entity, one time and its metrics, or a refusal with a reason.
//!
//! Nothing that a record can hold is fatal; every limit is a constant here.

use crate::instant;
use crate::kind::{Kind, Kinds};
use dataflows::Time;
use dataflows::accumulator::VALUE_LIMIT;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A longer record is refused unread.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// A record with more fields is refused.
pub const FIELDS_MAX: usize = 256;
/// A longer name of an entity, label or metric is refused.
pub const NAME_BYTES_MAX: usize = 256;

/// Numbers below this are seconds since 1970, others milliseconds: as seconds it is the year 5138, as milliseconds March 1973.
const SECONDS_MAX: f64 = 1e11;

/// One record, understood. Its texts point into the record's bytes where they can.
#[derive(Debug, PartialEq)]
pub struct Decoded<'a> {
    /// The place of the kind among [`Kinds`].
    pub kind: usize,
    /// The thing measured.
    pub entity_id: Cow<'a, str>,
    /// When it was measured, in milliseconds since the epoch.
    pub time: Time,
    /// The labels that are there, by name.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The metrics in the record's order, at least one, finite and below [`VALUE_LIMIT`].
    pub metrics: Vec<(Cow<'a, str>, f64)>,
}

/// Why a record is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One word of a fixed list, for counting.
    pub reason: &'static str,
    /// A sentence for a person.
    pub detail: String,
}

impl Refusal {
    /// A refusal for `reason`, with a sentence.
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Reads one record.
///
/// # Errors
/// A [`Refusal`]: `too_large`, `invalid_json`, `too_many_fields`, `duplicate_key`, `unknown_kind`, `no_entity`, `bad_entity`, `no_time`, `bad_time`,
/// `bad_label`, `bad_metric_name`, `value_out_of_range`, `no_metrics`.
pub fn decode<'a>(bytes: &'a [u8], kinds: &Kinds) -> Result<Decoded<'a>, Refusal> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(Refusal::new("too_large", format!("{} bytes, at most {RECORD_BYTES_MAX} are read", bytes.len())));
    }
    let Fields(fields) = serde_json::from_slice(bytes).map_err(|error| Refusal::new("invalid_json", error.to_string()))?;
    check_fields(&fields)?;
    let text_of = |name: &str| fields.iter().find(|field| field.0 == name).and_then(|field| field.1.text());
    let named = text_of("type");
    let has = |name: &str| fields.iter().any(|field| field.0 == name);
    let Some((place, kind)) = kinds.of(named, has) else {
        let seen = named
            .map_or("the record has no type and no field that names an entity".into(), |name| format!("type '{name}' is not configured"));
        return Err(Refusal::new("unknown_kind", seen));
    };
    assemble(fields, place, kind)
}

fn check_fields(fields: &[(Cow<'_, str>, Value<'_>)]) -> Result<(), Refusal> {
    if fields.len() > FIELDS_MAX {
        return Err(Refusal::new("too_many_fields", format!("more than {FIELDS_MAX} fields")));
    }
    for (place, field) in fields.iter().enumerate() {
        if fields[..place].iter().any(|earlier| earlier.0 == field.0) {
            return Err(Refusal::new("duplicate_key", format!("'{}' is there twice", shortened(&field.0))));
        }
    }
    Ok(())
}

/// Sorts the fields into entity, time, labels and metrics.
fn assemble<'a>(fields: Vec<(Cow<'a, str>, Value<'a>)>, place: usize, kind: &Kind) -> Result<Decoded<'a>, Refusal> {
    let (mut entity_id, mut time, mut labels, mut metrics) = (None, None, Vec::new(), Vec::with_capacity(fields.len()));
    for (name, value) in fields {
        if *name == *kind.entity {
            entity_id = Some(entity_of(value, kind)?);
        } else if *name == *kind.time {
            time = Some(time_of(&value, kind)?);
        } else if kind.labels.iter().any(|label| *label == *name) {
            labels.extend(label_of(&name, value)?.map(|text| (name, text)));
        } else if let Value::Number(number) = value
            && kind.metrics.as_ref().is_none_or(|wanted| wanted.iter().any(|metric| *metric == *name))
        {
            check_metric(&name, number)?;
            metrics.push((name, number));
        }
    }
    let entity_id = entity_id.ok_or_else(|| Refusal::new("no_entity", format!("'{}' is missing", kind.entity)))?;
    let time = time.ok_or_else(|| Refusal::new("no_time", format!("'{}' is missing", kind.time)))?;
    if metrics.is_empty() {
        return Err(Refusal::new("no_metrics", "no field is a number to be watched"));
    }
    Ok(Decoded { kind: place, entity_id, time, labels, metrics })
}

fn entity_of<'a>(value: Value<'a>, kind: &Kind) -> Result<Cow<'a, str>, Refusal> {
    match value {
        Value::Text(text) if !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains('\0') => Ok(text),
        #[allow(clippy::cast_possible_truncation)] // an integer of at most 53 bits
        Value::Number(number) if number.fract() == 0.0 && number.abs() < VALUE_LIMIT => Ok(Cow::Owned((number as i64).to_string())),
        _ => Err(Refusal::new("bad_entity", format!("'{}' must be a text of 1 to {NAME_BYTES_MAX} bytes", kind.entity))),
    }
}

fn label_of<'a>(name: &str, value: Value<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    match value {
        Value::Text(text) if text.len() <= NAME_BYTES_MAX && !text.contains('\0') => Ok(Some(text)),
        Value::Text(_) => Err(Refusal::new("bad_label", format!("'{name}' has more than {NAME_BYTES_MAX} bytes or a NUL"))),
        Value::Number(number) => Ok(Some(Cow::Owned(number.to_string()))),
        Value::Other => Ok(None),
    }
}

fn check_metric(name: &str, value: f64) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains([':', '\0']) {
        return Err(Refusal::new("bad_metric_name", format!("'{}' must have 1 to {NAME_BYTES_MAX} bytes and no colon", shortened(name))));
    }
    if value.abs() < VALUE_LIMIT {
        Ok(())
    } else {
        Err(Refusal::new("value_out_of_range", format!("'{name}' is {value:e}, at most 9e15 is summed exactly")))
    }
}

fn time_of(value: &Value<'_>, kind: &Kind) -> Result<Time, Refusal> {
    let time = match value {
        Value::Text(text) => instant::parse(text),
        Value::Number(number) if *number >= 0.0 => {
            let milliseconds = if *number < SECONDS_MAX { number * 1000.0 } else { *number };
            #[allow(clippy::cast_possible_truncation)] // saturates, and the clock guard refuses such a time
            Some(milliseconds as Time)
        }
        _ => None,
    };
    time.ok_or_else(|| Refusal::new("bad_time", format!("'{}' is not a time like 2026-01-24T12:34:56Z", kind.time)))
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A field's value, as far as it can matter.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Number(f64),
    Text(Cow<'a, str>),
    Other,
}

impl Value<'_> {
    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// The fields of an object in their order, duplicates included.
struct Fields<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(16);
                // One more than is allowed is enough to know; the rest of a flood is skipped.
                while let Some(Text(name)) = map.next_key()? {
                    if fields.len() > FIELDS_MAX {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        fields.push((name, map.next_value()?));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A text that is borrowed where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Text(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a key must be a text")),
        }
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        #[allow(clippy::cast_precision_loss)] // a metric is a double
        impl<'de> Visitor<'de> for Any {
            type Value = Value<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
                Ok(Value::Number(number))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
                Ok(Value::Number(number as f64))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
                Ok(Value::Number(number as f64))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
                Ok(Value::Other)
            }
            fn visit_unit<E>(self) -> Result<Value<'de>, E> {
                Ok(Value::Other)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
                // Not `IgnoredAny`, which serde_json skips without its limit on depth.
                while items.next_element::<Value<'de>>()?.is_some() {}
                Ok(Value::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, Value<'de>>()?.is_some() {}
                Ok(Value::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> &'static str {
        decode(text.as_bytes(), &Kinds::default()).map_or_else(|refusal| refusal.reason, |_| "accepted")
    }

    #[test]
    fn an_event_of_the_design_is_understood() {
        let text = r#"{"type":"server_metric","timestamp":"2026-01-24T12:34:56Z","server_id":"srv-001","rack_id":"rack-A","cpu_usage_percent":85.2,"note":null}"#;
        let decoded = decode(text.as_bytes(), &Kinds::default()).unwrap();
        assert_eq!((decoded.kind, &*decoded.entity_id, decoded.time), (0, "srv-001", 1_769_258_096_000));
        assert_eq!(decoded.labels, vec![("rack_id".into(), "rack-A".into())]);
        assert_eq!(decoded.metrics, vec![("cpu_usage_percent".into(), 85.2)]);
    }

    #[test]
    fn a_record_without_type_is_known_by_its_entity() {
        let text = r#"{"service_name":"cart","timestamp":1769258096,"error_rate_percent":0}"#;
        let decoded = decode(text.as_bytes(), &Kinds::default()).unwrap();
        assert_eq!((decoded.kind, decoded.time), (1, 1_769_258_096_000));
        assert_eq!(decode(text.replace("1769258096", "1769258096000").as_bytes(), &Kinds::default()).unwrap().time, decoded.time);
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
        assert_eq!(server(&format!(r#","x":{}1{}"#, "[".repeat(200), "]".repeat(200))), "invalid_json");
        assert_eq!(server(&(0..300).map(|i| format!(r#","m{i}":{i}"#)).collect::<String>()), "too_many_fields");
        assert_eq!(server(&format!(r#","x":"{}""#, "x".repeat(RECORD_BYTES_MAX))), "too_large");
        assert_eq!(reason(r#"{"server_id":"","timestamp":"2026-01-24T12:34:56Z","cpu":1}"#), "bad_entity");
        assert_eq!(reason(r#"{"server_id":"a","timestamp":"noon","cpu":1}"#), "bad_time");
        assert_eq!(reason(r#"{"server_id":"a","cpu":1}"#), "no_time");
        assert_eq!(reason(r#"{"type":"server_metric","timestamp":"2026-01-24T12:34:56Z","cpu":1}"#), "no_entity");
        assert_eq!(reason(r#"{"type":"weather","cpu":1}"#), "unknown_kind");
        assert_eq!(reason("{}"), "unknown_kind");
        for broken in ["", "null", "[]", "42", "{", "\u{0}", "{\"a\":1}}"] {
            assert_eq!(reason(broken), "invalid_json", "{broken:?}");
        }
        assert_eq!(decode(b"\xff\xfe", &Kinds::default()).unwrap_err().reason, "invalid_json");
    }
}
