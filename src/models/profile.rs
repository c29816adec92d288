//! The numbers of a model's profile, read apart from its document: they are nearly all of it, and a start reads one of each series.
//!
//! **Invariant.** A document and its numbers together say what serde_json reads in the whole. What is not written as [`super::document`] writes it is left
//! to serde_json.

use crate::decimal::Shape;
use memchr::memmem;

/// What the lists are called together, and what stands before them.
const NAME: &str = r#""seasonal""#;
const BEFORE: &str = r#","seasonal":{"#;

/// What stands before the numbers of each.
const LISTS: [&str; 3] = [r#""daily":["#, r#""weekday":["#, r#""weekend":["#];

/// A number of more digits than are plain is written by at most so many bytes.
const NUMBER_BYTES_MAX: usize = 30;

/// A document whose lists are empty, and their numbers, by the place of each in [`LISTS`].
pub(super) struct Parted {
    pub(super) document: String,
    pub(super) lists: [Option<Vec<f64>>; 3],
}

/// Parts a document; `None` where its lists are not written plainly, or not to be told from others.
pub(super) fn part(text: &str) -> Option<Parted> {
    let bytes = text.as_bytes();
    if memchr::memchr(b'\\', bytes).is_some() {
        // A name may be written with escapes, and be the same.
        return None;
    }
    let name = memmem::find(bytes, NAME.as_bytes())?;
    let before = name.checked_sub(1).filter(|before| bytes[*before..].starts_with(BEFORE.as_bytes()))?;
    let mut at = before + BEFORE.len();
    let mut parted = Parted { document: text[..at].to_owned(), lists: Default::default() };
    loop {
        let place = LISTS.iter().position(|list| bytes[at..].starts_with(list.as_bytes()))?;
        let (numbers, end) = numbers(bytes, at + LISTS[place].len())?;
        parted.lists[place] = Some(numbers);
        parted.document.extend([LISTS[place], "]"]);
        at = end + 1;
        if bytes.get(at) != Some(&b',') {
            break;
        }
        parted.document.push(',');
        at += 1;
    }
    parted.document.push_str(&text[at..]);
    // What a document says of its own, such as a parameter, may have the same name.
    memmem::find(&bytes[at..], NAME.as_bytes()).is_none().then_some(parted)
}

/// The numbers of a list that begins at `at`, one at least, and where its bracket is.
fn numbers(bytes: &[u8], mut at: usize) -> Option<(Vec<f64>, usize)> {
    let length = memchr::memchr(b']', bytes.get(at..)?)?;
    let mut numbers = Vec::with_capacity(1 + memchr::memchr_iter(b',', &bytes[at..at + length]).count());
    let mut shape = Shape::default();
    loop {
        let is_over = |end: usize| matches!(bytes.get(end), Some(b',' | b']'));
        let (number, end) = shape.number(bytes, at).filter(|(_, end)| is_over(*end)).or_else(|| long_number(bytes, at))?;
        numbers.push(number);
        match bytes.get(end)? {
            b',' => at = end + 1,
            b']' => return Some((numbers, end)),
            _ => return None,
        }
    }
}

/// A number of more digits, or with a negative exponent, and where it ends.
fn long_number(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    let rest = bytes.get(at..)?;
    let length = rest.iter().take(NUMBER_BYTES_MAX).position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'.' | b'e'))?;
    let text = std::str::from_utf8(&rest[..length]).ok()?;
    // The standard library reads more than JSON has.
    let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = text.split_once("e-").unwrap_or((text, "0"));
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_json = [whole, fraction, exponent].into_iter().all(is_digits) && (whole == "0" || !whole.starts_with('0'));
    Some((text.parse().ok().filter(|_| is_json)?, at + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// What serde_json reads in the whole, and what it reads in the parts, to the last bit.
    fn both(text: &str) -> (String, Option<String>) {
        let parted = part(text).map(|Parted { document, lists }| {
            let mut value: Value = serde_json::from_str(&document).unwrap();
            for (key, list) in ["daily", "weekday", "weekend"].iter().zip(lists) {
                list.into_iter().for_each(|list| value["seasonal"][*key] = list.into());
            }
            value.to_string()
        });
        (serde_json::from_str::<Value>(text).unwrap().to_string(), parted)
    }

    proptest! {
        #[test]
        fn the_parts_say_what_the_whole_says(
            lists in prop::collection::vec(prop::collection::vec(prop_oneof![-1e3..1e3f64, proptest::num::f64::NORMAL, (-9999..9999i32).prop_map(|n| f64::from(n) / 100.0)], 1..9), 1..3),
        ) {
            let keys = if lists.len() == 1 { &["daily"][..] } else { &["weekday", "weekend"] };
            let seasonal: serde_json::Map<String, Value> = keys.iter().zip(&lists).map(|(key, list)| ((*key).into(), list.clone().into())).collect();
            let text = format!(r#"{{"level":1.5,"seasonal":{},"calendar":null}}"#, Value::from(seasonal));
            let (whole, parts) = both(&text);
            let is_plain = lists.iter().flatten().all(|number| number.abs() < 1e15);
            prop_assert!(parts.is_some() || !is_plain, "{}", text);
            prop_assert!(parts.is_none_or(|parts| parts == whole), "{}", text);
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_serde_json() {
        let document = |list: &str| format!(r#"{{"level":1,"seasonal":{{"daily":[{list}]}}}}"#);
        assert!(part(&document("1.5,-0,17.123456789012345")).is_some_and(|parted| parted.document == document("")));
        let odd = "1,|1,,2|01.2345678901234567|1.|.5|+1|1e5|1e+5|1e-|e-5|1.e-5|1e-5.0|1 |NaN|null|1,[2]|\"1\"|1.2.3|1-2|--1.0";
        for list in odd.split('|').chain([""]) {
            assert!(part(&document(list)).is_none(), "{list}");
        }
        assert!(part(&document("1.5e-7,-3e-17")).is_some());
        // Two of the name, in whichever spacing, or with escapes.
        for (one, other) in [("", ""), (" ", ""), ("", " ")] {
            let twice = format!(r#"{{"parameters":{{"a":1,"seasonal":{one}{{"daily":[1]}}}},"seasonal":{other}{{"daily":[]}}}}"#);
            assert!(part(&twice).is_none(), "{twice}");
        }
        let escaped = r#"{"parameters":{"a":1,"seasonal":{"daily":[1]}},"s\u0065asonal":{"daily":[]}}"#;
        assert!(part(escaped).is_none());
    }
}
