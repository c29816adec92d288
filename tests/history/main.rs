//! History seen from outside: the same facts hold of SQLite and of a real PostgreSQL.

mod calibration;
mod claim;
mod incidents;
mod labels;
mod ledger;
mod measure;
mod oracle;
mod outbox;
mod rollup;
mod stores;
mod trust;

use dataflows::verdict::Unscored;
use dataflows::{Aggregate, Bucket, MetricId, Number, Score, SeriesId, State, Time, Verdict};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use stores::{Store, on_each_store, postgres_store};
use tidewatch::history::{Batch, Change, DeadLetter, HistoryError, Progress, RawEntity, RawEvent, RawEvents, Series, TrainingRow, open};
use tidewatch::series::SeriesName;

const WIDTH: Time = 300_000;
/// 2026-01-24T12:30:00Z.
const START: Time = 1_769_257_800_000;

fn name(entity: &str) -> SeriesName {
    SeriesName::new("server", entity, "cpu_usage_percent")
}

fn series(entity: &str) -> Series {
    let labels = BTreeMap::from([("rack_id".to_string(), "rack-A".to_string())]);
    Series { name: name(entity), labels, partition: "metrics/0".to_string() }
}

fn bucket(entity: &str, start: Time, mean: Option<f64>) -> Bucket {
    let aggregate = mean.map(|mean| Aggregate {
        count: 60,
        mean: Number(mean),
        min: Number(mean - 1.0),
        max: Number(mean + 1.0),
        stddev: Number(0.1 + 0.2),
    });
    Bucket { entity: name(entity).entity(), metric: MetricId::of("cpu_usage_percent"), start, aggregate }
}

/// A verdict around an expectation of 65.2 with sigma 7.
fn scored(entity: &str, start: Time, mean: f64) -> Verdict {
    let z_score = (mean - 65.2) / 7.0;
    let score = Score { expected: Number(65.2), sigma: Number(7.0), z_score: Number(z_score) };
    let state = if z_score.abs() > 3.0 { State::Anomalous } else { State::Normal };
    Verdict { bucket: bucket(entity, start, Some(mean)), score: Some(score), state }
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        source: "simulate:dev?seed=7".to_string(),
        bucket_width: WIDTH,
        series: vec![series("srv-001"), series("srv-002")],
        changes,
        progress: vec![Progress {
            partition: "metrics/0".into(),
            next_offset: 90,
            replay_offset: 30,
            replay_time: START,
            beginning: Some("30:ab".into()),
        }],
        horizon: Some(START + WIDTH),
        ..Batch::default()
    }
}

fn appear(verdict: Verdict) -> Change {
    Change { old: None, new: Some(verdict) }
}

/// A batch with something for every table.
fn full_batch() -> Batch {
    let event = |entity_type: &str, entity_id: &str, (form, first)| RawEvent {
        entity: Arc::new(RawEntity { entity_type: entity_type.into(), entity_id: entity_id.into(), labels: series("srv-001").labels }),
        time: START + 5,
        offset: 17,
        form,
        first,
    };
    let forms = [&["cpu_usage_percent", "fan_rpm"][..], &["error_rate_percent"], &["celsius"]];
    Batch {
        raw: vec![RawEvents {
            partition: "metrics/0".into(),
            forms: forms.iter().map(|form| form.iter().copied().map(Arc::from).collect()).collect(),
            events: vec![event("server", "srv-001", (0, 0)), event("application", "api", (1, 2)), event("fridge", "kitchen", (2, 3))],
            values: vec![85.2, 900.0, 0.5, 4.0],
        }],
        dead_letters: vec![DeadLetter {
            partition: "metrics/0".into(),
            offset: 18,
            reason: "invalid_json".into(),
            detail: "expected value at line 1".into(),
            bytes: vec![0, 255, b'{'],
        }],
        ..batch(vec![
            appear(scored("srv-001", START, 95.3)),
            appear(scored("srv-002", START, 66.0)),
            appear(Verdict { bucket: bucket("srv-001", START + WIDTH, None), score: None, state: State::Missing }),
        ])
    }
}

fn statuses(store: &mut Store) -> Vec<(String, String)> {
    let anomalies = store.history.anomalies(START, START + 10 * WIDTH).unwrap();
    anomalies.into_iter().map(|anomaly| (anomaly.name.entity_id, anomaly.status)).collect()
}

#[test]
fn a_commit_applied_twice_changes_nothing() {
    on_each_store(|store| {
        store.history.commit(&full_batch()).unwrap();
        let once = store.dump();
        assert!(once.iter().filter(|row| row.starts_with("server_metrics")).count() == 1, "{once:#?}");
        assert!(once.iter().any(|row| row.starts_with("dead_letters")));
        store.history.commit(&full_batch()).unwrap();
        assert_eq!(store.dump(), once);
    });
}

#[test]
fn what_was_committed_is_read_back() {
    on_each_store(|store| {
        store.history.commit(&full_batch()).unwrap();
        let history = &mut store.history;
        assert_eq!(history.series().unwrap(), [series("srv-001"), series("srv-002")]);
        assert_eq!(history.verdict(&name("srv-001"), START).unwrap(), Some(scored("srv-001", START, 95.3)));
        assert_eq!(history.verdict(&name("srv-001"), START + 7).unwrap(), None);
        let anomaly = history.anomalies(START, START + 1).unwrap().remove(0);
        assert_eq!((anomaly.name, anomaly.start, anomaly.severity.as_str()), (name("srv-001"), START, "high"));
        assert_eq!((anomaly.actual_value, anomaly.expected_value, anomaly.status.as_str()), (95.3, 65.2, "open"));
        assert_eq!(anomaly.z_score, (95.3 - 65.2) / 7.0);
    });
}

#[test]
fn a_position_tells_where_reading_goes_on_and_who_was_heard_last() {
    on_each_store(|store| {
        let source = full_batch().source;
        assert_eq!(store.history.position(&source, 0).unwrap(), Default::default());
        store.history.commit(&full_batch()).unwrap();
        let position = store.history.position(&source, START).unwrap();
        assert_eq!((position.progress, position.horizon), (full_batch().progress, Some(START + WIDTH)));
        // The missing bucket of srv-001 is later, and nothing was heard in it.
        assert_eq!(position.last_seen, [(series("srv-001"), START), (series("srv-002"), START)]);
        assert_eq!(store.history.position(&source, START + 1).unwrap().last_seen, []);
        assert_eq!(store.history.position("kafka:other", 0).unwrap(), Default::default());

        let beginning =
            Progress { partition: "metrics/1".into(), next_offset: 0, replay_offset: 0, replay_time: Time::MIN, beginning: None };
        let later = Batch { progress: vec![beginning.clone()], horizon: None, ..batch(vec![]) };
        store.history.commit(&later).unwrap();
        let position = store.history.position(&source, START).unwrap();
        assert_eq!((&position.progress[1], position.horizon), (&beginning, Some(START + WIDTH)));
    });
}

/// Far more than are sent to a server at once, of which it refuses the first.
#[test]
fn of_raw_events_that_are_there_in_part_the_others_are_added() {
    on_each_store(|store| {
        let batch = |offsets: std::ops::Range<i64>| {
            let mut raw = full_batch().raw;
            raw[0].events = offsets.map(|offset| RawEvent { offset, ..raw[0].events[0].clone() }).collect();
            Batch { raw, ..batch(vec![appear(scored("srv-001", START, 95.3))]) }
        };
        store.history.commit(&batch(0..2000)).unwrap();
        store.history.commit(&batch(1000..3000)).unwrap();
        assert_eq!(store.dump().iter().filter(|row| row.starts_with("server_metrics")).count(), 3000);
    });
}

#[test]
fn a_revised_verdict_withdraws_its_anomaly() {
    on_each_store(|store| {
        let (spike, calm) = (scored("srv-001", START, 95.3), scored("srv-001", START, 66.0));
        store.history.commit(&batch(vec![appear(spike)])).unwrap();
        store.history.commit(&batch(vec![Change { old: Some(Box::new(spike)), new: Some(calm) }])).unwrap();
        assert_eq!(statuses(store), [("srv-001".to_string(), "withdrawn".to_string())]);
        assert!(store.dump().iter().any(|row| row.contains("within the threshold of 3")), "{:#?}", store.dump());
        // And back, after a restart that remembers nothing of it.
        store.history.commit(&batch(vec![appear(spike)])).unwrap();
        assert_eq!(statuses(store), [("srv-001".to_string(), "open".to_string())]);
        store.history.commit(&batch(vec![appear(calm)])).unwrap();
        assert_eq!(statuses(store), [("srv-001".to_string(), "withdrawn".to_string())]);
    });
}

#[test]
fn a_bucket_that_is_gone_is_gone_and_its_anomaly_is_withdrawn() {
    on_each_store(|store| {
        let spike = scored("srv-001", START, 95.3);
        store.history.commit(&batch(vec![appear(spike)])).unwrap();
        store.history.commit(&batch(vec![Change { old: Some(Box::new(spike)), new: None }])).unwrap();
        assert_eq!(store.history.verdict(&name("srv-001"), START).unwrap(), None);
        assert_eq!(statuses(store), [("srv-001".to_string(), "withdrawn".to_string())]);
    });
}

#[test]
fn numbers_come_back_bit_for_bit() {
    let odd = [0.1 + 0.2, -0.0, 0.0, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1.0, -3.0, 1e15 + 0.3, 9_007_199_254_740_993.0];
    on_each_store(|store| {
        let verdicts: Vec<Verdict> = (0..odd.len())
            .map(|i| {
                let at = |step: usize| Number(odd[(i + step) % odd.len()]);
                let aggregate = Aggregate { count: u64::MAX >> 1, mean: at(0), min: at(1), max: at(2), stddev: at(3) };
                let start = START + WIDTH * Time::try_from(i).unwrap();
                let bucket = Bucket { aggregate: Some(aggregate), ..bucket("srv-001", start, None) };
                let score = Score { expected: at(4), sigma: at(5), z_score: at(6) };
                Verdict { bucket, score: Some(score), state: State::Normal }
            })
            .collect();
        store.history.commit(&batch(verdicts.iter().copied().map(appear).collect())).unwrap();
        let mut read = Vec::new();
        store.history.verdicts(Time::MIN, Time::MAX, &mut |verdict| read.push(verdict)).unwrap();
        read.sort_unstable_by_key(|verdict| verdict.bucket.start);
        // `Number` is equal by its bits.
        assert_eq!(read, verdicts);
    });
}

#[test]
fn training_rows_leave_out_the_missing_and_mark_the_anomalous() {
    on_each_store(|store| {
        let unscored = State::Unscored(Unscored::NoModel);
        let first = Verdict { bucket: bucket("srv-002", START + WIDTH, Some(50.0)), score: None, state: unscored };
        let changes = vec![
            appear(scored("srv-001", START, 95.3)),
            appear(Verdict { bucket: bucket("srv-001", START + WIDTH, None), score: None, state: State::Missing }),
            appear(scored("srv-001", START + 2 * WIDTH, 66.0)),
            appear(scored("srv-002", START, 64.0)),
            appear(first),
        ];
        store.history.commit(&batch(changes)).unwrap();
        let mut ids: Vec<SeriesId> = vec![name("srv-002").id(), name("srv-001").id(), name("srv-009").id()];
        let rows = store.history.training_rows(&ids, START, START + 2 * WIDTH).unwrap();
        ids.sort_unstable();
        let mut expected = vec![
            (name("srv-001").id(), START, 95.3, true),
            (name("srv-002").id(), START, 64.0, false),
            (name("srv-002").id(), START + WIDTH, 50.0, false),
        ];
        expected.sort_by_key(|row| (row.0, row.1));
        let rows: Vec<_> = rows.into_iter().map(|row| (row.series, row.start, row.mean, row.anomalous)).collect();
        assert_eq!(rows, expected);
    });
}

#[test]
fn training_rows_come_in_the_order_of_unsigned_ids() {
    on_each_store(|store| {
        let entities: Vec<String> = (0..16).map(|i| format!("srv-{i:03}")).collect();
        let verdicts = entities.iter().map(|entity| appear(scored(entity, START, 66.0)));
        let all = entities.iter().map(|entity| series(entity)).collect();
        store.history.commit(&Batch { series: all, ..batch(verdicts.collect()) }).unwrap();
        let mut ids: Vec<SeriesId> = entities.iter().map(|entity| name(entity).id()).collect();
        let rows = store.history.training_rows(&ids, START, START + WIDTH).unwrap();
        ids.sort_unstable();
        // The columns are signed.
        assert!(ids[0].0 < 1 << 63 && ids[15].0 > 1 << 63);
        assert_eq!(rows.into_iter().map(|row| row.series).collect::<Vec<_>>(), ids);
    });
}

#[test]
fn groups_of_training_rows_come_in_their_order_until_enough_is_said() {
    on_each_store(|store| {
        let entities: Vec<String> = (0..16).map(|i| format!("srv-{i:03}")).collect();
        let all = entities.iter().map(|entity| series(entity)).collect();
        let verdicts = (0..4).flat_map(|i| entities.iter().map(move |entity| appear(scored(entity, START + i * WIDTH, 60.0 + i as f64))));
        store.history.commit(&Batch { series: all, ..batch(verdicts.collect()) }).unwrap();
        // A later commit: where rows lie as they came, this one lies behind those of all others.
        store.history.commit(&batch(vec![appear(scored("srv-007", START - WIDTH, 59.0))])).unwrap();
        let ids: Vec<SeriesId> = entities.iter().map(|entity| name(entity).id()).collect();
        let groups: Vec<Vec<SeriesId>> = ids.chunks(5).map(<[SeriesId]>::to_vec).collect();
        let (from, until) = (START - WIDTH, START + 3 * WIDTH);
        let expected: Vec<Vec<TrainingRow>> = groups.iter().map(|group| store.history.training_rows(group, from, until).unwrap()).collect();
        assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [15, 16, 15, 3]);
        for enough in 1..=4 {
            let mut taken = Vec::new();
            let mut take = |rows| {
                taken.push(rows);
                if taken.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            store.history.training_groups(&groups, from, until, &mut take).unwrap();
            assert_eq!(taken, expected[..enough]);
        }
    });
}

#[test]
fn a_hostile_name_stops_no_commit() {
    on_each_store(|store| {
        let mut hostile = full_batch();
        hostile.series.push(series("a\0b'; DROP TABLE series; --"));
        hostile.dead_letters[0].detail = "key '\0' is no metric".into();
        let entity = Arc::make_mut(&mut hostile.raw[0].events[0].entity);
        entity.entity_id = "nul\0".into();
        entity.labels.insert("zone\0".into(), "\0".into());
        store.history.commit(&hostile).unwrap();
        assert_eq!(store.history.series().unwrap().len(), 3);
    });
}

#[test]
fn random_batches_leave_what_an_oracle_says() {
    for seed in 1..=6 {
        on_each_store(|store| oracle::compare(store, seed));
    }
}

#[test]
fn a_crash_between_staging_and_commit_leaves_nothing() {
    let Some(mut store) = postgres_store() else { return };
    store.history.commit(&batch(vec![])).unwrap();
    let before = store.dump();
    let mut blocker = store.client();
    let mut hold = blocker.transaction().unwrap();
    // Progress is written last: the commit waits for this lock with all its rows staged and moved.
    hold.batch_execute("LOCK TABLE progress IN ACCESS EXCLUSIVE MODE").unwrap();
    let killer = store.client();
    let crash = std::thread::spawn(move || stores::kill_waiting(killer));
    let error = store.history.commit(&full_batch()).unwrap_err();
    crash.join().unwrap();
    hold.rollback().unwrap();
    assert!(matches!(error, HistoryError::Operation { transient: true, .. }), "{error}");
    assert_eq!(store.dump(), before);
    // The next call connects again.
    store.history.commit(&full_batch()).unwrap();
    assert_eq!(statuses(&mut store), [("srv-001".to_string(), "open".to_string())]);
}

#[test]
fn an_embedded_commit_that_fails_late_leaves_nothing() {
    let mut store = stores::embedded_store();
    let before = store.dump();
    store.execute("ALTER TABLE progress RENAME TO gone");
    assert!(store.history.commit(&full_batch()).is_err());
    store.execute("ALTER TABLE gone RENAME TO progress");
    assert_eq!(store.dump(), before);
    store.history.commit(&full_batch()).unwrap();
}

#[test]
fn a_schema_of_its_own_is_created_and_kept_to() {
    let Some(store) = postgres_store() else { return };
    let mut night = open(&store.url_with("schema=night")).unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    assert_eq!(night.migrate().unwrap().len(), std::fs::read_dir(folder).unwrap().count());
    night.commit(&full_batch()).unwrap();
    assert_eq!(night.series().unwrap().len(), 2);
    assert!(!store.dump().iter().any(|row| row.starts_with("buckets")));
}
