//! The outbox in both stores: what is news to whom, written with the incident, and read in order by those who send it.

use super::incidents::{SOURCE, episode, incident};
use super::stores::on_each_store;
use super::{START, WIDTH, appear, batch, scored, series};
use dataflows::{Episode, EpisodeId, Incident, IncidentId, MetricId, Scope, Severity, Stage, Time};
use tidewatch::history::incident::{NamedIncident, Withdrawn};
use tidewatch::history::outbox::{self, OutboxRow, Part, State, Subscription};
use tidewatch::history::silence::{self, SilenceRow};
use tidewatch::history::stall;
use tidewatch::history::{Batch, History};

fn to(receiver: &str, minimum: Severity) -> Subscription {
    Subscription { receiver: receiver.into(), minimum, since: START - WIDTH }
}

fn part(receiver: &str) -> Part {
    Part { source: SOURCE.into(), receiver: receiver.into() }
}

/// The incident of one host, with what `change` makes of it.
fn batch_of(subscriptions: &[Subscription], change: impl FnOnce(&mut Incident)) -> Batch {
    let mut named: NamedIncident = incident(&episode(Stage::Open, 1));
    change(&mut named.incident);
    Batch { incidents: vec![named], subscriptions: subscriptions.to_vec(), ..batch(vec![]) }
}

fn withdrawn(subscriptions: &[Subscription], reason: &str) -> Batch {
    let id = incident(&episode(Stage::Open, 1)).incident.id;
    let gone = Withdrawn { id, reason: reason.into(), joined: Some(IncidentId(u64::MAX)) };
    Batch { incidents_withdrawn: vec![gone], subscriptions: subscriptions.to_vec(), ..batch(vec![]) }
}

/// What has become of the incident, in the order in which a receiver is told.
fn changes(history: &mut dyn History, receiver: &str) -> Vec<String> {
    let rows = outbox::latest(history, 100).unwrap();
    rows.into_iter().filter(|row| row.receiver == receiver).map(|row| row.change).collect()
}

#[test]
fn what_is_news_is_written_once_and_what_time_alone_changes_is_none() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let subscriptions = [to("ops", Severity::Medium)];
        let mut say = |change: &dyn Fn(&mut Incident)| history.commit(&batch_of(&subscriptions, change)).unwrap();
        let open = |incident: &mut Incident| incident.severity = Severity::Medium;
        say(&open);
        say(&open);
        // One more bucket of evidence; then it is worse, reaches four of the rack, then five of it, then six.
        say(&|incident| (incident.severity, incident.anomalous, incident.last) = (Severity::Medium, 2, START + WIDTH));
        say(&|incident| incident.severity = Severity::High);
        let rack =
            |entities: u32| move |incident: &mut Incident| (incident.scope, incident.entities, incident.peers) = (Scope::Rack, entities, 9);
        [4, 5, 6].into_iter().for_each(|entities| say(&rack(entities)));
        let stage = |stage: Stage| move |incident: &mut Incident| (incident.entities, incident.stage) = (6, stage);
        [Stage::Closed, Stage::Settled, Stage::Open, Stage::Settled].into_iter().for_each(|one| say(&stage(one)));
        history.commit(&withdrawn(&subscriptions, "late samples")).unwrap();
        history.commit(&withdrawn(&subscriptions, "late samples")).unwrap();
        let expected = ["opened", "escalated", "spread", "spread", "closed", "reopened", "closed", "withdrawn"];
        assert_eq!(changes(history, "ops"), expected, "{}", store.kind);
        let rows = outbox::latest(history, 100).unwrap();
        assert_eq!((rows[2].incident.entities, rows[3].incident.entities), (4, 6));
        assert_eq!(rows[0].incident.severity, "medium", "a row says what held when it was written");
        assert_eq!(rows[0].incident.peak.as_ref().map(|peak| peak.3[0]), Some(95.3));
        assert_eq!(rows[7].incident.withdrawn_reason.as_deref(), Some("late samples"));
        assert_eq!((rows[6].incident.joined, rows[7].incident.joined), (None, Some(IncidentId(u64::MAX))));
    });
}

#[test]
fn each_receiver_hears_from_its_severity_on() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let subscriptions = [to("all", Severity::Low), to("pager", Severity::Critical)];
        let mut say = |severity: Severity| history.commit(&batch_of(&subscriptions, |incident| incident.severity = severity)).unwrap();
        say(Severity::Low);
        say(Severity::High);
        say(Severity::Critical);
        history
            .commit(&batch_of(&subscriptions, |incident| (incident.severity, incident.stage) = (Severity::Critical, Stage::Closed)))
            .unwrap();
        assert_eq!(changes(history, "all"), ["opened", "escalated", "escalated", "closed"], "{}", store.kind);
        assert_eq!(changes(history, "pager"), ["opened", "closed"]);
    });
}

/// Failed once: a host that was critical and stopped sending was told to nobody, for nothing is worse than critical; then also one that had come back,
/// and then one of which a metric had been missing before.
#[test]
fn that_an_entity_in_trouble_falls_silent_altogether_is_news_once() {
    silent_after(0);
    silent_after(1);
}

/// `missing` of its metrics are missing when it is told of.
fn silent_after(missing: u32) {
    on_each_store(|store| {
        let (mut again, mut reader) = (store.again(), store.again());
        let history = &mut *again;
        let subscriptions = [to("pager", Severity::Critical)];
        let mut say = |missing: u32, at: Time, stage: Stage, sends: bool| {
            let change = |incident: &mut Incident| {
                (incident.severity, incident.missing, incident.last, incident.stage) = (Severity::Critical, missing, at, stage);
            };
            let changes = if sends { vec![appear(scored("srv-001", at, 99.0))] } else { Vec::new() };
            history.commit(&Batch { changes, ..batch_of(&subscriptions, change) }).unwrap();
        };
        say(missing, START, Stage::Open, true);
        say(missing + 1, START + WIDTH, Stage::Open, true);
        assert_eq!(changes(&mut *reader, "pager"), ["opened"], "{}: some of its metrics go on", store.kind);
        [2, 12].into_iter().for_each(|bucket| say(7, START + bucket * WIDTH, Stage::Open, false));
        say(12, START + 12 * WIDTH, Stage::Closed, false);
        assert_eq!(changes(&mut *reader, "pager"), ["opened", "escalated", "closed"], "{}", store.kind);
    });
}

/// Failed once: latencies thirty times as high as ever joined an incident that had been open for hours since space was freed on a disk, and nobody was told.
#[test]
fn another_metric_that_goes_off_later_in_an_open_incident_is_news_once() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let subscriptions = [to("ops", Severity::Medium), to("pager", Severity::Critical)];
        let first = episode(Stage::Open, 1);
        let of = |entity: &str, opened: Time, severity: Severity| {
            let verdict = scored(entity, opened, 900.0);
            let id = EpisodeId { opened, entity: verdict.bucket.entity, metric: MetricId::of("memory_usage_percent") };
            Episode { id, confirmed: opened, last: opened, severity, ..first }
        };
        let mut of_memory = series("srv-001");
        of_memory.name.metric = "memory_usage_percent".into();
        let mut say = |other: Option<Episode>, at: Time| {
            let mut named = incident(&first);
            named.incident.last = at;
            if let Some(other) = other {
                named.incident.metrics.push(other.id.metric);
                named.metrics.push("memory_usage_percent".into());
                named.incident.anomalous = 1 + other.anomalous;
            }
            let id = named.incident.id;
            let episodes = [Some(first), other].into_iter().flatten().map(|episode| (episode, id)).collect();
            let mut memory = scored("srv-001", at, 90.0);
            memory.bucket.metric = MetricId::of("memory_usage_percent");
            let both = vec![appear(scored("srv-001", at, 95.3)), appear(memory)];
            let mut batch = Batch { episodes, incidents: vec![named], subscriptions: subscriptions.to_vec(), ..batch(both) };
            batch.series.push(of_memory.clone());
            history.commit(&batch).unwrap();
            ["ops", "pager"].map(|receiver| changes(history, receiver))
        };
        let opened = || vec!["opened".to_owned()];
        assert_eq!(say(None, START), [opened(), vec![]], "{}", store.kind);
        let soon = of("srv-001", START + 5 * WIDTH, Severity::High);
        assert_eq!(say(Some(soon), START + 5 * WIDTH), [opened(), vec![]], "what goes off at about the same time is of a piece with it");
        let low = of("srv-001", START + 6 * WIDTH, Severity::Low);
        assert_eq!(say(Some(low), START + 6 * WIDTH), [opened(), vec![]], "it is less than what the receiver asks for");
        let later = of("srv-001", START + 6 * WIDTH, Severity::High);
        let spread = || vec!["opened".to_owned(), "spread".to_owned()];
        assert_eq!(say(Some(later), START + 6 * WIDTH), [spread(), vec![]], "whoever was not told of the incident is not told of this");
        assert_eq!(say(Some(Episode { anomalous: 2, ..later }), START + 20 * WIDTH), [spread(), vec![]]);
    });
}

#[test]
fn what_is_past_is_told_to_nobody() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let late = Subscription { since: START + 1, ..to("late", Severity::Low) };
        history.commit(&batch_of(&[late], |incident| incident.severity = Severity::Critical)).unwrap();
        assert_eq!(changes(history, "late"), [] as [&str; 0], "its evidence is past");
    });
}

#[test]
fn what_was_over_before_anybody_was_told_is_no_news() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let subscriptions = [to("ops", Severity::Low)];
        history.commit(&batch_of(&subscriptions, |incident| incident.stage = Stage::Closed)).unwrap();
        history.commit(&withdrawn(&subscriptions, "late samples")).unwrap();
        assert_eq!(changes(history, "ops"), [] as [&str; 0], "{}", store.kind);
    });
}

#[test]
fn a_silence_in_hindsight_tells_those_who_were_told() {
    on_each_store(|store| {
        let history = &mut *store.history;
        let both = [to("ops", Severity::Low), to("pager", Severity::Critical)];
        let told = |stage: Stage| {
            let episode = episode(stage, 1);
            let named = incident(&episode);
            let scored = super::appear(super::scored("srv-001", START, 95.3));
            let episodes = vec![(episode, named.incident.id)];
            Batch { episodes, incidents: vec![named], subscriptions: both.to_vec(), ..batch(vec![scored]) }
        };
        history.commit(&told(Stage::Open)).unwrap();
        history.commit(&told(Stage::Settled)).unwrap();
        let (entity, reason) = ("srv-001".to_owned(), "upgrade".to_owned());
        let silence = SilenceRow { id: 0, entity, metric: None, from: START, until: START + WIDTH, reason };
        assert_eq!(silence::add(history, &silence).unwrap(), 1);
        assert_eq!(silence::add(history, &silence).unwrap(), 0, "{}", store.kind);
        assert_eq!(changes(history, "ops"), ["opened", "closed", "withdrawn"]);
        assert_eq!(changes(history, "pager"), [] as [&str; 0]);
        let last = outbox::latest(history, 1).unwrap().remove(0);
        assert_eq!(last.incident.withdrawn_reason.as_deref(), Some("a silence covers it: upgrade"));
    });
}

fn next(history: &mut dyn History) -> Option<OutboxRow> {
    part("ops").next(history).unwrap()
}

#[test]
fn rows_are_taken_in_order_by_the_process_that_may_commit_alone() {
    on_each_store(|store| {
        assert!(store.history.claim(SOURCE, WIDTH).unwrap());
        let history = &mut *store.history;
        let subscriptions = [to("ops", Severity::Low), to("other", Severity::Low)];
        history.commit(&batch_of(&subscriptions, |_| {})).unwrap();
        history.commit(&batch_of(&subscriptions, |incident| incident.severity = Severity::Critical)).unwrap();
        let writer = outbox::writer(history, SOURCE).unwrap();
        let first = next(history).unwrap();
        assert_eq!((first.change.as_str(), first.attempts, part("ops").held_back(history).unwrap()), ("opened", 0, 0));
        assert!(!outbox::begin(history, first.id, "somebody else").unwrap(), "{}", store.kind);
        assert!(outbox::begin(history, first.id, &writer).unwrap());
        outbox::postpone(history, first.id, START, "no answer").unwrap();
        let again = next(history).unwrap();
        assert_eq!((again.id, again.attempts, again.next_try_at, again.problem.as_deref()), (first.id, 1, START, Some("no answer")));
        assert_eq!(part("ops").last_delivered(history, first.incident.id).unwrap(), None);
        outbox::end(history, first.id, State::Delivered, None).unwrap();
        assert!(!outbox::begin(history, first.id, &writer).unwrap(), "it has ended");
        assert_eq!(part("ops").open(history).unwrap().len(), 1);
        assert_eq!(part("ops").last_delivered(history, first.incident.id).unwrap().map(|row| row.id), Some(first.id));
        assert_eq!(
            (part("ops").delivered_since(history, START).unwrap(), part("ops").delivered_since(history, Time::MAX / 4).unwrap()),
            (1, 0)
        );
        let second = next(history).unwrap();
        assert_eq!(second.change, "escalated");
        outbox::end(history, second.id, State::HeldBack, None).unwrap();
        assert_eq!((next(history), part("ops").held_back(history).unwrap()), (None, 1));
        assert_eq!(part("other").next(history).unwrap().map(|row| row.change), Some("opened".to_owned()));
        let counts = outbox::counts(history).unwrap();
        let told: Vec<String> = counts.iter().map(|(receiver, state, n)| format!("{receiver} {state} {n}")).collect();
        assert_eq!(told, ["ops delivered 1", "ops held_back 1", "other pending 2"]);
    });
}

#[test]
fn old_rows_are_removed_once_their_incident_is_over() {
    on_each_store(|store| {
        let subscriptions = [to("ops", Severity::Low)];
        store.history.commit(&batch_of(&subscriptions, |_| {})).unwrap();
        store.execute(match store.kind {
            "postgres" => "UPDATE outbox SET created_at = created_at - INTERVAL '15 days'",
            _ => "UPDATE outbox SET created_at = created_at - 15 * 86400000",
        });
        outbox::sweep(&mut *store.history).unwrap();
        assert_eq!(changes(&mut *store.history, "ops"), ["opened"], "{}", store.kind);
        store.history.commit(&batch_of(&subscriptions, |incident| incident.stage = Stage::Settled)).unwrap();
        outbox::sweep(&mut *store.history).unwrap();
        assert_eq!(changes(&mut *store.history, "ops"), ["closed"]);
    });
}

/// Failed once or another: a kill left two places told of at a time, an end that could not be delivered had Alertmanager reminded for days, and an old row
/// was swept while its end was on its way.
#[test]
fn that_a_watermark_stands_is_told_once_at_each_place_and_so_is_its_end() {
    on_each_store(|store| {
        let (mut again, name, told) =
            (store.again(), (SOURCE, "kafka://broker/log"), [to("ops", Severity::Critical), to("pager", Severity::Low)]);
        let history = &mut *again;
        let places = [START, START + WIDTH];
        for place in [places[0], places[0], places[1]] {
            stall::tell(history, name, place, &told).unwrap();
        }
        let rows = || -> Vec<(String, Time, Time)> {
            let rows = outbox::latest(&mut *store.again(), 100).unwrap().into_iter().filter(|row| row.receiver == "ops");
            rows.map(|row| (row.change, row.incident.opened, row.incident.last)).collect()
        };
        let (opened, closed) = (|at: Time| ("opened".to_owned(), at, at), |at: Time, to: Time| ("closed".to_owned(), at, to));
        let expected = [opened(places[0]), closed(places[0], places[1]), opened(places[1])];
        assert_eq!(rows(), expected, "{}", store.kind);
        stall::tell_end(history, SOURCE, stall::End::Log).unwrap();
        stall::tell_end(history, SOURCE, stall::End::Moved(places[1] + WIDTH)).unwrap();
        assert_eq!(rows().last(), Some(&closed(places[1], places[1])), "the log ended there, and what is over is over");
        // The receiver takes what was opened, and cannot be told of its end.
        let ops: Vec<OutboxRow> = outbox::latest(history, 100).unwrap().into_iter().filter(|row| row.receiver == "ops").collect();
        for row in &ops[..3] {
            outbox::end(history, row.id, State::Delivered, None).unwrap();
        }
        assert_eq!(part("ops").open(history).unwrap(), []);
        store.execute(match store.kind {
            "postgres" => "UPDATE outbox SET created_at = created_at - INTERVAL '15 days' WHERE status = 'open'",
            _ => "UPDATE outbox SET created_at = created_at - 15 * 86400000 WHERE status = 'open'",
        });
        outbox::sweep(history).unwrap();
        let (before, end) = (closed(places[0], places[1]), closed(places[1], places[1]));
        assert_eq!(rows(), [before.clone(), opened(places[1]), end.clone()], "its end is still to be sent");
        outbox::end(history, ops[3].id, State::Failed, Some("away for a day")).unwrap();
        outbox::sweep(history).unwrap();
        assert_eq!(rows(), [before.clone(), end.clone()]);
        // A log that had come to its end is read again, and stands where it stood.
        for _ in 0..2 {
            stall::tell(history, name, places[1], &told).unwrap();
            assert_eq!(rows(), [before.clone(), end.clone(), opened(places[1])]);
        }
        let again = outbox::latest(history, 100).unwrap().into_iter().rfind(|row| row.receiver == "ops").unwrap();
        assert!(part("ops").is_latest(history, &again).unwrap() && !part("ops").is_latest(history, &ops[3]).unwrap());
        outbox::end(history, again.id, State::Delivered, None).unwrap();
        assert_eq!(part("ops").open(history).unwrap().len(), 1);
        stall::tell_end(history, SOURCE, stall::End::Moved(places[1] + WIDTH)).unwrap();
        assert_eq!(rows().last(), Some(&closed(places[1], places[1] + WIDTH)));
        assert_eq!(part("ops").open(history).unwrap(), []);
    });
}
