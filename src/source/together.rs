//! What a record says of its entity where that stands together: its name and its labels, one behind the other, as one text.
//!
//! Who collects metrics goes round, and a record most often is of the entity whose turn it is: then that text is the one that the entity's last record had,
//! which one comparison shows, and nobody looks for the ends of its parts.

use super::plain;
use std::ops::Range;

/// What a record is expected to say of its entity: what another one of the same form said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// See [`super::decode::Decoded::form`]; zero: nothing is expected.
    pub form: u64,
    /// See [`super::filled::Filled::entity`].
    pub said: &'a [u8],
}

/// The texts of an entity, between which there are no other values.
#[derive(Clone, Debug)]
pub(super) struct Together {
    /// What stands before each, and its place among the template's texts. Nothing stands before the first: it is where this begins.
    parts: Vec<(Vec<u8>, usize)>,
    /// Where it stands in the record that was read last, without the quotation marks at its ends.
    span: Range<usize>,
    is_expected: bool,
}

impl Together {
    pub(super) fn new(parts: Vec<(Vec<u8>, usize)>) -> Self {
        Self { parts, span: 0..0, is_expected: false }
    }

    /// Where this is in the record that was read last.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Whether the record that was read last said what was expected.
    pub(super) fn is_expected(&self) -> bool {
        self.is_expected
    }

    /// Finds its texts where they were expected, and therefore were not looked for.
    pub(super) fn expect_nothing(&mut self, bytes: &[u8], texts: &mut [Range<usize>]) -> Option<()> {
        if std::mem::take(&mut self.is_expected) {
            self.locate(bytes, self.span.start, texts)?;
        }
        Some(())
    }

    /// Reads it where it begins; its end, or `None` where it is not plain. Only where it is not what is expected is it known then where its texts are.
    #[inline]
    pub(super) fn read(&mut self, bytes: &[u8], at: usize, said: &[u8], texts: &mut [Range<usize>]) -> Option<usize> {
        let end = at + said.len();
        self.is_expected =
            !said.is_empty() && bytes.get(at..end).is_some_and(|text| plain::is_same(text, said)) && bytes.get(end) == Some(&b'"');
        let end = if self.is_expected { end } else { self.locate(bytes, at, texts)? };
        self.span = at..end;
        Some(end)
    }

    /// Finds the texts of what begins at `at`; where the last one ends.
    pub(super) fn locate(&self, bytes: &[u8], at: usize, texts: &mut [Range<usize>]) -> Option<usize> {
        let mut end = at;
        for (before, place) in &self.parts {
            let at = end + before.len();
            plain::is_same(bytes.get(end..at)?, before).then_some(())?;
            end = plain::text(bytes, at)?;
            *texts.get_mut(*place)? = at..end;
        }
        Some(end)
    }
}
