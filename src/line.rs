//! Where a place of a text file is, in the lines that an editor shows.

use memchr::memchr2_iter;
use std::io::{BufRead, BufReader, Read, Result};

/// Tells the lines of places that are asked for in order. Lines end as the `csv` crate has them: by a line feed, a carriage return, or both.
#[derive(Debug)]
pub struct Lines<R> {
    text: BufReader<R>,
    /// How much was read, how many line ends are in it, and whether it ends in a carriage return.
    at: u64,
    ends: u64,
    returned: bool,
}

impl<R: Read> Lines<R> {
    /// Those of a text from its beginning.
    pub fn of(text: R) -> Self {
        Self { text: BufReader::with_capacity(1 << 16, text), at: 0, ends: 0, returned: false }
    }

    /// The line, from 1, of the first byte at or behind `place` that ends no line: blank lines before it are not it.
    ///
    /// # Errors
    /// A text that can no longer be read.
    pub fn at(&mut self, place: u64) -> Result<u64> {
        while self.at < place {
            let bytes = self.text.fill_buf()?;
            let length = usize::try_from(place - self.at).map_or(bytes.len(), |rest| bytes.len().min(rest));
            if length == 0 {
                break;
            }
            self.pass(length);
        }
        while let [b'\n' | b'\r', ..] = self.text.fill_buf()? {
            self.pass(1);
        }
        Ok(self.ends + 1)
    }

    /// Counts the line ends of so many bytes that are in the buffer.
    fn pass(&mut self, length: usize) {
        let bytes = &self.text.buffer()[..length];
        for end in memchr2_iter(b'\n', b'\r', bytes) {
            let is_second = bytes[end] == b'\n' && if end == 0 { self.returned } else { bytes[end - 1] == b'\r' };
            self.ends += u64::from(!is_second);
        }
        self.returned = bytes.last() == Some(&b'\r');
        self.text.consume(length);
        self.at += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_at_an_end_is_that_of_what_comes_next() {
        let at = |text: &str, place: u64| Lines::of(text.as_bytes()).at(place).unwrap();
        assert_eq!([at("a\nb", 0), at("a\nb", 1), at("a\nb", 2), at("a\r\nb", 2), at("a\rb", 2), at("a\n\n\r\nb", 1)], [1, 2, 2, 2, 2, 4]);
        assert_eq!((at("", 0), at("a\n", 9)), (1, 2));
    }

    proptest! {
        #[test]
        fn every_place_is_in_the_line_that_the_standard_library_says(text in "[ab\n]{0,60}", step in 1..7_u64) {
            let (crlf, mut lines) = (text.replace('\n', "\r\n"), Lines::of(text.as_bytes()));
            let mut crlf_lines = Lines::of(crlf.as_bytes());
            for place in (0..text.len() as u64).step_by(step as usize) {
                let before = &text[..place as usize];
                let next = &text[place as usize..];
                let blank = next.len() - next.trim_start_matches('\n').len();
                let line = (before.matches('\n').count() + blank) as u64 + 1;
                prop_assert_eq!(lines.at(place).unwrap(), line);
                prop_assert_eq!(crlf_lines.at(place + before.matches('\n').count() as u64).unwrap(), line);
            }
        }
    }
}
