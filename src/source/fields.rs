//! One JSON object as a flat list of fields. What stands in an object inside of it is named by the way there, `tags.host`, and is a field where a kind
//! names it; all else that is nested is looked through and left out, however deep it is.

use crate::kind::Ways;
use crate::limits::Limits;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// One of them.
#[derive(Debug, PartialEq)]
pub struct Field<'a> {
    /// What it is called.
    pub name: Cow<'a, str>,
    /// What it says.
    pub value: Value<'a>,
    /// Whether it stands inside of an object of the record.
    pub is_inside: bool,
}

/// The fields of an object in their order, duplicates included; of those outside and of those inside each one more than is allowed at most.
pub type Fields<'a> = Vec<Field<'a>>;

/// Reads a JSON object, and what is inside of its objects where `ways` lead there.
///
/// # Errors
/// The parser's word on what is no JSON object.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits, ways: &Ways) -> serde_json::Result<Fields<'a>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut fields = Vec::with_capacity(16);
    Record(Inside { way: None, fields: &mut fields, limits, ways }).deserialize(&mut deserializer)?;
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

/// Where the fields of an object go.
struct Inside<'f, 'de> {
    /// How one comes to it; `None`: it is the record itself.
    way: Option<&'f str>,
    fields: &'f mut Fields<'de>,
    limits: &'f Limits,
    ways: &'f Ways,
}

/// Reads an object as its fields in their order, duplicates included.
struct Record<'f, 'de>(Inside<'f, 'de>);

impl<'de> DeserializeSeed<'de> for Record<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        // The object itself is the first level.
        let room = self.0.limits.depth_max.saturating_sub(1);
        collect(map, self.0, room).map(|_| ())
    }
}

/// Adds the fields of an object; whether anything in it is nested deeper than there is `room`. One field more than is allowed is enough to know; the rest
/// of a flood is skipped.
fn collect<'de, A: MapAccess<'de>>(mut map: A, inside: Inside<'_, 'de>, room: usize) -> Result<bool, A::Error> {
    let Inside { way, fields, limits, ways } = inside;
    let mut deep = false;
    // Those of the same sort: what is inside may mean nothing to the kind of the record, which is not known yet.
    let is_inside = way.is_some();
    let mut count = fields.iter().filter(|field| field.is_inside == is_inside).count();
    while let Some(name) = map.next_key_seed(Any { room, inside: None })? {
        let Value::Text(name) = name else { continue };
        if count > limits.fields_max {
            map.next_value::<IgnoredAny>()?;
            continue;
        }
        let name = match way {
            Some(way) => Cow::Owned(format!("{way}.{name}")),
            None => name,
        };
        let place = fields.len();
        let inside =
            ways.lead_inside(&name, limits.name_bytes_max).then(|| Inside { way: Some(&name), fields: &mut *fields, limits, ways });
        let value = map.next_value_seed(Any { room, inside })?;
        deep |= value == Value::Deep;
        if !is_inside || ways.name(&name) {
            // Before those inside of it.
            fields.insert(place, Field { name, value, is_inside });
            count += 1;
        }
    }
    Ok(deep)
}

/// Reads any value, with room for so many levels below.
struct Any<'f, 'de> {
    room: usize,
    inside: Option<Inside<'f, 'de>>,
}

/// What a nested value comes to, given what those in it came to.
fn nested(deep: bool) -> Value<'static> {
    if deep { Value::Deep } else { Value::Other }
}

impl<'de> DeserializeSeed<'de> for Any<'_, 'de> {
    type Value = Value<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[allow(clippy::cast_precision_loss)] // a metric is a double
impl<'de> Visitor<'de> for Any<'_, 'de> {
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
        while let Some(value) = items.next_element_seed(Any { room, inside: None })? {
            deep |= value == Value::Deep;
        }
        Ok(nested(deep))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let Some(room) = self.room.checked_sub(1) else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Deep);
        };
        if let Some(inside) = self.inside {
            return collect(map, inside, room).map(nested);
        }
        let mut deep = false;
        while map.next_key::<IgnoredAny>()?.is_some() {
            deep |= map.next_value_seed(Any { room, inside: None })? == Value::Deep;
        }
        Ok(nested(deep))
    }
}
