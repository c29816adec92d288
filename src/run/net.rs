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

/// The signed verdicts of a group of epochs, on their way to changes.
///
/// Where nothing is taken back, and verdicts are not kept, each is a change as it comes.
pub struct Net {
    kept: Kept,
    verdicts: Vec<(Verdict, isize)>,
    changes: Vec<Change>,
}

impl Net {
    /// Nothing said yet.
    pub fn new(kept: Kept) -> Self {
        Self { kept, verdicts: Vec::new(), changes: Vec::new() }
    }

    /// Takes a verdict that holds (+1) or no longer holds (-1).
    pub fn take(&mut self, verdict: &Verdict, sign: isize) {
        if self.kept == Kept::NoVerdicts && sign > 0 && self.verdicts.is_empty() {
            self.changes.push(Change { old: None, new: Some(*verdict) });
            return;
        }
        // What came before the first one that is taken back.
        self.verdicts.extend(self.changes.drain(..).filter_map(|change| Some((change.new?, 1))));
        self.verdicts.push((*verdict, sign));
    }

    /// What they come to: at most one change per series and bucket, by their [`place_of`], or, where nothing was taken back and verdicts are not kept, as they
    /// came. `room` is for the next ones.
    ///
    /// Places are sorted rather than verdicts, which are five times as large, and those of each moment for themselves: verdicts come nearly in the order of
    /// time.
    pub fn changes(&mut self, room: Vec<Change>) -> Vec<Change> {
        let mut changes = std::mem::replace(&mut self.changes, room);
        self.changes.clear();
        let mut moments: BTreeMap<Time, Vec<(i64, usize)>> = BTreeMap::new();
        for ((verdict, _), place) in self.verdicts.iter().zip(0..) {
            let (start, key) = place_of(verdict);
            moments.entry(start).or_default().push((key, place));
        }
        changes.reserve(self.verdicts.len());
        for places in moments.values_mut() {
            places.sort_unstable();
            for group in places.chunk_by(|one, other| one.0 == other.0) {
                let change = match group {
                    // Nearly every bucket is said once.
                    [(_, place)] => net_change(&mut [self.verdicts[*place]]),
                    _ => net_change(&mut group.iter().map(|(_, place)| self.verdicts[*place]).collect::<Vec<_>>()),
                };
                changes.extend((change.old.as_deref() != change.new.as_ref()).then_some(change));
            }
        }
        self.verdicts.clear();
        changes
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
            _ => change.old = Some(Box::new(equal[0].0)),
        }
    }
    if change.new.is_some() {
        // Said and taken back within the group: what is new is a revision all the same.
        change.old = change.old.or(cancelled.map(Box::new));
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, EntityId, MetricId, Number, State, Unscored};

    fn changes(verdicts: &[(Verdict, isize)], kept: Kept) -> Vec<Change> {
        let mut net = Net::new(kept);
        // What is left in the room means nothing.
        let room = || vec![Change { old: Some(Box::new(verdict(9.0))), new: None }];
        net.changes(room());
        verdicts.iter().for_each(|(verdict, sign)| net.take(verdict, *sign));
        let changes = net.changes(room());
        assert_eq!(net.changes(room()), []);
        changes
    }

    fn net_changes(verdicts: &[(Verdict, isize)]) -> Vec<Change> {
        let changes = changes(verdicts, Kept::Everything);
        assert_eq!(self::changes(verdicts, Kept::NoVerdicts), changes);
        changes
    }

    #[test]
    fn what_is_only_said_and_not_kept_stays_as_it_came() {
        let later = |mean| Verdict { bucket: Bucket { start: 600, ..verdict(mean).bucket }, ..verdict(mean) };
        let changes = changes(&[(later(1.0), 1), (verdict(2.0), 1)], Kept::NoVerdicts);
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
        assert_eq!(net_changes(&[(two, 1), (one, -1)]), [Change { old: Some(Box::new(one)), new: Some(two) }]);
        assert_eq!(net_changes(&[(one, -1), (two, 1), (two, -1)]), [Change { old: Some(Box::new(one)), new: None }]);
        assert_eq!(net_changes(&[(one, 1), (one, -1)]), []);
    }

    #[test]
    fn what_one_group_takes_back_does_not_reach_the_next() {
        let (mut net, (one, two)) = (Net::new(Kept::NoVerdicts), (verdict(1.0), verdict(2.0)));
        [(one, 1), (one, -1), (two, 1)].iter().for_each(|(verdict, sign)| net.take(verdict, *sign));
        assert_eq!(net.changes(Vec::new()), [Change { old: Some(Box::new(one)), new: Some(two) }]);
        [(one, 1), (two, 1)].iter().for_each(|(verdict, sign)| net.take(verdict, *sign));
        assert_eq!(net.changes(Vec::new()), [one, two].map(|new| Change { old: None, new: Some(new) }));
    }

    /// Failed once: a file that had grown was read on, and its last bucket taken for one that a restart merely repeats.
    #[test]
    fn what_was_said_and_revised_within_a_group_is_a_revision() {
        let (one, two) = (verdict(1.0), verdict(2.0));
        assert_eq!(net_changes(&[(one, 1), (one, -1), (two, 1)]), [Change { old: Some(Box::new(one)), new: Some(two) }]);
    }
}
