//! Episodes, incidents, placements and silences, in both stores.

use super::stores::on_each_store;
use super::{START, WIDTH, appear, batch, name, scored};
use dataflows::{
    Digest, Episode, EpisodeId, Incident, IncidentId, MetricId, Peak, Placement, Provisional, Scope, Severity, Stage, State, Time, Verdict,
};
use tidewatch::history::course::Course;
use tidewatch::history::incident::{self, EntityPlacement, NamedIncident, Withdrawn};
use tidewatch::history::silence::{self, SilenceRow};
use tidewatch::history::{Batch, Change, History, unsettled};

pub const SOURCE: &str = "simulate:dev?seed=7";

fn placement(entity: &str) -> Placement {
    let (zone, rack) = ("zone-1".to_string(), "rack-A".to_string());
    Placement { since: START - WIDTH, entity: name(entity).entity(), entity_type: "server".into(), zone, rack }
}

/// An episode of `srv-001` over one bucket.
pub fn episode(stage: Stage, anomalous: u32) -> Episode {
    let entity = name("srv-001").entity();
    let verdict = scored("srv-001", START, 95.3);
    let peak = Peak { start: START, mean: verdict.bucket.aggregate.unwrap().mean, score: verdict.score.unwrap() };
    let id = EpisodeId { opened: START, entity, metric: MetricId::of("cpu_usage_percent") };
    Episode { id, confirmed: START, last: START, stage, anomalous, missing: 0, severity: Severity::High, peak: Some(peak) }
}

pub fn incident(episode: &Episode) -> NamedIncident {
    let incident = Incident {
        id: IncidentId::of(&episode.id),
        scope: Scope::Entity,
        first: (episode.confirmed, episode.id),
        place: placement("srv-001"),
        opened: START,
        last: START,
        stage: episode.stage,
        severity: episode.severity,
        peak: episode.peak.map(|peak| (episode.id.entity, episode.id.metric, peak)),
        entities: 1,
        peers: 1,
        metrics: vec![episode.id.metric],
        anomalous: episode.anomalous,
        missing: 0,
        episodes: vec![episode.id],
    };
    NamedIncident { incident, entity_id: "srv-001".into(), metrics: vec!["cpu_usage_percent".into()], peak: Some(name("srv-001")) }
}

pub fn told(stage: Stage, anomalous: u32) -> Batch {
    let episode = episode(stage, anomalous);
    Batch {
        placements: vec![EntityPlacement { entity_id: "srv-001".into(), placement: placement("srv-001") }],
        episodes: vec![(episode, IncidentId::of(&episode.id))],
        incidents: vec![incident(&episode)],
        ..batch(vec![appear(scored("srv-001", START, 95.3))])
    }
}

fn statuses(history: &mut dyn History) -> Vec<(String, i64)> {
    let rows = incident::incidents(history, START, START + WIDTH).unwrap();
    rows.into_iter().map(|row| (row.status, row.revision)).collect()
}

fn digest(history: &mut dyn History) -> String {
    let mut digest = Digest::default();
    incident::digest(history, Time::MIN, Time::MAX, &mut digest).unwrap();
    digest.to_string()
}

/// Failed once: of what went on after the bucket that it began with nothing was told, and of a sensor that was stuck not that it was.
#[test]
fn the_course_of_an_incident_says_how_far_it_went_and_since_when_nothing_moved() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let course = |history: &mut dyn History| {
            let row = incident::incidents(history, START, START + WIDTH).unwrap().remove(0);
            Course::so_far(history, &row).unwrap()
        };
        history.commit(&told(Stage::Open, 1)).unwrap();
        assert_eq!(course(history), Course::default());
        let at = |bucket: Time, mean: f64| appear(scored("srv-001", START + bucket * WIDTH, mean));
        let mut goes_on = told(Stage::Open, 4);
        goes_on.incidents[0].incident.last = START + 3 * WIDTH;
        goes_on.changes = vec![at(-4, 95.2), at(-3, 95.3), at(-2, 95.3), at(1, 99.8), at(2, 40.0), at(3, 96.0), at(4, 120.0)];
        history.commit(&goes_on).unwrap();
        let furthest = Some((START + WIDTH, [99.8, 65.2]));
        let expected = Course { unmoved_since: None, furthest, latest: Some((START + 4 * WIDTH, [120.0, 65.2])) };
        assert_eq!(course(history), expected);
        // So it is with four buckets in a row, and what is hardly further is not told.
        let mut over = told(Stage::Closed, 4);
        let revised = Change { old: at(1, 99.8).new.map(Box::new), new: at(1, 97.0).new };
        over.changes = vec![at(-1, 95.3), revised];
        over.incidents[0].incident.last = START + 3 * WIDTH;
        history.commit(&over).unwrap();
        assert_eq!(course(history), Course { unmoved_since: Some(START - 3 * WIDTH), furthest: None, latest: None });
    });
}

#[test]
fn an_incident_is_revised_only_by_what_is_new_and_withdrawn_with_a_reason() {
    on_each_store(|store| {
        let history = &mut *store.history;
        history.commit(&told(Stage::Open, 1)).unwrap();
        history.commit(&told(Stage::Open, 1)).unwrap();
        assert_eq!(statuses(history), [("open".to_string(), 1)]);
        history.commit(&told(Stage::Open, 2)).unwrap();
        assert_eq!(statuses(history), [("open".to_string(), 2)]);
        let row = incident::incidents(history, START, START + WIDTH).unwrap().remove(0);
        assert_eq!((row.rack.as_str(), row.metrics, row.anomalous), ("rack-A", vec!["cpu_usage_percent".to_string()], 2));
        assert_eq!(row.peak.map(|peak| (peak.0, peak.3[0], peak.3[1])), Some(("srv-001".to_string(), 95.3, 65.2)));
        assert_eq!(incident::placements(history, SOURCE).unwrap(), told(Stage::Open, 1).placements);

        let id = episode(Stage::Open, 1).id;
        let gone = Batch {
            episodes_withdrawn: vec![id],
            incidents_withdrawn: vec![Withdrawn { id: IncidentId::of(&id), reason: "late samples".into(), joined: None }],
            ..batch(vec![])
        };
        let whole = digest(history);
        history.commit(&gone).unwrap();
        history.commit(&gone).unwrap();
        assert_eq!(statuses(history), [("withdrawn".to_string(), 3)]);
        assert!(digest(history) != whole && digest(history).contains("0 episodes, 0 incidents"), "{}", digest(history));
    });
}

#[test]
fn what_may_still_change_is_read_back_with_the_verdicts_that_it_goes_on_from() {
    on_each_store(|store| {
        let history = &mut *store.history;
        history.commit(&told(Stage::Open, 1)).unwrap();
        let calm = batch(vec![appear(scored("srv-001", START + WIDTH, 66.0)), appear(scored("srv-002", START, 66.0))]);
        history.commit(&calm).unwrap();
        let unsettled = unsettled::unsettled(history, SOURCE, START + 2 * WIDTH, 3 * WIDTH).unwrap();
        assert_eq!(unsettled.episodes, [episode(Stage::Open, 1).id].into());
        assert_eq!(unsettled.incidents, [IncidentId::of(&episode(Stage::Open, 1).id)].into());
        let states = |verdicts: &[Verdict]| verdicts.iter().map(|verdict| verdict.state).collect::<Vec<_>>();
        assert_eq!(unsettled.pasts.iter().map(|past| states(&past.verdicts)).collect::<Vec<_>>(), [[State::Anomalous, State::Normal]]);

        history.commit(&told(Stage::Settled, 1)).unwrap();
        let settled = unsettled::unsettled(history, SOURCE, START + 9 * WIDTH, 3 * WIDTH).unwrap();
        assert_eq!(settled, unsettled::Unsettled::default());
        assert_eq!(unsettled::unsettled(history, "kafka:other", START + 2 * WIDTH, 3 * WIDTH).unwrap(), unsettled::Unsettled::default());
    });
}

#[test]
fn a_silence_in_hindsight_withdraws_what_is_settled_and_leaves_the_rest() {
    on_each_store(|store| {
        let history = &mut *store.history;
        // It went on for longer than there was evidence.
        let mut batch = told(Stage::Settled, 1);
        (batch.episodes[0].0.last, batch.incidents[0].incident.last) = (START + 9 * WIDTH, START + 9 * WIDTH);
        history.commit(&batch).unwrap();
        let row = |entity: &str, metric: Option<&str>| SilenceRow {
            id: 0,
            entity: entity.into(),
            metric: metric.map(str::to_owned),
            from: START,
            until: START + WIDTH,
            reason: "upgrade".into(),
        };
        assert_eq!(silence::add(history, &row("srv-002", None)).unwrap(), 0);
        assert_eq!(silence::add(history, &row("srv-*", Some("memory"))).unwrap(), 0);
        assert_eq!(statuses(history), [("open".to_string(), 1)].map(|_| ("closed".to_string(), 1)));
        assert_eq!(silence::add(history, &row("srv-0?1", Some("cpu_usage_percent"))).unwrap(), 1);
        assert_eq!(statuses(history), [("withdrawn".to_string(), 2)]);
        let anomaly = history.anomalies(START, START + 1).unwrap().remove(0);
        assert_eq!(anomaly.withdrawn_reason.as_deref(), Some("a silence covers the bucket: upgrade"));
        assert_eq!(history.verdict(&name("srv-001"), START).unwrap().unwrap().state, State::Silenced);
        let silences = silence::all(history).unwrap();
        assert_eq!(silences.iter().map(|row| row.entity.as_str()).collect::<Vec<_>>(), ["srv-002", "srv-*", "srv-0?1"]);
        assert!(silence::remove(history, silences[1].id).unwrap() && !silence::remove(history, silences[1].id).unwrap());
        assert_eq!(silence::all(history).unwrap().len(), 2);
    });
}

#[test]
fn a_provisional_anomaly_that_nobody_finishes_is_swept_when_its_bucket_is_past() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let verdict = scored("srv-001", START, 95.3);
        let provisional = Provisional {
            entity: verdict.bucket.entity,
            metric: verdict.bucket.metric,
            start: START,
            value: verdict.bucket.aggregate.unwrap().mean,
            score: verdict.score.unwrap(),
            severity: Severity::High,
        };
        let status = |history: &mut dyn History| history.anomalies(START, START + 1).unwrap().remove(0).status;
        history.commit(&Batch { provisionals: vec![provisional], horizon: None, ..batch(vec![]) }).unwrap();
        assert_eq!(status(history), "provisional");
        history.commit(&Batch { horizon: Some(START + WIDTH - 1), ..batch(vec![]) }).unwrap();
        assert_eq!(status(history), "provisional");
        history.commit(&batch(vec![])).unwrap();
        assert_eq!(status(history), "withdrawn");
    });
}
