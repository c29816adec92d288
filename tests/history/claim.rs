//! The right to commit: one process at a time has it, and one that has lost it stores nothing.

use super::stores::{on_each_store, postgres_store};
use super::{START, WIDTH, appear, batch, scored};
use tidewatch::history::HistoryError;
use tidewatch::history::rename::{RENAMES, rename};
use tidewatch::history::statement::{Shape, Statement};

const SOURCE: &str = "simulate:dev?seed=7";

#[test]
fn a_second_process_cannot_claim_what_the_first_still_watches() {
    on_each_store(|store| {
        let mut second = store.again();
        assert!(store.history.claim(SOURCE, WIDTH).unwrap(), "{}", store.kind);
        assert!(store.history.claim(SOURCE, WIDTH).unwrap(), "claiming again is no change");
        assert!(!second.claim(SOURCE, WIDTH).unwrap(), "{}", store.kind);
        store.history.commit(&batch(vec![appear(scored("srv-001", START, 90.0))])).unwrap();
        store.history = store.again();
        // A server notices a moment later that a connection has gone.
        let free = (0..50).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            second.claim(SOURCE, WIDTH).unwrap()
        });
        assert!(free, "the first has let go, {}", store.kind);
    });
}

#[test]
fn a_process_that_was_taken_over_stores_nothing_more() {
    on_each_store(|store| {
        assert!(store.history.claim(SOURCE, WIDTH).unwrap());
        store.execute("UPDATE sources SET writer = 'somebody else'");
        let error = store.history.commit(&batch(vec![appear(scored("srv-001", START, 90.0))])).unwrap_err();
        assert!(matches!(error, HistoryError::Operation { transient: false, .. }), "{error}");
        assert!(error.to_string().contains("taken over"), "{error}");
        assert!(store.history.verdict(&super::name("srv-001"), START).unwrap().is_none(), "{}", store.kind);
    });
}

#[test]
fn a_source_that_goes_on_by_another_name_takes_everything_along() {
    on_each_store(|store| {
        let sql = if store.kind == "embedded" {
            "SELECT tables.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns WHERE tables.type = 'table' AND columns.name = 'source'"
        } else {
            "SELECT CAST(columns.table_name AS TEXT) FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
             WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND column_name = 'source'"
        };
        let rows = store.history.select(&Statement { sql, values: Vec::new() }, &[Shape::Text]).unwrap();
        let mut tables: Vec<String> = rows.into_iter().filter_map(|mut columns| columns.text()).collect();
        let mut renamed: Vec<String> = RENAMES.iter().filter_map(|sql| sql.split(' ').nth(1)).map(str::to_owned).collect();
        tables.sort_unstable();
        renamed.sort_unstable();
        assert_eq!(renamed, tables, "{}", store.kind);
        assert!(store.history.claim(SOURCE, WIDTH).unwrap());
        store.history.commit(&batch(vec![appear(scored("srv-001", START, 90.0))])).unwrap();
        let position = store.history.position(SOURCE, START).unwrap();
        rename(&mut *store.history, SOURCE, "another").unwrap();
        assert_eq!(store.history.sources().unwrap(), ["another"]);
        assert!(store.history.claim("another", WIDTH).unwrap());
        assert_eq!(store.history.position("another", START).unwrap(), position);
        // Failed once: the lock was that of the old name.
        assert!(!store.again().claim("another", WIDTH).unwrap(), "{}", store.kind);
    });
}

#[test]
fn a_process_whose_connection_broke_waits_until_it_may_commit_again() {
    let Some(mut store) = postgres_store() else { return };
    assert!(store.history.claim(SOURCE, WIDTH).unwrap());
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    store.execute(terminate);
    let batch = batch(vec![appear(scored("srv-001", START, 90.0))]);
    // The first operation may find out that the connection is gone; then it is opened again, and the claim with it.
    let mut tries = 0;
    while let Err(error) = store.history.commit(&batch) {
        assert!(matches!(error, HistoryError::Operation { transient: true, .. }), "{error}");
        tries += 1;
        assert!(tries < 50, "{error}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(!store.again().claim(SOURCE, WIDTH).unwrap(), "it holds the lock again");
}

/// Failed once: the session of a frozen process stayed, and its lock with it.
#[test]
fn a_process_that_was_heard_of_and_falls_silent_loses_its_right_unless_it_rests() {
    let (Some(mut silent), Some(mut resting)) = (postgres_store(), postgres_store()) else { return };
    for store in [&mut silent, &mut resting] {
        assert!(store.history.claim(SOURCE, WIDTH).unwrap());
        store.history.stay().unwrap();
        store.history.stay().unwrap();
    }
    resting.history.rest().unwrap();
    let mut second = silent.again();
    assert!(!second.claim(SOURCE, WIDTH).unwrap(), "it was heard of a moment ago");
    let taken = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        second.claim(SOURCE, WIDTH).unwrap()
    });
    assert!(taken, "five seconds are over");
    // The first operation may find out no more than that the connection is gone.
    let errors: Vec<HistoryError> = (0..2).filter_map(|_| silent.history.stay().err()).collect();
    assert!(errors.iter().any(|error| error.to_string().contains("taken over")), "{errors:?}");
    let error = silent.history.commit(&batch(vec![appear(scored("srv-001", START, 90.0))])).unwrap_err();
    assert!(error.to_string().contains("taken over"), "{error}");
    assert!(!resting.again().claim(SOURCE, WIDTH).unwrap(), "who rests is not asked");
}
