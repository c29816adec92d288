//! Buckets by the hour, of series and of entities: what a store says, and what two loops over its buckets say.

use crate::stores::{Store, on_each_store, postgres_store};
use crate::{START, WIDTH, appear, batch, bucket, scored, series};
use dataflows::{MetricId, SeriesId, State, Time, Verdict};
use std::collections::BTreeMap;
use std::io::Write;
use tidewatch::history::statement::{Columns, Shape, Statement};
use tidewatch::history::{Batch, Change, History, Series};
use tidewatch::series::SeriesName;

const HOUR: Time = 3_600_000;
const ENTITIES: [&str; 3] = ["srv-001", "srv-002", "srv-003"];
const METRICS: [&str; 2] = ["cpu_usage_percent", "memory_usage_percent"];

/// Buckets, samples, mean, min, max, the largest |z|, anomalous and missing buckets.
type Hour = (i64, i64, Option<f64>, Option<f64>, Option<f64>, Option<f64>, i64, i64);

/// Series, buckets, the largest |z|, anomalous and missing buckets.
type Entity = (i64, i64, Option<f64>, i64, i64);

/// Both roll-ups: hours by series, and by entity.
type RollUps = (BTreeMap<(SeriesId, Time), Hour>, BTreeMap<(Time, String), Entity>);

fn names() -> impl Iterator<Item = SeriesName> {
    ENTITIES.into_iter().flat_map(|entity| METRICS.map(|metric| SeriesName::new("server", entity, metric)))
}

/// A verdict of any of the series: half an hour's buckets before a full hour, and on.
fn verdict(name: &SeriesName, i: Time, mean: f64) -> Verdict {
    let mut verdict = scored(&name.entity_id, START + i * WIDTH, mean);
    verdict.bucket.metric = MetricId::of(&name.metric);
    verdict
}

fn missing(name: &SeriesName, i: Time) -> Verdict {
    let bucket = bucket(&name.entity_id, START + i * WIDTH, None);
    Verdict { bucket: dataflows::Bucket { metric: MetricId::of(&name.metric), ..bucket }, score: None, state: State::Missing }
}

fn all_series() -> Vec<Series> {
    names().map(|name| Series { name: name.clone(), ..series(&name.entity_id) }).collect()
}

fn commit(store: &mut Store, changes: Vec<Change>) {
    store.history.commit(&Batch { series: all_series(), ..batch(changes) }).unwrap();
}

fn largest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

/// Both roll-ups, from the buckets as they are stored.
fn by_hand(history: &mut dyn History) -> RollUps {
    let mut verdicts = Vec::new();
    history.verdicts(Time::MIN, Time::MAX, &mut |verdict| verdicts.push(verdict)).unwrap();
    verdicts.sort();
    let (mut hours, mut entities) = (BTreeMap::<_, Hour>::new(), BTreeMap::<_, Entity>::new());
    for verdict in verdicts {
        let hour = hours.entry((verdict.bucket.series(), verdict.bucket.start.div_euclid(HOUR) * HOUR)).or_default();
        hour.0 += 1;
        if let Some(aggregate) = verdict.bucket.aggregate {
            let count = aggregate.count.cast_signed();
            hour.2 = Some((hour.2.unwrap_or(0.0) * hour.1 as f64 + aggregate.mean.0 * count as f64) / (hour.1 + count) as f64);
            hour.1 += count;
            hour.3 = hour.3.into_iter().chain([aggregate.min.0]).reduce(f64::min);
            hour.4 = largest(hour.4, Some(aggregate.max.0));
        }
        hour.5 = largest(hour.5, verdict.score.map(|score| score.z_score.0.abs()));
        hour.6 += i64::from(verdict.state == State::Anomalous);
        hour.7 += i64::from(verdict.state == State::Missing);
    }
    for name in names() {
        for ((_, start), hour) in hours.iter().filter(|((series, _), _)| *series == name.id()) {
            let entity = entities.entry((*start, name.entity_id.clone())).or_default();
            entity.0 += 1;
            entity.1 += hour.0;
            entity.2 = largest(entity.2, hour.5);
            entity.3 += hour.6;
            entity.4 += hour.7;
        }
    }
    (hours, entities)
}

/// The store's own. The mean may differ in its last bits, as the order of a sum does.
fn stored(history: &mut dyn History) -> RollUps {
    use Shape::{Integer, Number, Text, Time as T};
    let sql = "SELECT series_id, hour, buckets, CAST(count AS BIGINT), mean, min, max, z_score_max, CAST(anomalous AS BIGINT), CAST(missing AS BIGINT)
        FROM buckets_hourly";
    let shapes = [Integer, T, Integer, Integer, Number, Number, Number, Number, Integer, Integer];
    let hour = |mut row: Columns| {
        let key = (SeriesId(row.integer().cast_unsigned()), row.time().unwrap());
        let (buckets, count) = (row.integer(), row.integer());
        let (mean, min, max, z_score) = (row.number(), row.number(), row.number(), row.number());
        (key, (buckets, count, mean, min, max, z_score, row.integer(), row.integer()))
    };
    let hours = history.select(&Statement { sql, values: Vec::new() }, &shapes).unwrap().into_iter().map(hour).collect();
    let sql = "SELECT hour, entity_id, series, buckets, z_score_max, anomalous, missing FROM entities_hourly WHERE entity_type = 'server'";
    let entity = |mut row: Columns| {
        let key = (row.time().unwrap(), row.text().unwrap());
        (key, (row.integer(), row.integer(), row.number(), row.integer(), row.integer()))
    };
    let shapes = [T, Text, Integer, Integer, Number, Integer, Integer];
    (hours, history.select(&Statement { sql, values: Vec::new() }, &shapes).unwrap().into_iter().map(entity).collect())
}

fn compare(store: &mut Store, rows: (usize, usize)) {
    let round = |mut hours: BTreeMap<(SeriesId, Time), Hour>| {
        hours.values_mut().for_each(|hour| hour.2 = hour.2.map(|mean| (mean * 1e9).round() / 1e9));
        hours
    };
    let (hours, entities) = by_hand(&mut *store.history);
    let known = stored(&mut *store.history);
    assert_eq!((round(known.0), known.1), (round(hours.clone()), entities.clone()), "{}", store.kind);
    assert_eq!((hours.len(), entities.len()), rows, "{}", store.kind);
}

#[test]
fn hours_are_what_their_buckets_come_to_also_after_late_samples() {
    on_each_store(|store| {
        // Six buckets of one hour, twelve of the next and two of a third.
        let mean = |i: Time, name: &SeriesName| 60.0 + (i * 7 % 11) as f64 + name.metric.len() as f64 / 7.0;
        let all = names().flat_map(|name| (0..20).map(move |i| appear(verdict(&name, i, mean(i, &name)))).collect::<Vec<_>>());
        commit(store, all.collect());
        compare(store, (18, 9));
        // The next bucket alone, as a run that is live says it.
        commit(store, names().map(|name| appear(verdict(&name, 20, 64.0))).collect());
        compare(store, (18, 9));
        let first: Vec<SeriesName> = names().collect();
        let change =
            |name: &SeriesName, i: Time, new: Option<Verdict>| Change { old: Some(Box::new(verdict(name, i, mean(i, name)))), new };
        // A spike appears and goes again, a bucket is found to be missing, and another is gone.
        commit(store, vec![change(&first[0], 3, Some(verdict(&first[0], 3, 99.0))), change(&first[1], 8, Some(missing(&first[1], 8)))]);
        compare(store, (18, 9));
        commit(store, vec![change(&first[0], 3, Some(verdict(&first[0], 3, 61.0))), change(&first[1], 9, None)]);
        compare(store, (18, 9));
        // All of an hour goes, of one series and then of all series of an entity.
        commit(store, (0..6).map(|i| change(&first[0], i, None)).collect());
        compare(store, (17, 9));
        commit(store, (18..21).flat_map(|i| [change(&first[4], i, None), change(&first[5], i, None)]).collect());
        compare(store, (15, 8));
    });
}

#[test]
fn who_removes_old_buckets_removes_their_hours() {
    on_each_store(|store| {
        commit(store, names().flat_map(|name| (0..20).map(move |i| appear(verdict(&name, i, 64.0))).collect::<Vec<_>>()).collect());
        let sql = if store.kind == "postgres" { "'2026-01-24T13:00:00Z'" } else { "1769259600000" };
        store.execute(&format!("DELETE FROM buckets WHERE bucket_start < {sql}"));
        compare(store, (12, 6));
    });
}

/// Two sources may tell of different series of one entity: each once would have overlooked what the other had not committed yet.
#[test]
fn two_who_commit_at_once_leave_the_sums_of_both() {
    let Some(mut store) = postgres_store() else { return };
    commit(&mut store, vec![]);
    let (mut blocker, mut other) = (store.client(), store.again());
    let mut hold = blocker.transaction().unwrap();
    let one: Vec<Change> = names().step_by(2).map(|name| appear(verdict(&name, 0, 64.0))).collect();
    let two: Vec<Change> = names().skip(1).step_by(2).map(|name| appear(verdict(&name, 0, 99.0))).collect();
    // Both have written their buckets when the first of them may end.
    hold.batch_execute("LOCK TABLE progress IN ACCESS EXCLUSIVE MODE").unwrap();
    let elsewhere = Batch { source: "file:other".into(), series: vec![], ..batch(two) };
    std::thread::scope(|scope| {
        let committed = scope.spawn(|| other.commit(&elsewhere).unwrap());
        let committed_here = scope.spawn(|| commit(&mut store, one));
        std::thread::sleep(std::time::Duration::from_millis(500));
        hold.rollback().unwrap();
        committed.join().unwrap();
        committed_here.join().unwrap();
    });
    compare(&mut store, (6, 3));
}

/// ANALYZE that comes while a backfill is under way, or was rolled back, sees pages with next to nothing in them. The server then took any index for as good
/// as another, read the whole table for each hour of each series, and a commit that was cut off after a minute left it just as wise as before, for ever.
#[test]
fn hours_are_summed_by_their_keys_whatever_the_statistics_say() {
    const BUCKETS: i64 = 10_000;
    let Some(mut store) = postgres_store() else { return };
    commit(&mut store, names().map(|name| appear(verdict(&name, 0, 64.0))).collect());
    let mut client = store.client();
    if client.query_one("SELECT to_regproc('sum_hours') IS NULL", &[]).unwrap().get(0) {
        // Not captured, as `println!` would be.
        return writeln!(std::io::stderr(), "skipped: here TimescaleDB sums hours").unwrap();
    }
    let insert = "INSERT INTO buckets SELECT series_id, '2020-01-01T00:00:00Z'::timestamptz + i * INTERVAL '5 minutes', 1, 1, 1, 1, 0, NULL, NULL, NULL, 'normal'
        FROM series CROSS JOIN generate_series(1, $1::bigint) AS i";
    let mut interrupted = client.transaction().unwrap();
    interrupted.execute(insert, &[&BUCKETS]).unwrap();
    interrupted.rollback().unwrap();
    client.batch_execute("SET jit = off; SET random_page_cost = 1.1; ANALYZE buckets; ANALYZE hours; ANALYZE series").unwrap();
    let pages = client.query_one("SELECT relpages FROM pg_class WHERE oid = 'buckets'::regclass AND reltuples < 10", &[]).unwrap();
    assert!(pages.get::<_, i32>(0) > 500);
    let mut backfill = client.transaction().unwrap();
    let rows = backfill.execute(insert, &[&BUCKETS]).unwrap();
    let blocks: i64 = backfill
        .query_one(
            "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint FROM pg_class WHERE relnamespace = current_schema()::regnamespace",
            &[],
        )
        .unwrap()
        .get(0);
    assert!(blocks.cast_unsigned() < 20 * rows, "{blocks} blocks for {rows} rows");
}
