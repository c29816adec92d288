//! How promises were kept, as both stores hold it.

use crate::stores::on_each_store;
use crate::{START, batch, name};
use dataflows::{Promise, Tally, Time, Watch};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewatch::history::Batch;
use tidewatch::history::calibration::{Drifting, breaks, drifting};

const DAY: Time = 86_400_000;
/// The day of [`START`].
const TODAY: Time = START - START % DAY;

/// A batch that says how the promise of a series was kept on a day.
fn said(entity: &str, day: Time, scored: u32, drifting_since: Option<Time>, broken_at: Option<Time>) -> Batch {
    let promise = Promise { mean_square: 1.0, high: 1.2, beyond: 0.05, alarms: 0.001, autocorrelation: 0.3 };
    let tally = Tally { day, scored, alarms: 2, beyond: 7, squares: 40_000_000, products: -3 };
    let watch = Watch { tally, square: 0.1 + 0.2, last: 1.0, promise: Some(Arc::new(promise)), drifting_since, broken_at };
    Batch { calibration: BTreeMap::from([((day, name(entity).id()), watch)]), ..batch(vec![]) }
}

#[test]
fn a_day_is_written_over_and_never_added_to() {
    on_each_store(|store| {
        store.history.commit(&said("srv-001", TODAY, 100, None, None)).unwrap();
        let once = store.dump();
        assert_eq!(once.iter().filter(|row| row.starts_with("calibration") && row.contains("40000000")).count(), 1, "{once:#?}");
        store.history.commit(&said("srv-001", TODAY, 100, None, None)).unwrap();
        assert_eq!(store.dump(), once);
        store.history.commit(&said("srv-001", TODAY, 112, None, None)).unwrap();
        let rows: Vec<String> = store.dump().into_iter().filter(|row| row.starts_with("calibration")).collect();
        assert!(rows.len() == 1 && rows[0].contains("112") && rows[0].contains("0.30000000000000004"), "{rows:?}");
    });
}

#[test]
fn a_series_drifts_by_its_newest_day_and_was_broken_by_any() {
    on_each_store(|store| {
        let history = &mut *store.history;
        assert_eq!(drifting(history).unwrap(), []);
        let (noon, later) = (TODAY + DAY / 2, TODAY + 3 * DAY / 4);
        history.commit(&said("srv-001", TODAY, 288, Some(noon), Some(noon))).unwrap();
        history.commit(&said("srv-002", TODAY, 288, Some(later), Some(later))).unwrap();
        history.commit(&said("srv-001", TODAY + DAY, 20, None, Some(noon))).unwrap();
        assert_eq!(drifting(history).unwrap(), [Drifting { name: name("srv-002"), since: later }]);
        let all = breaks(history, TODAY - 14 * DAY, TODAY + 2 * DAY).unwrap();
        assert_eq!((all.len(), all[&name("srv-001").id()], all[&name("srv-002").id()]), (2, noon, later));
        assert_eq!(breaks(history, noon + 1, TODAY + 2 * DAY).unwrap().len(), 1);
        assert_eq!(breaks(history, TODAY - 14 * DAY, noon).unwrap().len(), 0, "what training must not know yet");
        // Nobody has heard of srv-002 for days: it is silent, and no model is to blame.
        history.commit(&said("srv-001", TODAY + 4 * DAY, 20, None, None)).unwrap();
        assert_eq!(drifting(history).unwrap(), []);
        history.commit(&said("srv-001", TODAY + 500 * DAY, 20, None, None)).unwrap();
        assert_eq!(store.dump().iter().filter(|row| row.starts_with("calibration")).count(), 1, "what is too old is removed");
    });
}
