//! One JSON object as a flat list of fields: what is nested is looked through and left out, however deep it is.

use crate::limits::Limits;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The fields of an object in their order, duplicates included; one more than is allowed at most.
pub type Fields<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// Reads a JSON object.
///
/// # Errors
/// The parser's word on what is no JSON object.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> serde_json::Result<Fields<'a>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let fields = Object(limits).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(fields)
}

/// A field's value, as far as it can matter.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    /// Any number, as a double.
    Number(f64),
    /// A text, borrowed where it holds no escapes.
    Text(Cow<'a, str>),
    /// What is neither.
    Other,
    /// Nested deeper than is allowed.
    Deep,
}

/// Reads an object as its fields in their order, duplicates included.
struct Object<'l>(&'l Limits);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Fields<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Fields<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::with_capacity(16);
        // The object itself is the first level.
        let below = Any { room: self.0.depth_max.saturating_sub(1) };
        // One more than is allowed is enough to know; the rest of a flood is skipped.
        while let Some(name) = map.next_key_seed(below)? {
            if fields.len() > self.0.fields_max {
                map.next_value::<IgnoredAny>()?;
            } else if let Value::Text(name) = name {
                fields.push((name, map.next_value_seed(below)?));
            }
        }
        Ok(fields)
    }
}

/// Reads any value, with room for so many levels below.
#[derive(Clone, Copy)]
struct Any {
    room: usize,
}

impl Any {
    /// What a nested value comes to, given what those in it came to.
    fn nested(deep: bool) -> Value<'static> {
        if deep { Value::Deep } else { Value::Other }
    }
}

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Value<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

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
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let Some(room) = self.room.checked_sub(1) else {
            // Skipped without recursion, however deep it goes.
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Deep);
        };
        let mut deep = false;
        while let Some(value) = items.next_element_seed(Self { room })? {
            deep |= value == Value::Deep;
        }
        Ok(Self::nested(deep))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let Some(room) = self.room.checked_sub(1) else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Deep);
        };
        let mut deep = false;
        while map.next_key::<IgnoredAny>()?.is_some() {
            deep |= map.next_value_seed(Self { room })? == Value::Deep;
        }
        Ok(Self::nested(deep))
    }
}
