//! How one producer writes its records, learned from one of them: the same keys in the same order with the same spacing, and only values that differ.

use super::decode::{Decoded, time_of};
use super::fields::Value;
use super::filled::Filled;
use super::plain::{self, Minute};
use super::together::{Expected, Together};
use crate::decimal::{self, Shape};
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
    /// All texts of the entity, one behind the other: see [`Together`].
    Together,
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

/// How one producer writes its records, and the values of the one that was read last.
#[derive(Clone, Debug)]
pub struct Template {
    pub(super) kind: usize,
    pub(super) form: u64,
    pieces: Vec<Piece>,
    end: Vec<u8>,
    pub(super) labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// Where the entity and, behind it, the values of the labels stand in the record that was read last.
    pub(super) texts: Vec<Range<usize>>,
    /// All of them, where no other value stands between them.
    pub(super) together: Option<Together>,
    /// The names of the metrics, and their values in the record that was last asked for as a whole.
    pub(super) metrics: Vec<(Cow<'static, str>, f64)>,
    /// Their values in the record that was read last.
    pub(super) values: Vec<f64>,
    minute: Minute,
    /// When the record that was read last was measured.
    pub(super) time: Time,
}

impl Template {
    /// Learns from a record that was decoded; `None` where it holds what a template does not understand: escapes, arrays, an entity or a label that
    /// is a number. `form` is a number of its own.
    pub fn learn(bytes: &[u8], decoded: &Decoded<'_>, kind: &Kind, limits: &Limits, form: u64) -> Option<Self> {
        let mut template = Self {
            kind: decoded.kind,
            form,
            pieces: Vec::new(),
            end: Vec::new(),
            labels: Vec::new(),
            texts: vec![Range::default()],
            together: None,
            metrics: Vec::new(),
            values: Vec::new(),
            minute: Minute::default(),
            time: 0,
        };
        let mut literal = 0;
        template.object(bytes, behind(bytes, 0, b'{')?, None, kind, &mut literal)?;
        template.end = bytes[literal..].to_vec();
        // It is one text in all records of this form.
        let prefix = match (template.metrics.first(), decoded.metrics.first()) {
            (Some((own, _)), Some((named, _))) => named.strip_suffix(&**own)?,
            _ => "",
        };
        template.metrics.iter_mut().for_each(|(name, _)| name.to_mut().insert_str(0, prefix));
        template.values = vec![0.0; template.metrics.len()];
        template.put_together();
        // What was learned must say the same of the record that it was learned from.
        template.fill(bytes, limits, kind, Expected::default())?;
        let filled = Filled::new(&mut template, bytes).decoded();
        let is_same = *filled.metrics == *decoded.metrics && *filled.labels == *decoded.labels;
        let is_same = is_same && filled.entity_id == decoded.entity_id && filled.time == decoded.time;
        is_same.then_some(template)
    }

    /// Learns what is in an object from behind its brace on, to which one comes by `way`; the place behind its end. What stands before the next value begins at
    /// `literal`.
    fn object(&mut self, bytes: &[u8], at: usize, way: Option<&str>, kind: &Kind, literal: &mut usize) -> Option<usize> {
        if let Some(end) = behind(bytes, at, b'}') {
            return Some(end);
        }
        let mut at = at;
        loop {
            let name = behind(bytes, at, b'"')?;
            let name_end = plain::text(bytes, name)?;
            let name = std::str::from_utf8(&bytes[name..name_end]).ok()?;
            let name = way.map_or(Cow::Borrowed(name), |way| Cow::Owned(format!("{way}.{name}")));
            let value = skip_spaces(bytes, behind(bytes, name_end + 1, b':')?);
            at = if bytes.get(value) == Some(&b'{') {
                self.object(bytes, value + 1, Some(&name), kind, literal)?
            } else {
                let (role, value, end) = self.role(bytes, value, &name, way.is_some(), kind)?;
                if let Some(role) = role {
                    self.pieces.push(Piece { before: bytes[*literal..value].to_vec(), role, shape: Shape::default() });
                    *literal = end;
                }
                // Behind the quotation mark of a text.
                end + usize::from(bytes.get(end) == Some(&b'"'))
            };
            at = skip_spaces(bytes, at);
            match bytes.get(at)? {
                b',' => at += 1,
                b'}' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// The role of a value that begins at `at`, where it begins without its quotation mark, and where it ends. A value without role must always be the same.
    fn role(&mut self, bytes: &[u8], at: usize, name: &str, is_inside: bool, kind: &Kind) -> Option<(Option<Role>, usize, usize)> {
        let is_label = kind.labels.iter().any(|label| label == name);
        let has_role = name == kind.entity || name == kind.time || is_label;
        // What is named here decides how the rest is read, or what the metrics are called.
        let is_constant = name == "type" || kind.prefix.iter().any(|field| field == name);
        let role = match bytes.get(at)? {
            _ if is_constant && has_role => return None,
            b'"' if is_constant => None,
            b'"' if name == kind.entity => Some(Role::Entity),
            b'"' if name == kind.time => Some(Role::Instant),
            b'"' if is_label => {
                self.labels.push((name.to_owned().into(), Cow::default()));
                self.texts.push(0..0);
                Some(Role::Label(self.labels.len() - 1))
            }
            // A number in a text, unless what was learned says otherwise.
            b'"' if kind.names_metric(name) => Some(self.metric(name)),
            b'"' => Some(Role::Text),
            b'-' | b'0'..=b'9' if is_constant => None,
            b'-' | b'0'..=b'9' if name == kind.time && name != kind.entity => Some(Role::TimeNumber),
            b'-' | b'0'..=b'9' if has_role => return None,
            b'-' | b'0'..=b'9' if kind.is_metric(name, is_inside) => Some(self.metric(name)),
            b'-' | b'0'..=b'9' => Some(Role::Number),
            // true, false or null.
            b'a'..=b'z' => return Some((None, at, at + bytes[at..].iter().position(|byte| !byte.is_ascii_lowercase())?)),
            _ => return None,
        };
        let (at, end) = if bytes[at] == b'"' { (at + 1, plain::text(bytes, at + 1)?) } else { (at, decimal::number(bytes, at)?.1) };
        Some((role, at, end))
    }

    /// The role of a metric.
    fn metric(&mut self, name: &str) -> Role {
        self.metrics.push((name.to_owned().into(), 0.0));
        Role::Metric(self.metrics.len() - 1)
    }

    /// Makes one piece of the texts of the entity, where no other value stands between them.
    fn put_together(&mut self) {
        let text = |piece: &Piece| match piece.role {
            Role::Entity => Some(0),
            Role::Label(place) => Some(place + 1),
            _ => None,
        };
        let Some(first) = self.pieces.iter().position(|piece| text(piece).is_some()) else { return };
        let places: Vec<usize> = self.pieces[first..].iter().map_while(text).collect();
        if places.len() == self.texts.len() {
            let mut parts: Vec<Vec<u8>> = self.pieces.drain(first..first + places.len()).map(|piece| piece.before).collect();
            let before = std::mem::take(&mut parts[0]);
            self.pieces.insert(first, Piece { before, role: Role::Together, shape: Shape::default() });
            self.together = Some(Together::new(parts.into_iter().zip(places).collect()));
        }
    }

    /// Reads a record that is written like the one this was learned from; `None` where it is not, or holds what is not plain.
    pub fn fill(&mut self, bytes: &[u8], limits: &Limits, kind: &Kind, expected: Expected<'_>) -> Option<()> {
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
                    self.values[place] = value;
                    end
                }
                Role::TimeNumber => {
                    let (value, end) = decimal::number(bytes, at)?;
                    (self.time, has_time) = (time_of(&Value::Number(value), kind).ok()?, true);
                    end
                }
                Role::Number => decimal::number(bytes, at)?.1,
                Role::Text => plain::text(bytes, at)?,
                Role::Together => {
                    let said = if expected.form == self.form { expected.said } else { &[] };
                    self.together.as_mut()?.read(bytes, at, said, &mut self.texts)?
                }
                Role::Entity => {
                    let end = plain::text(bytes, at)?;
                    self.texts[0] = at..end;
                    end
                }
                Role::Label(place) => {
                    let end = plain::text(bytes, at)?;
                    self.texts[place + 1] = at..end;
                    end
                }
            };
            at = end;
        }
        let rest = bytes.get(at..).filter(|rest| rest.len() == self.end.len())?;
        (has_time && plain::is_same(rest, &self.end) && self.is_within(limits)).then_some(())
    }

    /// Whether the texts of the entity are as long as they may be: what was said before is.
    fn is_within(&self, limits: &Limits) -> bool {
        let (name, labels) = (&self.texts[0], &self.texts[1..]);
        self.together.as_ref().is_some_and(Together::is_expected)
            || (1..=limits.name_bytes_max).contains(&name.len()) && labels.iter().all(|label| label.len() <= limits.label_bytes_max)
    }

    /// Where the texts of the entity stand in the record that was read last.
    pub(super) fn locate(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut texts = self.texts.clone();
        if let Some(together) = &self.together {
            together.locate(bytes, together.span().start, &mut texts);
        }
        texts
    }

    /// The place of its kind.
    pub fn kind(&self) -> usize {
        self.kind
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
        let mut fits = |text: &str| {
            template.fill(text.as_bytes(), &Limits::default(), Kinds::default().iter().next().unwrap(), Expected::default()).is_some()
        };
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
    fn an_entity_is_known_by_its_name_and_labels_wherever_they_stand() {
        let (limits, kinds) = (Limits::default(), Kinds::default());
        let apart = RECORD.replace(r#","rack_id":"A""#, "").replace(":7}", r#":7,"rack_id":"A"}"#);
        let turned = RECORD.replace(r#""server_id":"srv-001","rack_id":"A""#, r#""rack_id":"A","server_id":"srv-001""#);
        for (record, is_together) in [(RECORD, true), (&turned, true), (&apart, false)] {
            let mut template = learned(record).unwrap();
            assert_eq!(template.together.is_some(), is_together, "{record}");
            // Whether another record is of the same entity as the one before it.
            let mut said = Vec::new();
            let mut is_same = |record: &str| {
                template.fill(record.as_bytes(), &limits, kinds.iter().next().unwrap(), Expected { form: 1, said: &said }).unwrap();
                let filled = Filled::new(&mut template, record.as_bytes());
                let is_same = filled.is_of(&said);
                said = filled.entity();
                assert!(filled.is_of(&said));
                is_same
            };
            assert!(!is_same(record));
            assert!(is_same(&record.replace("85.2", "9").replace("12:34", "12:35").replace(":7", ":8")));
            for (from, to) in [("srv-001", "srv-002"), ("srv-001", "srv-0011"), ("\"A\"", "\"B\""), ("\"A\"", "\"\"")] {
                assert!(!is_same(&record.replace(from, to)) && !is_same(record), "{to}");
            }
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
