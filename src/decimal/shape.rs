//! How a number was written: the next one in its place most often is written alike.

use super::{HIGH, POWERS, Written, divided, eight, is_no_digit, of_eight, written};

/// How the last number in its place was written, if by at most seven bytes and without a sign, and what stood behind it. The next one most often is written
/// alike, and then where everything stands need not be found out: the processor reads on behind the number before it has looked at it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The highest bits of the bytes that are digits.
    within: u64,
    /// The bytes of the point, where there is one, and of what stands behind the number, and what they must be where digits are their values.
    others: (u64, u64),
    /// The digits before the point, and those behind it once they are moved up to the others.
    digits: (u64, u64),
    /// Moves the last digit to the last of eight places.
    shift: u32,
    /// What the first digit must be at least: one where others follow it before the point.
    least: u64,
    power: f64,
    bytes: usize,
}

impl Default for Shape {
    /// That of no number: there is none in which no byte is any.
    fn default() -> Self {
        Self { within: 0, others: (0, 1), digits: (0, 0), shift: 0, least: 0, power: 1.0, bytes: 0 }
    }
}

impl Shape {
    /// The same as [`super::number`].
    #[inline(always)]
    pub fn number(&mut self, bytes: &[u8], at: usize) -> Option<(f64, usize)> {
        if let Some(word) = word(bytes, at) {
            let word = word ^ eight(b'0');
            // Only from a first digit that is too small anything is borrowed.
            let is_none = is_no_digit(word) | word.wrapping_sub(self.least);
            if is_none & self.within | word & self.others.0 ^ self.others.1 == 0 {
                let digits = (word & self.digits.0 | (word >> 8) & self.digits.1) << self.shift;
                return Some((divided(of_eight(digits), self.power), at + self.bytes));
            }
        }
        self.learn(bytes, at)
    }

    #[cold]
    fn learn(&mut self, bytes: &[u8], at: usize) -> Option<(f64, usize)> {
        let Written { value, end, fraction } = written(bytes, at)?;
        let length = end - at;
        // What stands behind it is no digit, and no point where there was none: it would be more of the number.
        if let Some(behind) = bytes.get(end).filter(|_| length < 8 && bytes[at] != b'-') {
            let whole = length - fraction - usize::from(fraction > 0);
            let first = |bytes: usize| (1_u64 << (8 * bytes)) - 1;
            let byte = |byte: u8, place: usize| u64::from(byte) << (8 * place);
            let point = |of: u8| if fraction > 0 { byte(of, whole) } else { 0 };
            let (before, after) = (first(whole), first(whole + fraction) & !first(whole));
            *self = Self {
                within: HIGH & (before | after << 8),
                others: (point(u8::MAX) | byte(u8::MAX, length), point(b'.' ^ b'0') | byte(behind ^ b'0', length)),
                digits: (before, after),
                #[allow(clippy::cast_possible_truncation)] // at most 56
                shift: 64 - 8 * (whole + fraction) as u32,
                least: u64::from(whole > 1),
                power: POWERS[fraction],
                bytes: length,
            };
        }
        Some((value, end))
    }
}

/// The eight bytes from `at` on, the first one lowest; zeros where there are no more of them. `None` where there are less than eight in all, or none left.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    if let Some(chunk) = bytes.get(at..)?.first_chunk() {
        return Some(u64::from_le_bytes(*chunk));
    }
    let absent = 8 - (bytes.len() - at);
    // None of them is one too many for a shift by 64.
    bytes.last_chunk().filter(|_| absent < 8).map(|chunk| u64::from_le_bytes(*chunk) >> (8 * absent))
}

#[cfg(test)]
mod tests {
    use super::super::number;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_the_same_whatever_the_one_before_it_looked_like(numbers in prop::collection::vec("-?[0-9]{1,5}(\\.[0-9]{0,4})?[,}e5x]{0,2}", 1..20)) {
            let mut shape = Shape::default();
            for text in numbers {
                for padded in [text.clone(), format!("{text}        ")] {
                    let (one, other) = (shape.number(padded.as_bytes(), 0), number(padded.as_bytes(), 0));
                    prop_assert_eq!(one.map(|(value, end)| (value.to_bits(), end)), other.map(|(value, end)| (value.to_bits(), end)), "{}", padded);
                }
            }
        }
    }
}
