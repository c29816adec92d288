//! Records become events: one JSON object to one entity, one time and its metrics, or a refusal with a reason.
//!
//! Nothing that a record can hold is fatal; every limit stands in [`Limits`].

use crate::instant;
use crate::kind::{Kind, Kinds};
use crate::limits::Limits;
use crate::source::fields::{Field, Fields, Value, parse};
use dataflows::Time;
use dataflows::accumulator::VALUE_LIMIT;
use std::borrow::Cow;

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
    pub labels: Cow<'a, [(Cow<'a, str>, Cow<'a, str>)]>,
    /// The metrics in the record's order, at least one, finite and below [`VALUE_LIMIT`].
    pub metrics: Cow<'a, [(Cow<'a, str>, f64)]>,
    /// What the names of the metrics were read by: two records of one decoder with the same number have the same names in the same order. `None`: nothing is
    /// known of them.
    pub form: Option<u64>,
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
/// A [`Refusal`]: `empty`, `too_large`, `invalid_json`, `too_deep`, `too_many_fields`, `duplicate_key`, `unknown_kind`, `no_entity`, `bad_entity`,
/// `no_time`, `bad_time`, `too_many_labels`, `bad_label`, `label_too_long`, `bad_metric_name`, `name_too_long`, `value_out_of_range`, `no_metrics`.
pub fn decode<'a>(bytes: &'a [u8], kinds: &Kinds, limits: &Limits) -> Result<Decoded<'a>, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::new("empty", "the record has no bytes, as one that marks a deletion"));
    }
    if bytes.len() > limits.record_bytes_max {
        return Err(Refusal::new("too_large", format!("more than {} bytes", limits.record_bytes_max)));
    }
    let mut fields = parse(bytes, limits, kinds.ways()).map_err(|error| Refusal::new("invalid_json", told(&error)))?;
    check_fields(&fields, |field| !field.is_inside, limits)?;
    let named = match fields.iter().find(|field| field.name == "type").map(|field| &field.value) {
        Some(Value::Text(name)) => Some(&**name),
        Some(Value::Number(number)) => return Err(Refusal::new("unknown_kind", format!("type {number:e} is not configured"))),
        _ => None,
    };
    let has = |name: &str| fields.iter().any(|field| field.name == name);
    let Some((place, kind)) = kinds.of(named, has) else {
        // The one that names its entity may be behind a flood of others.
        check_fields(&fields, |field| field.is_inside, limits)?;
        let seen = match named {
            Some(name) => {
                let known: Vec<&str> = kinds.iter().map(|kind| &*kind.name).collect();
                format!("type '{}' is not configured; known are {}", shortened(name), known.join(", "))
            }
            None => {
                let entities: Vec<&str> = kinds.iter().map(|kind| &*kind.entity).collect();
                format!("the record has no type, and no field that names an entity ({})", entities.join(", "))
            }
        };
        return Err(Refusal::new("unknown_kind", seen));
    };
    // What another kind names inside is nothing to this one, unless it is so much that what this one names may be behind it, or the entity of one that
    // comes before it.
    let may_be_another = || named.is_none() && kinds.iter().take(place).any(|before| before.entity.contains('.'));
    if (kind.names_something_inside() || may_be_another()) && fields.iter().filter(|field| field.is_inside).count() > limits.fields_max {
        check_fields(&fields, |field| field.is_inside, limits)?;
    }
    fields.retain(|field| !field.is_inside || kind.names_inside(&field.name));
    if fields.iter().any(|field| field.is_inside) {
        check_fields(&fields, |_| true, limits)?;
    }
    assemble(fields, place, kind, limits)
}

/// Whether there are too many of some fields, one of them is too deep, or there twice.
fn check_fields(fields: &Fields<'_>, counts: impl Fn(&Field<'_>) -> bool, limits: &Limits) -> Result<(), Refusal> {
    if fields.iter().filter(|field| counts(field)).count() > limits.fields_max {
        return Err(Refusal::new("too_many_fields", format!("more than {} fields", limits.fields_max)));
    }
    for (place, field) in fields.iter().enumerate().filter(|(_, field)| counts(field)) {
        if field.value == Value::Deep {
            let problem = format!("'{}' is nested deeper than {} levels", shortened(&field.name), limits.depth_max);
            return Err(Refusal::new("too_deep", problem));
        }
        if fields[..place].iter().any(|earlier| counts(earlier) && earlier.name == field.name) {
            return Err(Refusal::new("duplicate_key", format!("'{}' is there twice", shortened(&field.name))));
        }
    }
    Ok(())
}

/// Sorts the fields into entity, time, labels and metrics.
fn assemble<'a>(fields: Fields<'a>, place: usize, kind: &Kind, limits: &Limits) -> Result<Decoded<'a>, Refusal> {
    let (mut entity_id, mut time, mut labels, mut metrics) = (None, None, Vec::new(), Vec::with_capacity(fields.len()));
    let prefix = prefix_of(&fields, kind);
    let has_others = !kind.looks_inside() && fields.iter().any(|field| field.value == Value::Other);
    // One that the kind names and that is none.
    let mut no_number = None;
    for Field { name, value, is_inside } in fields {
        if *name == *kind.entity {
            entity_id = Some(entity_of(value, kind, limits)?);
        } else if *name == *kind.time {
            time = Some(time_of(&value, kind)?);
        } else if kind.labels.iter().any(|label| *label == *name) {
            labels.extend(label_of(&name, value, limits)?.map(|text| (name, text)));
        } else if kind.prefix.iter().any(|field| *field == *name) {
            // It is part of names.
        } else if let Some(number) = number_of(&value, &name, kind)
            && kind.is_metric(&name, is_inside)
        {
            let name = called(name, kind, &prefix);
            if !kind.strip.is_empty() && metrics.iter().any(|(other, _): &(Cow<'_, str>, f64)| *other == name) {
                let problem = format!("two metrics are called '{}' without '{}'", shortened(&name), shortened(&kind.strip));
                return Err(Refusal::new("duplicate_key", problem));
            }
            check_metric(&name, number, limits)?;
            metrics.push((name, number));
        } else if kind.names_metric(&name) {
            no_number = no_number.or(Some(name));
        }
    }
    let entity_id = entity_id.ok_or_else(|| Refusal::new("no_entity", format!("'{}' is missing", kind.entity)))?;
    let time = time.ok_or_else(|| Refusal::new("no_time", format!("'{}' is missing", kind.time)))?;
    if metrics.is_empty() {
        if let Some(name) = no_number {
            return Err(Refusal::new("no_metrics", format!("'{}' is no number, and nothing else is to be watched", shortened(&name))));
        }
        let hint =
            if has_others { "; one inside of an object is only where the kind names it, as in metrics = [\"fields.*\"]" } else { "" };
        return Err(Refusal::new("no_metrics", format!("no field is a number to be watched{hint}")));
    }
    if labels.len() > limits.labels_max {
        return Err(Refusal::new("too_many_labels", format!("more than {} labels", limits.labels_max)));
    }
    Ok(Decoded { kind: place, entity_id, time, labels: labels.into(), metrics: metrics.into(), form: None })
}

/// The number that a field says, in a text where the kind names it.
fn number_of(value: &Value<'_>, name: &str, kind: &Kind) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) if kind.names_metric(name) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// What the metric of a field is called behind a prefix.
fn called<'a>(field: Cow<'a, str>, kind: &Kind, prefix: &str) -> Cow<'a, str> {
    match field {
        field if !prefix.is_empty() => Cow::Owned(format!("{prefix}{}", kind.called(&field))),
        Cow::Borrowed(field) => Cow::Borrowed(kind.called(field)),
        Cow::Owned(field) if kind.strip.is_empty() => Cow::Owned(field),
        Cow::Owned(field) => Cow::Owned(kind.called(&field).to_owned()),
    }
}

/// What stands before the names of metrics; a colon, which parts the names of series, becomes a line.
fn prefix_of(fields: &Fields<'_>, kind: &Kind) -> String {
    let mut prefix = String::new();
    for wanted in &kind.prefix {
        match fields.iter().find(|field| *field.name == **wanted).map(|field| &field.value) {
            Some(Value::Text(text)) if !text.is_empty() => {
                prefix.extend(text.chars().map(|letter| if letter == ':' { '_' } else { letter }));
            }
            Some(Value::Number(number)) => prefix += &number.to_string(),
            _ => continue,
        }
        prefix.push('.');
    }
    prefix
}

fn entity_of<'a>(value: Value<'a>, kind: &Kind, limits: &Limits) -> Result<Cow<'a, str>, Refusal> {
    let text = match value {
        Value::Text(text) if !text.is_empty() && !text.contains('\0') => text,
        #[allow(clippy::cast_possible_truncation)] // an integer of at most 53 bits
        Value::Number(number) if number.fract() == 0.0 && number.abs() < VALUE_LIMIT => Cow::Owned((number as i64).to_string()),
        _ => {
            return Err(Refusal::new(
                "bad_entity",
                format!("'{}' must be a text, neither empty nor with a NUL, or a whole number", kind.entity),
            ));
        }
    };
    check_name(&text, limits)?;
    Ok(text)
}

/// A name that is too long is refused whatever it names.
fn check_name(name: &str, limits: &Limits) -> Result<(), Refusal> {
    if name.len() > limits.name_bytes_max {
        return Err(Refusal::new("name_too_long", format!("'{}…' has more than {} bytes", shortened(name), limits.name_bytes_max)));
    }
    Ok(())
}

fn label_of<'a>(name: &str, value: Value<'a>, limits: &Limits) -> Result<Option<Cow<'a, str>>, Refusal> {
    let text = match value {
        Value::Text(text) if text.contains('\0') => return Err(Refusal::new("bad_label", format!("'{}' holds a NUL", shortened(name)))),
        Value::Text(text) => text,
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Other | Value::Deep => return Ok(None),
    };
    if text.len() > limits.label_bytes_max {
        return Err(Refusal::new("label_too_long", format!("'{}' has more than {} bytes", shortened(name), limits.label_bytes_max)));
    }
    Ok(Some(text))
}

fn check_metric(name: &str, value: f64, limits: &Limits) -> Result<(), Refusal> {
    check_name(name, limits)?;
    if name.is_empty() || name.contains([':', '\0']) {
        return Err(Refusal::new("bad_metric_name", format!("'{}' must have at least one letter and no colon", shortened(name))));
    }
    if value.abs() < VALUE_LIMIT {
        Ok(())
    } else {
        Err(Refusal::new("value_out_of_range", format!("'{}' is {value:e}, at most 9e15 is summed exactly", shortened(name))))
    }
}

/// The time that a value says.
///
/// # Errors
/// `bad_time`.
pub(super) fn time_of(value: &Value<'_>, kind: &Kind) -> Result<Time, Refusal> {
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

/// The parser's word. It quotes what it did not expect, whole; the place in the record stands at the end.
fn told(error: &serde_json::Error) -> String {
    // A record is one line, wherever that stands.
    let text = error.to_string().replace(" at line 1 column ", " at column ");
    match text.char_indices().nth(80) {
        None => text,
        Some((end, _)) => format!("{}… at column {}", &text[..end], error.column()),
    }
}

/// The beginning of a text, for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
