//! How fast buckets go in and come out, on demand.

use crate::stores::on_each_store;
use crate::{START, WIDTH, appear, batch, scored, series};
use dataflows::Time;
use tidewatch::history::Batch;

#[test]
#[ignore = "a measurement: cargo test --release --test history -- --ignored --nocapture"]
fn buckets_per_second() {
    on_each_store(|store| {
        let entities: Vec<String> = (0..500).map(|i| format!("srv-{i:03}")).collect();
        let all = entities.iter().map(|entity| series(entity)).collect();
        store.history.commit(&Batch { series: all, ..batch(vec![]) }).unwrap();
        let batches: Vec<Batch> = (0..20)
            .map(|n| {
                let starts = (0..100).map(|i| START + WIDTH * (100 * n + i));
                let at = |start| entities.iter().map(move |entity| appear(scored(entity, start, 66.0)));
                Batch { series: vec![], ..batch(starts.flat_map(at).collect()) }
            })
            .collect();
        for pass in ["inserted", "replaced"] {
            let began = std::time::Instant::now();
            batches.iter().for_each(|batch| store.history.commit(batch).unwrap());
            let seconds = began.elapsed().as_secs_f64();
            eprintln!("{}: a million buckets {pass} in {seconds:.2} s, {:.0} a second", store.kind, 1e6 / seconds);
        }
        let began = std::time::Instant::now();
        let mut n = 0;
        store.history.verdicts(Time::MIN, Time::MAX, &mut |_| n += 1).unwrap();
        eprintln!("{}: {n} verdicts read in {:.2} s", store.kind, began.elapsed().as_secs_f64());
    });
}
