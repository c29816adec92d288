//! Names become fixed-size identities, the same in every process and after every restart.
//!
//! An identity is a hash of the name, not a number handed out on first sight: two workers that meet a
//! series at the same moment agree on it without talking. With 64 bits, a million entities collide with
//! probability 3e-8 (birthday bound).

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// FNV-1a (Fowler, Noll, Vo 1991), then the finalizer of MurmurHash3 (Appleby 2011), because timely routes by the
/// low bits of what an exchange function returns.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        // A byte that no UTF-8 text holds, so that ("ab", "c") and ("a", "bc") differ.
        state = (state ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(state)
}

/// Spreads every input bit over all output bits.
pub(crate) fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}

/// The thing measured, for example `server` `srv-001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId(pub u64);

impl EntityId {
    /// The identity of the entity `entity_id` of type `entity_type`.
    pub fn of(entity_type: &str, entity_id: &str) -> Self {
        Self(hash(&[entity_type, entity_id]))
    }
}

/// The name of what is measured, for example `cpu_usage_percent`. 32 bits: it only tells the metrics of one entity apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MetricId(pub u32);

impl MetricId {
    /// The identity of a metric's name.
    #[allow(clippy::cast_possible_truncation)] // the upper half is the identity
    pub fn of(metric: &str) -> Self {
        Self((hash(&[metric]) >> 32) as u32)
    }
}

/// One metric of one entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub u64);

impl SeriesId {
    /// The series of `metric` of `entity`.
    pub fn of(entity: EntityId, metric: MetricId) -> Self {
        Self(mix(entity.0 ^ (u64::from(metric.0) << 32 | u64::from(metric.0))))
    }

    /// The same, from names.
    pub fn named(entity_type: &str, entity_id: &str, metric: &str) -> Self {
        Self::of(EntityId::of(entity_type, entity_id), MetricId::of(metric))
    }
}

/// Entities are hashes already; hashing them again would cost more than the look-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u32(&mut self, value: u32) {
        // Half an identity fills half a word, and a map goes by both ends of it.
        self.write_u64(u64::from(value) << 32 | u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = if self.0 == 0 { value } else { mix(self.0 ^ value) };
    }
}

/// A map by identities, which are spread well enough.
pub type HashedMap<K, V> = HashMap<K, V, BuildHasherDefault<Hashed>>;

/// A set of identities.
pub type HashedSet<K> = HashSet<K, BuildHasherDefault<Hashed>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_never_changes_between_releases() {
        // Stored in histories: a change of the hash would orphan every row.
        assert_eq!(EntityId::of("server", "srv-001"), EntityId(13_442_209_251_334_149_631));
        assert_eq!(MetricId::of("cpu_usage_percent"), MetricId(3_888_943_622));
    }

    #[test]
    fn the_border_between_type_and_name_matters() {
        assert_ne!(EntityId::of("ab", "c"), EntityId::of("a", "bc"));
    }
}
