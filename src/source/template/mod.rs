//! How one producer writes its records, learned from one of them: the same keys in the same order with the same spacing, and only values that differ.

mod learn;

use super::decode::time_of;
use super::fields::Value;
use super::filled::END;
use super::plain::{self, Minute};
use super::together::{Expected, Together};
use crate::decimal::{self, Shape};
use crate::kind::Kind;
use crate::limits::Limits;
use dataflows::Time;
use dataflows::identity::HashedMap;
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
    /// A text that stands before the names of metrics.
    Prefix(usize),
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

/// What the metrics of a record are called by the texts that stand before their names.
#[derive(Clone, Debug)]
struct Variant {
    form: u64,
    texts: Vec<Vec<u8>>,
    /// With their values in the record that was last asked for as a whole.
    metrics: Vec<(Cow<'static, str>, f64)>,
}

/// How one producer writes its records, and the values of the one that was read last.
#[derive(Clone, Debug)]
pub struct Template {
    pub(super) kind: usize,
    pieces: Vec<Piece>,
    end: Vec<u8>,
    pub(super) labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// Where the entity and, behind it, the values of the labels stand in the record that was read last.
    pub(super) texts: Vec<Range<usize>>,
    /// All of them, where no other value stands between them.
    pub(super) together: Option<Together>,
    /// The names of the metrics, with nothing before them.
    names: Vec<String>,
    variants: Vec<Variant>,
    /// The places of the variants, by their texts, each with [`END`].
    by_texts: HashedMap<Vec<u8>, usize>,
    /// Room for the texts of a record.
    key: Vec<u8>,
    /// That of the record that was read last.
    pub(super) variant: usize,
    /// Where the texts before the names stand in it.
    prefixes: Vec<Range<usize>>,
    /// The values of the metrics in the record that was read last.
    pub(super) values: Vec<f64>,
    minute: Minute,
    /// When the record that was read last was measured.
    pub(super) time: Time,
}

impl Template {
    /// A number that no other list of metrics has.
    pub(super) fn form(&self) -> u64 {
        self.variants.get(self.variant).map_or(0, |variant| variant.form)
    }

    /// Puts the values of the record that was read last beside the names of its metrics.
    pub(super) fn take_values(&mut self) {
        let metrics = self.variants.get_mut(self.variant).into_iter().flat_map(|variant| &mut variant.metrics);
        metrics.zip(&self.values).for_each(|(metric, value)| metric.1 = *value);
    }

    /// The names of the metrics, and the values that were put there last.
    pub(super) fn metrics(&self) -> &[(Cow<'static, str>, f64)] {
        self.variants.get(self.variant).map_or(&[], |variant| &variant.metrics)
    }

    /// Reads a record that is written like the one this was learned from; `None` where it is not, or holds what is not plain. It is expected to be of a variant;
    /// false: it is written alike, but it is not known what its metrics are called.
    pub fn fill(&mut self, bytes: &[u8], limits: &Limits, kind: &Kind, expected: Expected<'_>, variant: usize) -> Option<bool> {
        let mut at = 0;
        let mut has_time = false;
        let guessed = self.variants.get(variant);
        let mut is_guessed = guessed.is_some();
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
                    let said = if guessed.is_some_and(|guessed| guessed.form == expected.form) { expected.said } else { &[] };
                    self.together.as_mut()?.read(bytes, at, said, &mut self.texts)?
                }
                Role::Prefix(place) => {
                    let text = guessed.and_then(|guessed| guessed.texts.get(place)).map_or(&[][..], Vec::as_slice);
                    let end = at + text.len();
                    let is_same =
                        is_guessed && bytes.get(at..end).is_some_and(|same| plain::is_same(same, text)) && bytes.get(end) == Some(&b'"');
                    is_guessed &= is_same;
                    let end = if is_same { end } else { plain::text(bytes, at)? };
                    self.prefixes[place] = at..end;
                    end
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
        if !has_time || !plain::is_same(rest, &self.end) {
            return None;
        }
        if is_guessed {
            self.variant = variant;
        } else {
            let found = self.find(bytes);
            // What was expected of its entity was said with other metrics.
            self.together.as_mut().map_or(Some(()), |together| together.expect_nothing(bytes, &mut self.texts))?;
            let Some(found) = found else { return self.is_within(limits).then_some(false) };
            self.variant = found;
        }
        self.is_within(limits).then_some(true)
    }

    /// The variant of the record that is being read, by the texts before the names.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        self.key.clear();
        for text in &self.prefixes {
            self.key.extend_from_slice(&bytes[text.clone()]);
            self.key.push(END);
        }
        self.by_texts.get(&self.key).copied()
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

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::super::filled::Filled;
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
            template.fill(text.as_bytes(), &Limits::default(), Kinds::default().iter().next().unwrap(), Expected::default(), 0)
                == Some(true)
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
                assert_eq!(
                    template.fill(record.as_bytes(), &limits, kinds.iter().next().unwrap(), Expected { form: 1, said: &said }, 0),
                    Some(true)
                );
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
