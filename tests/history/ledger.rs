//! The ledger in both stores: who is known, what became of the records, and dead letters as a person asks for them.

use crate::stores::on_each_store;
use crate::{START, batch};
use dataflows::{EntityId, MetricId, Time};
use std::collections::BTreeMap;
use tidewatch::history::{Batch, DeadLetter, Ledger, LetterFilter, Outcome, Progress, Stay};

const PARTITION: &str = "metrics/0";

fn stay(entity: u64, since: i64, until: Option<i64>) -> Stay {
    Stay { partition: PARTITION.into(), entity: EntityId(entity), metric: MetricId(u32::MAX), since, until, last: START }
}

fn outcome(outcome: &str, records: u64) -> Outcome {
    Outcome { partition: PARTITION.into(), outcome: outcome.into(), records }
}

fn read_to(replay_offset: i64, ledger: Ledger) -> Batch {
    let progress = Progress { partition: PARTITION.into(), next_offset: 90, replay_offset, replay_time: START, beginning: None };
    Batch { progress: vec![progress], ledger, ..batch(vec![]) }
}

#[test]
fn who_was_known_and_what_was_refused_is_read_back_until_it_is_settled() {
    on_each_store(|store| {
        let (old, gone, here) = (stay(u64::MAX, 5, None), stay(u64::MAX, 5, Some(40)), stay(7, 50, None));
        let ledger = Ledger {
            stays: vec![old, here.clone(), gone.clone()],
            outcomes: vec![outcome("event", 3), outcome("event", 4), outcome("future", 2)],
            refusals: vec![(PARTITION.into(), 35), (PARTITION.into(), 60)],
        };
        let first = read_to(30, ledger);
        store.history.commit(&first).unwrap();
        let once = store.dump();
        store.history.commit(&first).unwrap();
        assert_eq!(store.dump(), once, "applied twice");

        let position = store.history.position(&first.source, 0).unwrap();
        let mut stays = position.stays;
        stays.sort_by_key(|stay| stay.since);
        assert_eq!(stays, [gone, here.clone()]);
        assert_eq!(position.outcomes, [outcome("event", 4), outcome("future", 2)]);
        assert_eq!(position.refused[PARTITION].iter().copied().collect::<Vec<_>>(), [35, 60]);
        assert_eq!(store.history.outcomes().unwrap(), BTreeMap::from([("event".to_string(), 4), ("future".to_string(), 2)]));

        store.history.commit(&read_to(40, Ledger::default())).unwrap();
        let position = store.history.position(&first.source, 0).unwrap();
        assert_eq!((position.stays, position.refused[PARTITION].len()), (vec![here], 1));
    });
}

#[test]
fn dead_letters_are_found_by_reason_and_time_the_newest_first() {
    on_each_store(|store| {
        let letter = |offset: i64, reason: &str| DeadLetter {
            partition: PARTITION.into(),
            offset,
            reason: reason.into(),
            detail: format!("{offset} is odd"),
            bytes: vec![0, 255, b'{'],
        };
        let letters = vec![letter(1, "future"), letter(2, "invalid_json"), letter(3, "future")];
        store.history.commit(&Batch { dead_letters: letters.clone(), ..batch(vec![]) }).unwrap();
        let all = LetterFilter { reason: None, from: Time::MIN, until: Time::MAX, limit: 10 };
        let mut offsets = |filter: LetterFilter| -> Vec<i64> {
            store.history.letters(&filter).unwrap().iter().map(|stored| stored.letter.offset).collect()
        };
        assert_eq!(offsets(all.clone()), [3, 2, 1]);
        assert_eq!(offsets(LetterFilter { limit: 1, ..all.clone() }), [3]);
        assert_eq!(offsets(LetterFilter { reason: Some("invalid_json".into()), ..all.clone() }), [2]);
        assert_eq!(offsets(LetterFilter { until: START, ..all.clone() }), [0; 0]);
        let newest = store.history.letters(&all).unwrap().remove(0);
        assert_eq!((newest.letter, newest.source), (letters[2].clone(), batch(vec![]).source));
        assert!(newest.known_at > START);
    });
}
