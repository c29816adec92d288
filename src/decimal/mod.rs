//! Decimal numbers of at most fifteen digits, as nearly all are written.
//!
//! Each function reads one where it begins and says where it ends, or `None` for whatever is not that plain: somebody else reads it then.

mod shape;

pub(crate) use shape::Shape;

/// A mantissa of so many digits is a whole double, and so is the power of ten that it is divided by: the quotient is rounded once, as it should be
/// (Clinger, How to read floating point numbers accurately, 1990).
const DIGITS_MAX: usize = 15;

const POWERS: [f64; DIGITS_MAX + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The powers of ten that so many of eight digits are worth.
const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// A byte in each of the eight of a word.
pub(crate) const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The highest bit of each byte.
pub(crate) const HIGH: u64 = eight(0x80);

/// The number that begins at `at`, exactly as any JSON parser that rounds correctly reads it, and where it ends. What follows may belong to it still, such
/// as an exponent: whoever asks must expect something else there.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    written(bytes, at).map(|written| (written.value, written.end))
}

/// A number, and how it is written.
struct Written {
    value: f64,
    end: usize,
    /// Digits behind the point.
    fraction: usize,
}

/// The same, and how it is written.
fn written(bytes: &[u8], at: usize) -> Option<Written> {
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let (mantissa, fraction, end) = mantissa(bytes, first)?;
    let magnitude = divided(mantissa, POWERS[fraction]);
    // A minus makes -0.0 of a zero with a point, and of one without.
    Some(Written { value: if negative { -magnitude } else { magnitude }, end, fraction })
}

/// Fifteen digits have less than 53 bits; and what has a sign is converted by one instruction.
#[allow(clippy::cast_precision_loss)]
fn divided(mantissa: u64, power: f64) -> f64 {
    mantissa.cast_signed() as f64 / power
}

/// The digits of a number without its point, how many of them are behind it, and where it ends.
fn mantissa(bytes: &[u8], at: usize) -> Option<(u64, usize, usize)> {
    let (whole, point) = digits(bytes, at, 0)?;
    if bytes[at] == b'0' && point > at + 1 {
        return None;
    }
    let (mantissa, fraction, end) = if bytes.get(point) == Some(&b'.') {
        let (mantissa, end) = digits(bytes, point + 1, whole)?;
        (mantissa, end - point - 1, end)
    } else {
        (whole, 0, point)
    };
    (end - at <= DIGITS_MAX + usize::from(fraction > 0)).then_some((mantissa, fraction, end))
}

/// The digits that begin at `at`, at least one and not many more than are of use, behind those of `before`.
pub(crate) fn digits(bytes: &[u8], at: usize, before: u64) -> Option<(u64, usize)> {
    let (mut value, mut end) = (before, at);
    while let Some(chunk) = bytes.get(end..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk) ^ eight(b'0');
        let count = (is_no_digit(word) & HIGH).trailing_zeros() / 8;
        if count > 0 {
            value = value.wrapping_mul(TENS[count as usize]).wrapping_add(of_eight(word << (64 - 8 * count)));
            end += count as usize;
        }
        if count < 8 || end - at > DIGITS_MAX {
            return (end > at && end - at <= DIGITS_MAX).then_some((value, end));
        }
    }
    while let Some(digit) = bytes.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (end > at && end - at <= DIGITS_MAX).then_some((value, end))
}

/// By the highest bit of each byte whether it is no digit, up to the first that is not ASCII, where digits are their values.
fn is_no_digit(word: u64) -> u64 {
    word.wrapping_add(eight(0x80 - 10)) | word
}

/// The number that eight digits come to, the first one lowest.
fn of_eight(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(1 + (10 << 8)) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(1 + (100 << 16)) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(1 + (10_000 << 32)) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        for odd in ["", "-", "01", "-01", ".5", "1.", "1.x", "+1", "NaN", "1234567890123456", "0.1234567890123456", "123456789.12345678"] {
            assert_eq!(number(odd.as_bytes(), 0), None, "{odd}");
        }
        assert_eq!(number(b"x-12.50e3", 1), Some((-12.5, 7)), "and the exponent is not expected there");
        assert!(number(b"-0", 0).is_some_and(|(zero, _)| zero.to_bits() == (-0.0f64).to_bits()));
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_the_standard_library_reads_it(whole in 0u64..10_000_000_000, fraction in "[0-9]{0,9}", sign in "-?") {
            let written = if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
            if let Some((value, end)) = number(written.as_bytes(), 0) {
                prop_assert_eq!(end, written.len());
                prop_assert_eq!(value.to_bits(), written.parse::<f64>().unwrap().to_bits());
            } else {
                prop_assert!(written.bytes().filter(u8::is_ascii_digit).count() > DIGITS_MAX, "{}", written);
            }
        }
    }
}
