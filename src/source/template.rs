//! How one producer writes its records, learned from one of them: the same keys in the same order with the same spacing, and only values that differ.

use super::decode::{Decoded, time_of};
use super::fields::Value;
use super::plain::{self, Day};
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
}

/// What [`Template::fill`] found that is not held in the template itself.
#[derive(Clone, Debug)]
pub struct Filled {
    entity: Range<usize>,
    time: Time,
}

/// How one producer writes its records, and the values of the one that was read last.
#[derive(Clone, Debug)]
pub struct Template {
    kind: usize,
    form: u64,
    pieces: Vec<Piece>,
    end: Vec<u8>,
    labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    metrics: Vec<(Cow<'static, str>, f64)>,
    day: Day,
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
            metrics: Vec::new(),
            day: Day::default(),
        };
        let (mut at, mut literal) = (behind(bytes, 0, b'{')?, 0);
        loop {
            let name = behind(bytes, at, b'"')?;
            let name_end = plain::text(bytes, name)?;
            let name = std::str::from_utf8(&bytes[name..name_end]).ok()?;
            let value = skip_spaces(bytes, behind(bytes, name_end + 1, b':')?);
            let (role, value, end) = template.role(bytes, value, name, kind)?;
            if let Some(role) = role {
                template.pieces.push(Piece { before: bytes[literal..value].to_vec(), role });
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
        let filled = template.fill(bytes, limits, kind)?;
        let (metrics, labels) = (template.metrics == *decoded.metrics, template.labels == *decoded.labels);
        let entity = bytes[filled.entity.clone()] == *decoded.entity_id.as_bytes();
        (metrics && labels && entity && filled.time == decoded.time).then_some(template)
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
                Role::Label(self.labels.len() - 1)
            }
            b'"' => Role::Text,
            b'-' | b'0'..=b'9' if name == kind.time && name != kind.entity => Role::TimeNumber,
            b'-' | b'0'..=b'9' if has_role => return None,
            b'-' | b'0'..=b'9' if kind.metrics.as_ref().is_none_or(|wanted| wanted.iter().any(|metric| metric == name)) => {
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
    pub fn fill(&mut self, bytes: &[u8], limits: &Limits, kind: &Kind) -> Option<Filled> {
        let (mut at, mut entity, mut time) = (0, 0..0, None);
        for Piece { before, role } in &self.pieces {
            at += bytes.get(at..)?.starts_with(before).then_some(before.len())?;
            let end = match *role {
                Role::Instant => {
                    let (instant, end) = self.day.instant(bytes, at)?;
                    time = Some(instant);
                    end
                }
                Role::Metric(place) => {
                    let (value, end) = plain::number(bytes, at)?;
                    self.metrics[place].1 = value;
                    end
                }
                Role::TimeNumber => {
                    let (value, end) = plain::number(bytes, at)?;
                    time = Some(time_of(&Value::Number(value), kind).ok()?);
                    end
                }
                Role::Number => plain::number(bytes, at)?.1,
                Role::Text => plain::text(bytes, at)?,
                Role::Entity => {
                    entity = at..plain::text(bytes, at)?;
                    (!entity.is_empty() && entity.len() <= limits.name_bytes_max).then_some(entity.end)?
                }
                Role::Label(place) => {
                    let end = plain::text(bytes, at)?;
                    (end - at <= limits.label_bytes_max).then_some(())?;
                    hold(&mut self.labels[place].1, &bytes[at..end])?;
                    end
                }
            };
            at = end;
        }
        (bytes.get(at..)? == self.end).then_some(Filled { entity, time: time? })
    }

    /// The event that [`Template::fill`] has read of these bytes.
    pub fn decoded<'a>(&'a self, bytes: &'a [u8], filled: &Filled) -> Decoded<'a> {
        Decoded {
            kind: self.kind,
            entity_id: String::from_utf8_lossy(&bytes[filled.entity.clone()]),
            time: filled.time,
            labels: Cow::Borrowed(&self.labels),
            metrics: Cow::Borrowed(&self.metrics),
            form: Some(self.form),
        }
    }

    /// The place of its kind.
    pub fn kind(&self) -> usize {
        self.kind
    }
}

/// Holds a text, which most often is held already.
fn hold(held: &mut Cow<'static, str>, bytes: &[u8]) -> Option<()> {
    if held.as_bytes() != bytes {
        let held = held.to_mut();
        held.clear();
        held.push_str(std::str::from_utf8(bytes).ok()?);
    }
    Some(())
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
