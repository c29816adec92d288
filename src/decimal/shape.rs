//! How a number was written: the next one in its place most often is written alike.

use super::{HIGH, POWERS, Written, divided, eight, is_no_digit, of_eight, written};

/// A point, where digits are their values.
const POINT: u64 = (b'.' ^ b'0') as u64;

/// How the last number in its place was written, if by at most seven bytes and without a sign. The next one most often is written alike, and then where
/// everything stands need not be found out: the processor reads on behind the number before it has looked at it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The highest bits of the bytes up to the one behind the number, and of those among them that are no digits.
    within: u64,
    others: u64,
    /// The byte of the point, where there is one, and what it must be once digits are values.
    point: (u64, u64),
    /// The digits before the point, and those behind it once they are moved up to the others.
    digits: (u64, u64),
    /// Moves the last digit to the last of eight places.
    shift: u32,
    /// The byte behind the number, and what it must not be: a point, unless one was before.
    behind: (u64, u64),
    /// Zero, if the first digit must not be.
    zero: u64,
    power: f64,
    bytes: usize,
}

impl Default for Shape {
    /// That of no number: there is none in which no byte is any.
    fn default() -> Self {
        Self { within: 0, others: HIGH, point: (0, 0), digits: (0, 0), shift: 0, behind: (0, 1), zero: 0, power: 1.0, bytes: 0 }
    }
}

impl Shape {
    /// The same as [`super::number`].
    #[inline(always)]
    pub fn number(&mut self, bytes: &[u8], at: usize) -> Option<(f64, usize)> {
        if let Some(word) = word(bytes, at) {
            let word = word ^ eight(b'0');
            let differences = is_no_digit(word) & self.within ^ self.others | word & self.point.0 ^ self.point.1;
            if differences == 0 && word & self.behind.0 != self.behind.1 && word & 0xff | self.zero != 0 {
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
        if length < 8 && bytes[at] != b'-' {
            let whole = length - fraction - usize::from(fraction > 0);
            let first = |bytes: usize| (1_u64 << (8 * bytes)) - 1;
            let byte = |place: usize| 0xff << (8 * place);
            let point = if fraction > 0 { byte(whole) } else { 0 };
            *self = Self {
                within: HIGH & (first(length) | byte(length)),
                others: HIGH & (point | byte(length)),
                point: (point, point & eight(b'.' ^ b'0')),
                behind: if fraction > 0 { (0, 1) } else { (byte(length), POINT << (8 * length)) },
                digits: (first(whole), first(whole + fraction) & !first(whole)),
                #[allow(clippy::cast_possible_truncation)] // at most 56
                shift: 64 - 8 * (whole + fraction) as u32,
                zero: u64::from(whole == 1),
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
