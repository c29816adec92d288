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

/// Producers that write alike share a template; a log of more kinds of them than this is decoded the long way now and then.
const TEMPLATES_MAX: usize = 128;

/// So many lists of metrics are known in all: who writes a record for each processor and disk of a host, and names it by them, has one for each.
pub const FORMS_MAX: usize = 4096;

/// After so many records that nothing fitted what was learned is thrown away, once it is as much as may be.
const FORGET_AFTER: u32 = 1 << 16;

/// After so many records in a row of which nothing could be learned only one in so many more is learned from: it costs as much as to decode.
const FAILURES_MAX: u32 = 8;
const LEARN_EVERY: u32 = 64;

/// A template that is found saves what so many take that are tried in vain: to search is worth it while that pays...
const FOUND: i32 = 32;
/// ...or has paid until now, but by no more than this. ...
const CREDIT_MAX: i32 = 1 << 12;
/// ...Where it does not, each record that is not looked for lends so much: one search in some thirty.
const LENT: i32 = 4;

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
    /// Of each form the template, and its variant there, from the one after `forgotten` on.
    forms: Vec<(usize, usize)>,
    /// Forms that are known no longer.
    forgotten: u64,
    /// The template that fitted last.
    latest: usize,
    /// The template that the record at hand is written like, though it is not known what its metrics are called.
    alike: Option<usize>,
    /// How many templates may be tried before one must be found again, and whether that was done for the record at hand.
    credit: i32,
    is_searched: bool,
    /// Records that nothing fitted, since something was learned last, and those in a row of which nothing could be.
    strangers: u32,
    failures: u32,
}

impl Decoder {
    /// Nothing learned yet.
    pub fn new(kinds: Kinds, limits: Limits) -> Self {
        let (templates, forms) = (Vec::new(), Vec::new());
        Self {
            kinds,
            limits,
            templates,
            forms,
            forgotten: 0,
            latest: 0,
            alike: None,
            credit: CREDIT_MAX,
            is_searched: true,
            strangers: 0,
            failures: 0,
        }
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
    pub fn read<'a>(&'a mut self, bytes: &'a [u8], expected: Expected<'_>) -> Result<Read<'a>, Refusal> {
        if self.fits(bytes, expected) { Ok(Read::Filled(self.filled(bytes))) } else { self.read_anew(bytes) }
    }

    /// Whether something that was learned fits a record, of which it is expected what it says of its entity. [`Decoder::filled`] has it then; else it is left to
    /// [`Decoder::read_anew`].
    #[inline(always)] // for each record
    pub fn fits(&mut self, bytes: &[u8], expected: Expected<'_>) -> bool {
        // Who writes in several ways does so by turns.
        let (next, variant) = self.form(expected.form).map_or((self.latest, None), |(next, variant)| (next, Some(variant)));
        if self.fills(next, variant, bytes, expected) {
            self.latest = next;
            return true;
        }
        self.another_fits(next, bytes, expected)
    }

    /// The record of these bytes, which has just been found to fit.
    #[inline]
    pub fn filled<'a>(&'a mut self, bytes: &'a [u8]) -> Filled<'a> {
        Filled::new(&mut self.templates[self.latest], bytes)
    }

    /// The template of a form, and its variant there.
    #[inline]
    fn form(&self, form: u64) -> Option<(usize, usize)> {
        let place = form.checked_sub(self.forgotten + 1)?;
        self.forms.get(usize::try_from(place).ok()?).copied()
    }

    /// Whether a template fits, if there is one in this place; it is filled then. `None` as its variant: that of its last record is expected.
    fn fills(&mut self, place: usize, variant: Option<usize>, bytes: &[u8], expected: Expected<'_>) -> bool {
        let Some(template) = self.templates.get_mut(place).filter(|_| bytes.len() <= self.limits.record_bytes_max) else { return false };
        let variant = variant.unwrap_or(template.variant);
        let filled = kind_of(&self.kinds, template.kind()).and_then(|kind| template.fill(bytes, &self.limits, kind, expected, variant));
        if filled == Some(false) {
            self.alike = Some(place);
        }
        filled == Some(true)
    }

    /// Whether another template fits than the one that was to be expected.
    #[cold]
    fn another_fits(&mut self, next: usize, bytes: &[u8], expected: Expected<'_>) -> bool {
        if self.alike.is_some() {
            return false;
        }
        // Who writes in more ways than can be known, as where any field may be null, is seldom found, and all are tried each time.
        self.is_searched = self.credit > 0;
        if !self.is_searched {
            self.credit += LENT;
            return false;
        }
        for place in (0..self.templates.len()).filter(|place| *place != next) {
            if self.fills(place, None, bytes, expected) {
                self.latest = place;
                self.credit = (self.credit + FOUND).min(CREDIT_MAX);
                return true;
            }
            self.credit -= 1;
            if self.alike.is_some() {
                break;
            }
        }
        false
    }

    /// Reads a record that nothing fits.
    ///
    /// # Errors
    /// The refusals of [`decode`].
    #[cold]
    pub fn read_anew<'a>(&mut self, bytes: &'a [u8]) -> Result<Read<'a>, Refusal> {
        let (alike, is_searched) = (self.alike.take(), std::mem::replace(&mut self.is_searched, true));
        let decoded = decode(bytes, &self.kinds, &self.limits)?;
        self.strangers += 1;
        let is_full = self.forms.len() >= FORMS_MAX || alike.is_none() && self.templates.len() >= TEMPLATES_MAX;
        if is_full && self.strangers >= FORGET_AFTER {
            self.forgotten += self.forms.len() as u64;
            self.forms.clear();
            self.templates.clear();
            self.strangers = 0;
        } else if is_searched && !is_full && (self.failures < FAILURES_MAX || self.strangers >= LEARN_EVERY) {
            let learned = self.learn(bytes, &decoded, alike);
            self.failures = if learned.is_some() { 0 } else { self.failures.saturating_add(1) };
            self.strangers = 0;
            self.forms.extend(learned);
        }
        Ok(Read::Decoded(Box::new(decoded)))
    }

    /// Learns from a record that is written like a template, or like none.
    fn learn(&mut self, bytes: &[u8], decoded: &Decoded<'_>, alike: Option<usize>) -> Option<(usize, usize)> {
        let form = self.forgotten + self.forms.len() as u64 + 1;
        let place = alike.unwrap_or(self.templates.len());
        match self.templates.get_mut(place) {
            Some(template) => template.extend(bytes, decoded, form).then_some(())?,
            None => {
                let kind = kind_of(&self.kinds, decoded.kind)?;
                self.templates.push(Template::learn(bytes, decoded, kind, &self.limits, form)?);
            }
        }
        self.latest = place;
        Some((place, self.templates[place].variant))
    }
}

fn kind_of(kinds: &Kinds, place: usize) -> Option<&Kind> {
    kinds.iter().nth(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of sixteen fields each, of which any of the first `n` may be null; and what is left of the credit of who decoded them.
    fn credit(n: u32) -> i32 {
        let (kinds, limits) = (Kinds::default(), Limits::default());
        let (mut decoder, mut state) = (Decoder::new(kinds.clone(), limits), 7_u64);
        for second in 0..6000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = |field: u32| if field < n && state >> (40 + field) & 1 == 0 { "null" } else { "1.5" };
            let fields: Vec<String> = (0..16).map(|field| format!("\"f{field}\":{}", value(field))).collect();
            let record = format!("{{\"server_id\":\"a\",\"timestamp\":{},{}}}", 1_768_780_800 + second, fields.join(","));
            let plain = decode(record.as_bytes(), &kinds, &limits).unwrap();
            let decoded = decoder.decode(record.as_bytes()).unwrap();
            assert_eq!((decoded.time, decoded.metrics.as_ref()), (plain.time, plain.metrics.as_ref()), "{record}");
        }
        decoder.credit
    }

    /// Failed once: records with many fields that may be null took two and a half times as long as without what was learned.
    #[test]
    fn who_writes_in_more_ways_than_can_be_known_is_seldom_searched_for() {
        assert!(credit(4) > CREDIT_MAX / 2, "sixteen ways are worth a search each time");
        assert!(credit(16) <= FOUND + LENT, "65,536 ways are not");
    }
}
