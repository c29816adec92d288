//! Texts and instants in their plainest form: without escapes, and in UTC.
//!
//! Each function reads one value where it begins and says where it ends, or `None` for whatever is not that plain: somebody else reads it then.

use crate::decimal::{HIGH, digits, eight};
use crate::instant;
use dataflows::Time;

/// The length of `2026-01-24T12:34:56`, of that to the minute, and of its date with the `T`.
const SECOND_BYTES: usize = 19;
const MINUTE_BYTES: usize = 16;
const DATE_BYTES: usize = 11;

/// Whether two texts of one length are the same. Most are as short as the name of a metric: to call somebody who compares any would take longer.
#[inline]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    // Its two ends overlap where it is no multiple of the chunks.
    if (16..=32).contains(&other.len()) {
        // Both are looked at before one asks: words that differ nowhere.
        let word = |chunk: Option<&[u8; 16]>| chunk.map_or(0, |chunk| u128::from_le_bytes(*chunk));
        let first = word(one.first_chunk()) ^ word(other.first_chunk());
        first | (word(one.last_chunk()) ^ word(other.last_chunk())) == 0
    } else if other.len() > 32 {
        let chunks = one.as_chunks::<16>().0.iter().zip(other.as_chunks::<16>().0);
        chunks.fold(true, |is_same, (one, other)| is_same & (one == other)) && one.last_chunk::<16>() == other.last_chunk::<16>()
    } else if other.len() >= 8 {
        one.first_chunk::<8>() == other.first_chunk::<8>() && one.last_chunk::<8>() == other.last_chunk::<8>()
    } else if other.len() >= 4 {
        one.first_chunk::<4>() == other.first_chunk::<4>() && one.last_chunk::<4>() == other.last_chunk::<4>()
    } else {
        one.iter().zip(other).fold(true, |is_same, (one, other)| is_same & (one == other))
    }
}

/// The end of a text that begins at `at`, behind its quotation mark: ASCII without control characters and escapes, up to the next mark.
#[inline]
pub fn text(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    // Eight bytes at a time. A sum or difference carries from a byte that is found to those behind it alone, and the first one found counts.
    while let Some(chunk) = bytes.get(end..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let is = |byte: u8| (word ^ eight(byte)).wrapping_sub(eight(1)) & !(word ^ eight(byte));
        let is_control = word.wrapping_sub(eight(b' ')) & !word;
        let found = (is(b'"') | is(b'\\') | is_control | word.wrapping_add(eight(1)) | word) & HIGH;
        if found != 0 {
            let place = end + found.trailing_zeros() as usize / 8;
            return (bytes[place] == b'"').then_some(place);
        }
        end += 8;
    }
    let rest = bytes.get(end..)?;
    let length = rest.iter().position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))?;
    (rest[length] == b'"').then_some(end + length)
}

/// The minute that was asked for last, and its day: both repeat, and a calendar is slow.
#[derive(Clone, Debug, Default)]
pub struct Minute {
    /// As in `2026-01-24T12:34`.
    text: [u8; MINUTE_BYTES],
    start: Time,
    date: [u8; DATE_BYTES],
    day: Time,
}

impl Minute {
    /// The instant that begins at `at`, of the shape `2026-01-24T12:34:56Z` or `2026-01-24T12:34:56.789Z`, and where it ends.
    #[inline(always)] // what it says stays in registers
    pub fn instant(&mut self, bytes: &[u8], at: usize) -> Option<(Time, usize)> {
        let text: &[u8; SECOND_BYTES + 1] = bytes.get(at..)?.first_chunk()?;
        if text.first_chunk() != Some(&self.text) {
            self.learn(text.first_chunk()?)?;
        }
        let second = pair(text[17], text[18])?;
        // A leap second is somebody else's.
        if text[16] != b':' || second > 59 {
            return None;
        }
        let (milliseconds, end) = match text[SECOND_BYTES] {
            b'Z' => (0, at + SECOND_BYTES + 1),
            b'.' if bytes.get(at + SECOND_BYTES + 4) == Some(&b'Z') => {
                let (value, end) = digits(&bytes[..at + SECOND_BYTES + 4], at + SECOND_BYTES + 1, 0)?;
                (Time::try_from(value).ok().filter(|_| end == at + SECOND_BYTES + 4)?, end + 1)
            }
            _ => return None,
        };
        Some((self.start + second * 1000 + milliseconds, end))
    }

    /// Finds the minute of an instant.
    #[cold]
    fn learn(&mut self, text: &[u8; SECOND_BYTES]) -> Option<()> {
        let (hour, minute) = (pair(text[11], text[12])?, pair(text[14], text[15])?);
        if text[13] != b':' || hour > 23 || minute > 59 {
            return None;
        }
        if self.date != text[..DATE_BYTES] {
            let date = text.first_chunk::<DATE_BYTES>().filter(|date| date[DATE_BYTES - 1] == b'T')?;
            self.day = instant::parse(&format!("{}00:00:00Z", std::str::from_utf8(date).ok()?))?;
            self.date = *date;
        }
        self.text = *text.first_chunk()?;
        self.start = self.day + (hour * 60 + minute) * 60_000;
        Some(())
    }
}

/// Two digits.
fn pair(tens: u8, ones: u8) -> Option<Time> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| Time::from(tens) * 10 + Time::from(ones))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        assert_eq!(
            (text(b"\"a b\"", 1), text(b"a\\n\"", 0), text("é\"".as_bytes(), 0), text(b"a\n\"", 0), text(b"a", 0)),
            (Some(4), None, None, None, None)
        );
    }

    proptest! {
        #[test]
        fn an_instant_is_read_as_the_calendar_reads_it(written in "(19|20)[0-9][0-9]-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{2,4})?[Zz]") {
            let mut minute = Minute::default();
            for _ in 0..2 {
                if let Some((time, end)) = minute.instant(written.as_bytes(), 0) {
                    prop_assert_eq!((Some(time), end), (instant::parse(&written), written.len()));
                }
            }
        }
    }
}
