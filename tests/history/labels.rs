//! What people say of incidents, and what the page asks, in both stores.

use super::incidents::{episode, told};
use super::stores::{embedded_store, on_each_store};
use super::{START, WIDTH, appear, batch, name, scored, series};
use dataflows::{IncidentId, Provisional, Severity, Stage, State, Time, Verdict};
use tidewatch::history::label::{self, LABELS, Lessons};
use tidewatch::history::{Batch, Change, History, TrainingRow, view};
use tidewatch::models;
use tidewatch::train::{Request, train};

fn id() -> IncidentId {
    IncidentId::of(&episode(Stage::Open, 1).id)
}

/// What the trainer reads of `srv-001`, as starts and whether they are masked as anomalous.
fn training(history: &mut dyn History) -> Vec<(Time, bool)> {
    let (from, until) = (START - WIDTH, START + 3 * WIDTH);
    let mut rows: Vec<TrainingRow> = history.training_rows(&[name("srv-001").id()], from, until).unwrap();
    Lessons::of(history, from, until).unwrap().teach(&mut rows);
    rows.into_iter().map(|row| ((row.start - START) / WIDTH, row.anomalous)).collect()
}

#[test]
fn a_label_takes_the_place_of_another_and_can_be_taken_back() {
    on_each_store(|store| {
        let history = &mut *store.history;
        assert!(label::all(history).unwrap().is_empty());
        for word in LABELS {
            label::set(history, id(), word).unwrap();
            assert_eq!(label::all(history).unwrap(), [(id().0, word.to_string())].into());
        }
        assert!(label::set(history, id(), "splendid").is_err(), "there are two words");
        label::clear(history, id()).unwrap();
        assert!(label::all(history).unwrap().is_empty());
    });
}

#[test]
fn the_trainer_learns_nothing_from_a_useful_incident_and_all_of_one_that_was_not() {
    on_each_store(|store| {
        let history = &mut *store.history;
        history.commit(&told(Stage::Settled, 1)).unwrap();
        history.commit(&batch(vec![appear(scored("srv-001", START + WIDTH, 66.0))])).unwrap();
        assert_eq!(training(history), [(0, true), (1, false)], "nobody has said anything");
        label::set(history, id(), "useful").unwrap();
        assert_eq!(training(history), [(1, false)]);
        label::set(history, id(), "not_useful").unwrap();
        assert_eq!(training(history), [(0, false), (1, false)]);
        let gone = Batch { episodes_withdrawn: vec![episode(Stage::Settled, 1).id], ..batch(vec![]) };
        history.commit(&gone).unwrap();
        assert_eq!(training(history), [(0, true), (1, false)], "a withdrawn episode says nothing");
    });
}

#[test]
fn the_next_training_leaves_the_buckets_of_a_useful_incident_out() {
    let mut store = embedded_store();
    let history = &mut *store.history;
    history.commit(&told(Stage::Settled, 1)).unwrap();
    let before = (1..=576).map(|i| appear(scored("srv-001", START - i * WIDTH, 65.0 + f64::from(i32::try_from(i % 7).unwrap()) / 10.0)));
    history.commit(&batch(before.collect())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut models = models::open(&format!("embedded:{}", folder.path().join("models.db").display())).unwrap();
    let mut buckets = |history: &mut dyn History| {
        train(history, &mut *models, &Request::new(START + WIDTH, START), &mut |_| ()).unwrap();
        models.get(&name("srv-001")).unwrap().unwrap().provenance.buckets
    };
    assert_eq!(buckets(history), 577);
    label::set(history, id(), "useful").unwrap();
    assert_eq!(buckets(history), 576);
}

#[test]
fn the_page_finds_cells_states_places_incidents_and_episodes() {
    on_each_store(|store| {
        let history = &mut *store.history;
        history.commit(&told(Stage::Open, 1)).unwrap();
        let missing = Verdict { score: None, state: State::Missing, ..scored("srv-002", START, 0.0) };
        history.commit(&batch(vec![appear(Verdict { bucket: super::bucket("srv-002", START, None), ..missing })])).unwrap();
        let mut cells = view::cells(history, START, START + WIDTH).unwrap();
        cells.sort_by_key(|cell| cell.missing);
        assert_eq!(
            cells.iter().map(|cell| (cell.series, cell.missing)).collect::<Vec<_>>(),
            [(name("srv-001").id(), false), (name("srv-002").id(), true)]
        );
        assert!((cells[0].z_score.unwrap() - 4.3).abs() < 1e-9 && !cells[0].normal && !cells[1].normal);
        assert!(view::cells(history, START + WIDTH, START + 2 * WIDTH).unwrap().is_empty());
        assert_eq!(view::states(history, START).unwrap(), [("anomalous".to_string(), 1), ("missing".to_string(), 1)].into());
        let server = |entity: &str| ("server".to_string(), entity.to_string());
        assert_eq!(view::places(history).unwrap(), [(server("srv-001"), ("zone-1".to_string(), "rack-A".to_string()))].into());
        let found = view::incident(history, id()).unwrap().unwrap();
        assert_eq!((found.id, found.status.as_str(), found.opened), (id(), "open", START));
        assert!(view::incident(history, IncidentId(1)).unwrap().is_none());
        let [one] = &view::episodes(history, id()).unwrap()[..] else { panic!("one episode") };
        assert_eq!((&one.name, one.status.as_str(), one.anomalous, one.revision), (&name("srv-001"), "open", 1, 1));
        assert_eq!(one.peak.map(|(start, numbers)| (start, numbers[0], numbers[1])), Some((START, 95.3, 65.2)));
    });
}

#[test]
fn the_page_finds_anomalies_whatever_became_of_them() {
    on_each_store(|store| {
        let history = &mut *store.history;
        history.commit(&told(Stage::Open, 1)).unwrap();
        let verdict = scored("srv-001", START + WIDTH, 95.3);
        let provisional = Provisional {
            entity: verdict.bucket.entity,
            metric: verdict.bucket.metric,
            start: verdict.bucket.start,
            value: verdict.bucket.aggregate.unwrap().mean,
            score: verdict.score.unwrap(),
            severity: Severity::Medium,
        };
        history.commit(&Batch { provisionals: vec![provisional], series: vec![series("srv-001")], ..batch(vec![]) }).unwrap();
        let found = view::provisional(history, START).unwrap();
        assert_eq!(found.iter().map(|row| (row.start, row.details[0])).collect::<Vec<_>>(), [(START + WIDTH, Some(95.3))]);
        assert!(view::withdrawn(history, id(), START, START + WIDTH).unwrap().is_empty());

        let calm = Change { old: Some(Box::new(scored("srv-001", START, 95.3))), new: Some(scored("srv-001", START, 66.0)) };
        history.commit(&batch(vec![calm])).unwrap();
        let rows = view::anomalies(history, &name("srv-001"), START, START + 2 * WIDTH).unwrap();
        let said: Vec<_> = rows.iter().map(|row| (row.start, row.status.as_str(), row.severity.as_str(), row.revision)).collect();
        assert_eq!(said[1], (START + WIDTH, "provisional", Severity::Medium.as_str(), 0));
        assert_eq!((said[0].0, said[0].1, said[0].3), (START, "withdrawn", 2));
        let [taken] = &view::withdrawn(history, id(), START, START + WIDTH).unwrap()[..] else { panic!("one is withdrawn") };
        assert!(taken.withdrawn_reason.as_deref().is_some_and(|reason| !reason.is_empty()), "{taken:?}");
    });
}
