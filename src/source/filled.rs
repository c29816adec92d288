//! A record that a template fits, as far as nearly all of them are looked at.

use super::decode::Decoded;
use super::plain;
use super::template::Template;
use super::together::Together;
use dataflows::Time;
use std::borrow::Cow;

/// Stands behind each text of an entity, where they stand apart: no byte of ASCII.
pub(super) const END: u8 = 0xff;

/// A record that a template fits: texts are still bytes, of ASCII.
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
        self.template.form()
    }

    /// When it was measured.
    pub fn time(&self) -> Time {
        self.template.time
    }

    /// The entity's name.
    pub fn entity_id(&self) -> &'a [u8] {
        &self.bytes[self.template.locate(self.bytes)[0].clone()]
    }

    /// Whether it says of its entity what was expected.
    pub fn is_expected(&self) -> bool {
        self.template.together.as_ref().is_some_and(Together::is_expected)
    }

    /// What the record says of its entity, its name and the values of its labels, in a way that depends on its form alone: as it stands there, where it
    /// stands together; else one after the other, each with [`END`].
    pub fn entity(&self) -> Vec<u8> {
        if let Some(together) = self.together() {
            return together.to_vec();
        }
        let mut entity = Vec::new();
        for text in &self.template.texts {
            entity.extend_from_slice(&self.bytes[text.clone()]);
            entity.push(END);
        }
        entity
    }

    /// Whether this is what [`Filled::entity`] would say.
    #[inline]
    pub fn is_of(&self, entity: &[u8]) -> bool {
        if let Some(together) = self.together() {
            return together.len() == entity.len() && plain::is_same(together, entity);
        }
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

    /// The texts of the entity and all between them, which is the same in each record of the form.
    fn together(&self) -> Option<&'a [u8]> {
        self.bytes.get(self.template.together.as_ref()?.span())
    }

    /// The values of the metrics in the record's order.
    pub fn values(&self) -> &[f64] {
        &self.template.values
    }

    /// All of it.
    pub fn decoded(self) -> Decoded<'a> {
        let Self { template, bytes } = self;
        let texts = template.locate(bytes);
        for (label, place) in template.labels.iter_mut().zip(&texts[1..]) {
            hold(&mut label.1, &bytes[place.clone()]);
        }
        template.take_values();
        let template: &'a Template = template;
        Decoded {
            kind: template.kind,
            entity_id: String::from_utf8_lossy(&bytes[texts[0].clone()]),
            time: template.time,
            labels: Cow::Borrowed(&template.labels),
            metrics: Cow::Borrowed(template.metrics()),
            form: Some(template.form()),
        }
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
