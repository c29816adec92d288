//! The decoder of one worker: it expects records to be written as the last ones were, and asks [`decode`] where they are not.
//!
//! **Invariant.** What it says of a record is what [`decode`] says, to the last bit.

use super::decode::{Decoded, Refusal, decode};
pub use super::filled::Filled;
use super::template::Template;
pub use super::together::Expected;
use crate::kind::{Kind, Kinds};
use crate::limits::Limits;
use dataflows::Time;

/// Producers that write alike share a template; a log of more kinds of them than this is decoded the long way now and then. Who writes a record for each
/// processor and disk of a host, and names it by them, takes one for each.
pub const TEMPLATES_MAX: usize = 128;

/// Of records that no template fits, one in so many is learned from once there are enough templates: to learn costs as much as to decode.
const LEARN_EVERY: u32 = 64;

/// A record that was read.
pub enum Read<'a> {
    /// By a template.
    Filled(Filled<'a>),
    /// By [`decode`]: rarely, and so much that it is not to be moved along with every record.
    Decoded(Box<Decoded<'a>>),
}

impl<'a> Read<'a> {
    /// When it was measured.
    pub fn time(&self) -> Time {
        match self {
            Self::Filled(filled) => filled.time(),
            Self::Decoded(decoded) => decoded.time,
        }
    }

    /// All of it.
    pub fn decoded(self) -> Decoded<'a> {
        match self {
            Self::Filled(filled) => filled.decoded(),
            Self::Decoded(decoded) => *decoded,
        }
    }
}

/// Decodes the records of any number of partitions, one after the other.
pub struct Decoder {
    kinds: Kinds,
    limits: Limits,
    templates: Vec<Template>,
    /// The template that fitted last.
    latest: usize,
    /// Records that none fitted, since the last one was learned.
    strangers: u32,
    /// Templates learned so far.
    learned: u64,
}

impl Decoder {
    /// Nothing learned yet.
    pub fn new(kinds: Kinds, limits: Limits) -> Self {
        Self { kinds, limits, templates: Vec::new(), latest: 0, strangers: 0, learned: 0 }
    }

    /// Reads one record, and makes all of it.
    ///
    /// # Errors
    /// The refusals of [`decode`].
    pub fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Decoded<'a>, Refusal> {
        self.read(bytes, Expected::default()).map(Read::decoded)
    }

    /// Reads one record, of which it is expected what it says of its entity.
    ///
    /// # Errors
    /// The refusals of [`decode`].
    #[inline(always)] // what it says stays in registers
    pub fn read<'a>(&'a mut self, bytes: &'a [u8], expected: Expected<'_>) -> Result<Read<'a>, Refusal> {
        // Who writes in several ways does so by turns.
        let next = expected.form.checked_sub(1).map_or(self.latest, place_of);
        if self.fits(next, bytes, expected) {
            self.latest = next;
        } else if !self.another_fits(next, bytes, expected) {
            return self.read_anew(bytes);
        }
        Ok(Read::Filled(Filled::new(&mut self.templates[self.latest], bytes)))
    }

    /// Whether a template fits, if there is one in this place; it is filled then.
    fn fits(&mut self, place: usize, bytes: &[u8], expected: Expected<'_>) -> bool {
        let Some(template) = self.templates.get_mut(place).filter(|_| bytes.len() <= self.limits.record_bytes_max) else { return false };
        kind_of(&self.kinds, template.kind()).is_some_and(|kind| template.fill(bytes, &self.limits, kind, expected).is_some())
    }

    /// Whether another template fits than the one that was to be expected: that of the last record, or any.
    #[cold]
    fn another_fits(&mut self, next: usize, bytes: &[u8], expected: Expected<'_>) -> bool {
        let others = [self.latest].into_iter().chain(0..self.templates.len()).filter(|place| *place != next);
        let fitting = { others }.find(|place| self.fits(*place, bytes, expected));
        self.latest = fitting.unwrap_or(self.latest);
        fitting.is_some()
    }

    /// Reads a record that no template fits.
    #[cold]
    fn read_anew<'a>(&mut self, bytes: &'a [u8]) -> Result<Read<'a>, Refusal> {
        let Self { kinds, limits, templates, latest, strangers, learned } = self;
        let decoded = decode(bytes, kinds, limits)?;
        *strangers += 1;
        if (templates.len() < TEMPLATES_MAX || *strangers >= LEARN_EVERY)
            && let Some(template) =
                kind_of(kinds, decoded.kind).and_then(|kind| Template::learn(bytes, &decoded, kind, limits, *learned + 1))
        {
            let place = place_of(*learned);
            match templates.get_mut(place) {
                Some(oldest) => *oldest = template,
                None => templates.push(template),
            }
            *learned += 1;
            (*latest, *strangers) = (place, 0);
        }
        Ok(Read::Decoded(Box::new(decoded)))
    }
}

/// The place of the template that was learned after so many others: each takes that of the oldest.
#[allow(clippy::cast_possible_truncation)] // a remainder
fn place_of(learned: u64) -> usize {
    (learned % TEMPLATES_MAX as u64) as usize
}

fn kind_of(kinds: &Kinds, place: usize) -> Option<&Kind> {
    kinds.iter().nth(place)
}
