//! What signed facts come to: whatever was said and taken back within a group of epochs cancels.

use super::Kept;
use crate::history::{Change, place_of};
use dataflows::{Time, Verdict};
use std::collections::BTreeMap;

/// What signed facts come to, by key: what held before and what holds now.
pub fn net<K: Ord, T: Ord>(mut facts: Vec<(T, isize)>, key: impl Fn(&T) -> K) -> BTreeMap<K, (Option<T>, Option<T>)> {
    facts.sort_unstable();
    let mut changes: BTreeMap<K, (Option<T>, Option<T>)> = BTreeMap::new();
    let mut facts = facts.into_iter().peekable();
    while let Some((fact, mut sum)) = facts.next() {
        while let Some((_, sign)) = facts.next_if(|next| next.0 == fact) {
            sum += sign;
        }
        let change = changes.entry(key(&fact)).or_insert((None, None));
        match sum {
            0 => {}
            1.. => change.1 = Some(fact),
            _ => change.0 = Some(fact),
        }
    }
    changes
}

/// What the signed verdicts of a group of epochs come to, into `changes`: at most one per series and bucket, by their [`place_of`].
///
/// Places are sorted rather than verdicts, which are five times as large, and those of each moment for themselves: verdicts come nearly in the order of time.
///
/// Where nothing is taken back, each verdict is a change for itself, and if verdicts are not `kept`, they stay as they came.
pub fn net_changes(verdicts: &[(Verdict, isize)], kept: Kept, changes: &mut Vec<Change>) {
    changes.clear();
    changes.reserve(verdicts.len());
    if kept == Kept::NoVerdicts && verdicts.iter().all(|(_, sign)| *sign > 0) {
        changes.extend(verdicts.iter().map(|(verdict, _)| Change { old: None, new: Some(*verdict) }));
        return;
    }
    let mut moments: BTreeMap<Time, Vec<(i64, usize)>> = BTreeMap::new();
    for ((verdict, _), place) in verdicts.iter().zip(0..) {
        let (start, key) = place_of(verdict);
        moments.entry(start).or_default().push((key, place));
    }
    for places in moments.values_mut() {
        places.sort_unstable();
        for group in places.chunk_by(|one, other| one.0 == other.0) {
            let change = match group {
                // Nearly every bucket is said once.
                [(_, place)] => net_change(&mut [verdicts[*place]]),
                _ => net_change(&mut group.iter().map(|(_, place)| verdicts[*place]).collect::<Vec<_>>()),
            };
            changes.extend((change.old != change.new).then_some(change));
        }
    }
}

/// What was said of one bucket.
fn net_change(said: &mut [(Verdict, isize)]) -> Change {
    said.sort_unstable();
    let (mut change, mut cancelled) = (Change { old: None, new: None }, None);
    for equal in said.chunk_by(|one, other| one.0 == other.0) {
        match equal.iter().map(|update| update.1).sum::<isize>() {
            0 => cancelled = Some(equal[0].0),
            1.. => change.new = Some(equal[0].0),
            _ => change.old = Some(equal[0].0),
        }
    }
    if change.new.is_some() {
        // Said and taken back within the group: what is new is a revision all the same.
        change.old = change.old.or(cancelled);
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, EntityId, MetricId, Number, State, Unscored};

    fn net_changes(verdicts: &[(Verdict, isize)]) -> Vec<Change> {
        let changes = [Kept::Everything, Kept::NoVerdicts].map(|kept| {
            let mut changes = vec![Change { old: Some(verdict(9.0)), new: None }];
            super::net_changes(verdicts, kept, &mut changes);
            changes
        });
        assert_eq!(changes[0], changes[1]);
        changes[0].clone()
    }

    #[test]
    fn what_is_only_said_and_not_kept_stays_as_it_came() {
        let later = |mean| Verdict { bucket: Bucket { start: 600, ..verdict(mean).bucket }, ..verdict(mean) };
        let mut changes = Vec::new();
        super::net_changes(&[(later(1.0), 1), (verdict(2.0), 1)], Kept::NoVerdicts, &mut changes);
        assert_eq!(changes, [later(1.0), verdict(2.0)].map(|new| Change { old: None, new: Some(new) }));
    }

    fn verdict(mean: f64) -> Verdict {
        let mean = Number(mean);
        let aggregate = Some(Aggregate { count: 1, mean, min: mean, max: mean, stddev: Number(0.0) });
        let bucket = Bucket { entity: EntityId(1), metric: MetricId(1), start: 300, aggregate };
        Verdict { bucket, score: None, state: State::Unscored(Unscored::NoModel) }
    }

    #[test]
    fn signs_add_up_whatever_their_order() {
        let (one, two) = (verdict(1.0), verdict(2.0));
        assert_eq!(net_changes(&[(one, 1)]), [Change { old: None, new: Some(one) }]);
        assert_eq!(net_changes(&[(two, 1), (one, -1)]), [Change { old: Some(one), new: Some(two) }]);
        assert_eq!(net_changes(&[(one, -1), (two, 1), (two, -1)]), [Change { old: Some(one), new: None }]);
        assert_eq!(net_changes(&[(one, 1), (one, -1)]), []);
    }

    /// Failed once: a file that had grown was read on, and its last bucket taken for one that a restart merely repeats.
    #[test]
    fn what_was_said_and_revised_within_a_group_is_a_revision() {
        let (one, two) = (verdict(1.0), verdict(2.0));
        assert_eq!(net_changes(&[(one, 1), (one, -1), (two, 1)]), [Change { old: Some(one), new: Some(two) }]);
    }
}
