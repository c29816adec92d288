//! How one producer writes its records, learned from one of them: the same keys in the same order with the same spacing, and only values that differ.

use super::decode::{Decoded, time_of};
use super::fields::Value;
use super::plain::{self, Minute};
use super::shape::Shape;
use crate::kind::Kind;
use crate::limits::Limits;
use dataflows::Time;
use std::borrow::Cow;
use std::ops::Range;

/// What a value is, in a place of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Entity,
    Instant,
    TimeNumber,
    Label(usize),
    Metric(usize),
    /// A text or a number that means nothing, but must be one.
    Text,
    Number,
}

/// A value, and the bytes between it and the one before.
#[derive(Clone, Debug)]
struct Piece {
    before: Vec<u8>,
    role: Role,
    /// How it was written last, if it is a metric.
    shape: Shape,
}

/// Stands behind each text of an entity: no byte of ASCII.
const END: u8 = 0xff;

/// A record that a template fits, as far as nearly all of them are looked at: texts are still bytes, of ASCII.
pub struct Filled<'a> {
    template: &'a mut Template,
    bytes: &'a [u8],
}

impl<'a> Filled<'a> {
    /// The record of these bytes, with which a template was filled last.
    pub fn new(template: &'a mut Template, bytes: &'a [u8]) -> Self {
        Self { template, bytes }
    }

    /// The place of its kind.
    pub fn kind(&self) -> usize {
        self.template.kind
    }

    /// The template's number: see [`Decoded::form`].
    pub fn form(&self) -> u64 {
        self.template.form
    }

    /// When it was measured.
    pub fn time(&self) -> Time {
        self.template.time
    }

    /// The entity's name.
    pub fn entity_id(&self) -> &'a [u8] {
        &self.bytes[self.template.texts[0].clone()]
    }

    /// The entity's name and the values of its labels, each with [`END`].
    pub fn entity(&self) -> Vec<u8> {
        let mut entity = Vec::new();
        for text in &self.template.texts {
            entity.extend_from_slice(&self.bytes[text.clone()]);
            entity.push(END);
        }
        entity
    }

    /// Whether this is what [`Filled::entity`] would say.
    pub fn is_of(&self, entity: &[u8]) -> bool {
        let mut rest = entity;
        for text in &self.template.texts {
            let text = &self.bytes[text.clone()];
            if rest.get(text.len()) != Some(&END) || !plain::is_same(text, &rest[..text.len()]) {
                return false;
            }
            rest = &rest[text.len() + 1..];
        }
        rest.is_empty()
    }

    /// The metrics in the record's order.
    pub fn metrics(&self) -> &[(Cow<'static, str>, f64)] {
        &self.template.metrics
    }

    /// All of it.
    pub fn decoded(self) -> Decoded<'a> {
        let Self { template, bytes } = self;
        for (label, place) in template.labels.iter_mut().zip(&template.texts[1..]) {
            hold(&mut label.1, &bytes[place.clone()]);
        }
        let template: &'a Template = template;
        Decoded {
            kind: template.kind,
            entity_id: String::from_utf8_lossy(&bytes[template.texts[0].clone()]),
            time: template.time,
            labels: Cow::Borrowed(&template.labels),
            metrics: Cow::Borrowed(&template.metrics),
            form: Some(template.form),
        }
    }
}

/// How one producer writes its records, and the values of the one that was read last.
#[derive(Clone, Debug)]
pub struct Template {
    kind: usize,
    form: u64,
    pieces: Vec<Piece>,
    end: Vec<u8>,
    labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// Where the entity and, behind it, the values of the labels stand in the record that was read last.
    texts: Vec<Range<usize>>,
    metrics: Vec<(Cow<'static, str>, f64)>,
    minute: Minute,
    /// When the record that was read last was measured.
    time: Time,
}

impl Template {
    /// Learns from a record that was decoded; `None` where it holds what a template does not understand: escapes, nested values, an entity or a label that
    /// is a number. `form` is a number of its own.
    pub fn learn(bytes: &[u8], decoded: &Decoded<'_>, kind: &Kind, limits: &Limits, form: u64) -> Option<Self> {
        let mut template = Self {
            kind: decoded.kind,
            form,
            pieces: Vec::new(),
            end: Vec::new(),
            labels: Vec::new(),
            texts: vec![Range::default()],
            metrics: Vec::new(),
            minute: Minute::default(),
            time: 0,
        };
        // What stands before the names of metrics differs from record to record.
        if !kind.prefix.is_empty() {
            return None;
        }
        let (mut at, mut literal) = (behind(bytes, 0, b'{')?, 0);
        loop {
            let name = behind(bytes, at, b'"')?;
            let name_end = plain::text(bytes, name)?;
            let name = std::str::from_utf8(&bytes[name..name_end]).ok()?;
            let value = skip_spaces(bytes, behind(bytes, name_end + 1, b':')?);
            let (role, value, end) = template.role(bytes, value, name, kind)?;
            if let Some(role) = role {
                template.pieces.push(Piece { before: bytes[literal..value].to_vec(), role, shape: Shape::default() });
                literal = end;
            }
            // Behind the quotation mark of a text.
            at = skip_spaces(bytes, end + usize::from(bytes.get(end) == Some(&b'"')));
            match bytes.get(at)? {
                b',' => at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        template.end = bytes[literal..].to_vec();
        // What was learned must say the same of the record that it was learned from.
        template.fill(bytes, limits, kind)?;
        let filled = Filled::new(&mut template, bytes).decoded();
        let is_same = *filled.metrics == *decoded.metrics && *filled.labels == *decoded.labels;
        let is_same = is_same && filled.entity_id == decoded.entity_id && filled.time == decoded.time;
        is_same.then_some(template)
    }

    /// The role of a value that begins at `at`, where it begins without its quotation mark, and where it ends. A value without role must always be the same.
    fn role(&mut self, bytes: &[u8], at: usize, name: &str, kind: &Kind) -> Option<(Option<Role>, usize, usize)> {
        let is_label = kind.labels.iter().any(|label| label == name);
        let has_role = name == kind.entity || name == kind.time || is_label;
        let role = match bytes.get(at)? {
            // What is named here decides how the rest is read.
            b'"' if name == "type" => return (!has_role).then_some((None, at + 1, plain::text(bytes, at + 1)?)),
            b'"' if name == kind.entity => Role::Entity,
            b'"' if name == kind.time => Role::Instant,
            b'"' if is_label => {
                self.labels.push((name.to_owned().into(), Cow::default()));
                self.texts.push(0..0);
                Role::Label(self.labels.len() - 1)
            }
            b'"' => Role::Text,
            b'-' | b'0'..=b'9' if name == kind.time && name != kind.entity => Role::TimeNumber,
            b'-' | b'0'..=b'9' if has_role => return None,
            b'-' | b'0'..=b'9' if kind.is_metric(name, false) => {
                self.metrics.push((name.to_owned().into(), 0.0));
                Role::Metric(self.metrics.len() - 1)
            }
            b'-' | b'0'..=b'9' => Role::Number,
            // true, false or null.
            b'a'..=b'z' => return Some((None, at, at + bytes[at..].iter().position(|byte| !byte.is_ascii_lowercase())?)),
            _ => return None,
        };
        let (at, end) = if bytes[at] == b'"' { (at + 1, plain::text(bytes, at + 1)?) } else { (at, plain::number(bytes, at)?.1) };
        Some((Some(role), at, end))
    }

    /// Reads a record that is written like the one this was learned from; `None` where it is not, or holds what is not plain.
    pub fn fill(&mut self, bytes: &[u8], limits: &Limits, kind: &Kind) -> Option<()> {
        let mut at = 0;
        let mut has_time = false;
        for Piece { before, role, shape } in &mut self.pieces {
            at += plain::is_same(bytes.get(at..at + before.len())?, before).then_some(before.len())?;
            let end = match *role {
                Role::Instant => {
                    let (instant, end) = self.minute.instant(bytes, at)?;
                    (self.time, has_time) = (instant, true);
                    end
                }
                Role::Metric(place) => {
                    let (value, end) = shape.number(bytes, at)?;
                    self.metrics[place].1 = value;
                    end
                }
                Role::TimeNumber => {
                    let (value, end) = plain::number(bytes, at)?;
                    (self.time, has_time) = (time_of(&Value::Number(value), kind).ok()?, true);
                    end
                }
                Role::Number => plain::number(bytes, at)?.1,
                Role::Text => plain::text(bytes, at)?,
                Role::Entity => {
                    let end = plain::text(bytes, at)?;
                    self.texts[0] = at..end;
                    (end > at && end - at <= limits.name_bytes_max).then_some(end)?
                }
                Role::Label(place) => {
                    let end = plain::text(bytes, at)?;
                    (end - at <= limits.label_bytes_max).then_some(())?;
                    self.texts[place + 1] = at..end;
                    end
                }
            };
            at = end;
        }
        let rest = bytes.get(at..).filter(|rest| rest.len() == self.end.len())?;
        (has_time && plain::is_same(rest, &self.end)).then_some(())
    }

    /// The place of its kind.
    pub fn kind(&self) -> usize {
        self.kind
    }
}

/// Holds a text of ASCII.
fn hold(held: &mut Cow<'static, str>, bytes: &[u8]) {
    if held.as_bytes() != bytes {
        let held = held.to_mut();
        held.clear();
        held.push_str(&String::from_utf8_lossy(bytes));
    }
}

/// The place behind the spaces at `at`.
fn skip_spaces(bytes: &[u8], at: usize) -> usize {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    at + bytes[at.min(bytes.len())..].iter().take_while(is_space).count()
}

/// The place behind `mark`, which must come next.
fn behind(bytes: &[u8], at: usize, mark: u8) -> Option<usize> {
    let at = skip_spaces(bytes, at);
    (bytes.get(at) == Some(&mark)).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::*;
    use crate::kind::Kinds;

    const RECORD: &str =
        r#"{"type":"server_metric","timestamp":"2026-01-24T12:34:56Z","server_id":"srv-001","rack_id":"A","cpu":85.2,"rx":7}"#;

    fn learned(text: &str) -> Option<Template> {
        let (kinds, limits) = (Kinds::default(), Limits::default());
        let decoded = decode(text.as_bytes(), &kinds, &limits).unwrap();
        Template::learn(text.as_bytes(), &decoded, kinds.iter().next().unwrap(), &limits, 1)
    }

    #[test]
    fn a_record_written_alike_is_read_and_one_that_is_not_is_left_to_others() {
        let mut template = learned(RECORD).unwrap();
        let mut fits = |text: &str| template.fill(text.as_bytes(), &Limits::default(), Kinds::default().iter().next().unwrap()).is_some();
        let next =
            RECORD.replace("85.2", "-1234.5678").replace("12:34:56", "23:59:59.125").replace("srv-001", "srv 2").replace("\"A\"", "\"\"");
        assert!(fits(RECORD) && fits(&next));
        for (from, to) in
            [("85.2", "8e1"), ("srv-001", "srv\\n"), ("srv-001", ""), ("srv-001", "é"), (":7}", ": 7}"), ("}", "} "), ("\"rx\"", "\"tx\"")]
        {
            assert!(!fits(&RECORD.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn what_a_template_cannot_hold_is_not_learned() {
        assert!(learned(&RECORD.replace("\"A\"", "7")).is_none(), "a label that is a number");
        assert!(learned(&RECORD.replace("7}", "[7]}")).is_none(), "nested values");
        assert!(learned(&RECORD.replace("srv-001", "srv-\\u0031")).is_none(), "escapes");
        assert!(learned(&RECORD.replace("7}", "null}")).is_some());
    }
}
