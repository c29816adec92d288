//! What a template learns from a record that was decoded: where its values stand, what each of them is, and what its metrics are called.

use super::super::decode::Decoded;
use super::super::filled::Filled;
use super::super::plain::{self, Minute};
use super::super::together::{Expected, Together};
use super::{Piece, Role, Template, Variant};
use crate::decimal::{self, Shape};
use crate::kind::Kind;
use crate::limits::Limits;
use dataflows::identity::HashedMap;
use std::borrow::Cow;
use std::ops::Range;

/// Longer records are decoded the long way each time: a template is as long as what it was learned from, and there are many.
const LEARNED_BYTES_MAX: usize = 16 << 10;

impl Template {
    /// Learns from a record that was decoded; `None` where it holds what a template does not understand: escapes, arrays, an entity or a label that
    /// is a number. `form` is a number of its own.
    pub fn learn(bytes: &[u8], decoded: &Decoded<'_>, kind: &Kind, limits: &Limits, form: u64) -> Option<Self> {
        if bytes.len() > LEARNED_BYTES_MAX {
            return None;
        }
        let mut template = Self {
            kind: decoded.kind,
            pieces: Vec::new(),
            end: Vec::new(),
            labels: Vec::new(),
            texts: vec![Range::default()],
            together: None,
            names: Vec::new(),
            variants: Vec::new(),
            by_texts: HashedMap::default(),
            key: Vec::new(),
            variant: 0,
            prefixes: Vec::new(),
            values: Vec::new(),
            minute: Minute::default(),
            time: 0,
        };
        let mut literal = 0;
        template.object(bytes, behind(bytes, 0, b'{')?, None, (kind, limits), &mut literal)?;
        template.end = bytes[literal..].to_vec();
        template.values = vec![0.0; template.names.len()];
        template.put_together();
        // Written alike, and by no variant yet.
        (template.fill(bytes, limits, kind, Expected::default(), 0) == Some(false) && template.extend(bytes, decoded, form))
            .then_some(template)
    }

    /// Learns what the metrics are called in a record that was decoded, and that this was filled with last; whether it says the same of it then.
    pub fn extend(&mut self, bytes: &[u8], decoded: &Decoded<'_>, form: u64) -> bool {
        let before = match (self.names.first(), decoded.metrics.first()) {
            (Some(own), Some((named, _))) => named.strip_suffix(&**own),
            _ => None,
        };
        let Some(before) = before else { return false };
        let metrics = self.names.iter().map(|name| (format!("{before}{name}").into(), 0.0)).collect();
        let texts: Vec<Vec<u8>> = self.prefixes.iter().map(|text| bytes[text.clone()].to_vec()).collect();
        self.variant = self.variants.len();
        self.by_texts.insert(self.key.clone(), self.variant);
        self.variants.push(Variant { form, texts, metrics });
        let filled = Filled::new(self, bytes).decoded();
        let is_same = *filled.metrics == *decoded.metrics && *filled.labels == *decoded.labels;
        let is_same = is_same && filled.entity_id == decoded.entity_id && filled.time == decoded.time;
        if !is_same {
            self.variants.pop();
            self.by_texts.remove(&self.key);
            self.variant = 0;
        }
        is_same
    }

    /// Learns what is in an object from behind its brace on, to which one comes by `way`; the place behind its end. What stands before the next value begins at
    /// `literal`.
    fn object(
        &mut self,
        bytes: &[u8],
        at: usize,
        way: Option<&str>,
        (kind, limits): (&Kind, &Limits),
        literal: &mut usize,
    ) -> Option<usize> {
        // What is longer is no name of anything, and would be copied for all that is inside.
        if way.is_some_and(|way| way.len() > limits.name_bytes_max) {
            return None;
        }
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
                self.object(bytes, value + 1, Some(&name), (kind, limits), literal)?
            } else {
                let (role, value, end) = self.role(bytes, value, &name, way.is_some(), kind)?;
                if let Some(role) = role {
                    (self.pieces.len() < limits.fields_max).then_some(())?;
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
        let is_prefix = kind.prefix.iter().any(|field| field == name);
        let is_constant = name == "type" || is_prefix;
        let role = match bytes.get(at)? {
            _ if is_constant && has_role => return None,
            b'"' if name == "type" => None,
            b'"' if is_prefix => {
                self.prefixes.push(0..0);
                Some(Role::Prefix(self.prefixes.len() - 1))
            }
            b'"' if name == kind.entity => Some(Role::Entity),
            b'"' if name == kind.time => Some(Role::Instant),
            b'"' if is_label => {
                self.labels.push((name.to_owned().into(), Cow::default()));
                self.texts.push(0..0);
                Some(Role::Label(self.labels.len() - 1))
            }
            // A number in a text, unless what was learned says otherwise.
            b'"' if kind.names_metric(name) => Some(self.metric(kind.called(name))),
            b'"' => Some(Role::Text),
            b'-' | b'0'..=b'9' if is_constant => None,
            b'-' | b'0'..=b'9' if name == kind.time && name != kind.entity => Some(Role::TimeNumber),
            b'-' | b'0'..=b'9' if has_role => return None,
            b'-' | b'0'..=b'9' if kind.is_metric(name, is_inside) => Some(self.metric(kind.called(name))),
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
        self.names.push(name.to_owned());
        Role::Metric(self.names.len() - 1)
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
