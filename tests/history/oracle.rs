//! Random batches into a store and into three maps; the store must say what the maps say.

use crate::stores::Store;
use crate::{START, WIDTH, batch, bucket, name, scored, series};
use dataflows::{State, Time, Verdict};
use std::collections::BTreeMap;
use tidewatch::history::{Batch, Change, Progress};

/// Marsaglia's xorshift64: the same batches for a seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[derive(Default)]
struct Oracle {
    verdicts: BTreeMap<(String, Time), Verdict>,
    anomalies: BTreeMap<(Time, String), (f64, &'static str)>,
    progress: BTreeMap<String, Progress>,
}

impl Oracle {
    fn apply(&mut self, batch: &Batch, entities: &[String]) {
        for (change, entity) in batch.changes.iter().zip(entities) {
            let start = change.latest().unwrap().bucket.start;
            match change.new {
                Some(verdict) => self.verdicts.insert((entity.clone(), start), verdict),
                None => self.verdicts.remove(&(entity.clone(), start)),
            };
            match change.new {
                Some(Verdict { state: State::Anomalous, score: Some(score), .. }) => {
                    self.anomalies.insert((start, entity.clone()), (score.z_score.0, "open"));
                }
                _ => {
                    if let Some(anomaly) = self.anomalies.get_mut(&(start, entity.clone())) {
                        anomaly.1 = "withdrawn";
                    }
                }
            }
        }
        for progress in &batch.progress {
            self.progress.insert(progress.partition.clone(), progress.clone());
        }
    }

    fn check(&self, store: &mut Store) {
        let mut read = Vec::new();
        store.history.verdicts(START, START + 40 * WIDTH, &mut |verdict| read.push(verdict)).unwrap();
        read.sort_unstable();
        let mut expected: Vec<Verdict> = self.verdicts.values().copied().collect();
        expected.sort_unstable();
        assert_eq!(read, expected);

        let anomalies = store.history.anomalies(START, START + 40 * WIDTH).unwrap();
        let read: Vec<_> = anomalies.iter().map(|a| (a.start, a.name.entity_id.as_str(), a.z_score, a.status.as_str())).collect();
        let expected: Vec<_> = self.anomalies.iter().map(|((start, entity), (z, status))| (*start, entity.as_str(), *z, *status)).collect();
        assert_eq!(read, expected);

        let mut last_seen = BTreeMap::new();
        for ((entity, start), verdict) in &self.verdicts {
            if verdict.bucket.aggregate.is_some() && *start >= START + WIDTH {
                last_seen.insert(name(entity), *start);
            }
        }
        let position = store.history.position(&batch(vec![]).source, START + WIDTH).unwrap();
        assert_eq!(position.progress, self.progress.values().cloned().collect::<Vec<_>>());
        assert_eq!(position.last_seen.into_iter().map(|(series, start)| (series.name, start)).collect::<BTreeMap<_, _>>(), last_seen);
    }
}

/// A batch of a few changes, some of them revisions, some of them without a memory of what was stored.
fn random_batch(random: &mut Random, oracle: &Oracle) -> (Batch, Vec<String>) {
    let mut chosen = BTreeMap::new();
    for _ in 0..random.below(30) {
        let (entity, start) = (format!("srv-{:02}", random.below(12)), START + WIDTH * random.below(40).cast_signed());
        let stored = oracle.verdicts.get(&(entity.clone(), start)).copied();
        let old = stored.filter(|_| random.below(3) > 0);
        let new = match random.below(8) {
            0 if old.is_some() => None,
            0 | 1 => Some(Verdict { bucket: bucket(&entity, start, None), score: None, state: State::Missing }),
            2 | 3 => Some(scored(&entity, start, 95.0 + random.below(20) as f64 / 7.0)),
            _ => Some(scored(&entity, start, 60.0 + random.below(100) as f64 / 9.0)),
        };
        chosen.insert((entity, start), Change { old: old.map(Box::new), new });
    }
    let (keys, changes): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
    let offset = random.below(1000).cast_signed();
    let progress = Progress {
        partition: format!("p/{}", random.below(3)),
        next_offset: offset,
        replay_offset: offset / 2,
        replay_time: START,
        beginning: None,
    };
    let series = (0..12).map(|i| series(&format!("srv-{i:02}"))).collect();
    (Batch { series, progress: vec![progress], ..batch(changes) }, keys.into_iter().map(|(entity, _)| entity).collect())
}

pub fn compare(store: &mut Store, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut oracle = Oracle::default();
    for _ in 0..40 {
        let (batch, entities) = random_batch(&mut random, &oracle);
        oracle.apply(&batch, &entities);
        store.history.commit(&batch).unwrap();
        if random.below(4) == 0 {
            store.history.commit(&batch).unwrap();
            oracle.check(store);
        }
    }
    oracle.check(store);
}
