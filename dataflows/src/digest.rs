//! One line to compare two relations by: an order-independent hash of all rows.

use crate::identity::{hash, mix};
use crate::verdict::{State, Unscored, Verdict};
use std::fmt;

/// The sum of the hashes of all rows, and their number. Addition makes the order irrelevant, and lets rows be taken out again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    sum: u128,
    rows: i64,
    episodes: i64,
    incidents: i64,
}

impl Digest {
    /// Adds (`sign` 1) or takes out (-1) a row. Floats count by their bits.
    pub fn update(&mut self, verdict: &Verdict, sign: i64) {
        let hash = row_hash(verdict);
        self.sum = if sign < 0 { self.sum.wrapping_sub(hash) } else { self.sum.wrapping_add(hash) };
        self.rows += sign;
    }

    /// Adds an episode, written out.
    pub fn add_episode(&mut self, text: &str) {
        self.sum = self.sum.wrapping_add(text_hash("episode", text));
        self.episodes += 1;
    }

    /// Adds an incident, written out.
    pub fn add_incident(&mut self, text: &str) {
        self.sum = self.sum.wrapping_add(text_hash("incident", text));
        self.incidents += 1;
    }

    /// The number of verdicts.
    pub fn rows(&self) -> i64 {
        self.rows
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} ({} buckets, {} episodes, {} incidents)", self.sum, self.rows, self.episodes, self.incidents)
    }
}

fn text_hash(kind: &str, text: &str) -> u128 {
    u128::from(hash(&["1", kind, text])) << 64 | u128::from(hash(&["2", kind, text]))
}

/// Two passes of a 64-bit mixer with different seeds over all fields.
fn row_hash(verdict: &Verdict) -> u128 {
    let bucket = &verdict.bucket;
    let state = match verdict.state {
        State::Normal => 1,
        State::Anomalous => 2,
        State::Missing => 3,
        State::NotDue => 9,
        State::Unscored(Unscored::NoModel) => 4,
        State::Silenced => 5,
        State::Accompanying => 8,
        State::Unscored(Unscored::Warming) => 6,
        State::Unscored(Unscored::Reset) => 7,
    };
    #[allow(clippy::cast_sign_loss)] // bits are what is hashed
    let mut words = [0u64; 12];
    words[0] = bucket.series().0;
    #[allow(clippy::cast_sign_loss)]
    {
        words[1] = bucket.start as u64;
    }
    words[2] = state;
    if let Some(aggregate) = bucket.aggregate {
        words[3] = aggregate.count;
        for (word, number) in words[4..8].iter_mut().zip([aggregate.mean, aggregate.min, aggregate.max, aggregate.stddev]) {
            *word = number.0.to_bits();
        }
    }
    if let Some(score) = verdict.score {
        words[8] = 1;
        for (word, number) in words[9..12].iter_mut().zip([score.expected, score.sigma, score.z_score]) {
            *word = number.0.to_bits();
        }
    }
    let pass = |seed: u64| words.iter().fold(seed, |hash, word| mix(hash.rotate_left(5) ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15));
    u128::from(pass(1)) << 64 | u128::from(pass(2))
}
