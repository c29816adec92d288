//! A job that runs by the hour, or at night, is missed when it was due and not in between.

use crate::incidents::{START, in_pieces};
use crate::support::Place;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
/// The hourly job does not run from here on, counted in minutes from when training ends, for three hours...
const NOT_HOURLY: std::ops::Range<i64> = DAY + 10 * HOUR..DAY + 13 * HOUR;
/// ...the nightly one begins an hour late, ...
const LATE: i64 = DAY + 3 * HOUR;
/// ...what runs once a day, at half past six, comes in the afternoon, ...
const AFTERNOON: i64 = DAY + 15 * HOUR;
/// ...and who works from eight to six on working days is not there on Monday, the first day of all.
const MONDAY: std::ops::Range<i64> = 0..DAY;

/// What two servers say every five minutes of a span, and the jobs.
fn lines(minutes: std::ops::Range<i64>) -> String {
    let mut log = String::new();
    for minute in minutes.step_by(5) {
        let (seconds, hour, of_day) = ((START + minute) * 60, minute.rem_euclid(HOUR), minute.rem_euclid(DAY));
        let noise = (minute.rem_euclid(7 * DAY) * minute.rem_euclid(7 * DAY)) % 13;
        for server in 0..2 {
            let _ = writeln!(log, r#"{{"server_id":"srv-{server}","timestamp":{seconds},"cpu":{}}}"#, 40 + noise);
        }
        if hour == 5 && !NOT_HOURLY.contains(&minute) {
            let _ = writeln!(log, r#"{{"service_name":"backup","timestamp":{},"seconds":{}}}"#, seconds + 120, 300 + noise);
        }
        let is_daily = if minute > DAY { minute == AFTERNOON } else { of_day == 6 * HOUR + 30 };
        if is_daily {
            let _ = writeln!(log, r#"{{"service_name":"daily","timestamp":{seconds},"files":{}}}"#, 70 + noise);
        }
        if minute.rem_euclid(7 * DAY) < 5 * DAY && (8 * HOUR..18 * HOUR).contains(&of_day) && !MONDAY.contains(&minute) {
            let _ = writeln!(log, r#"{{"service_name":"office","timestamp":{seconds},"orders":{}}}"#, 20 + noise);
        }
        if (2 * HOUR..4 * HOUR).contains(&of_day) && !(DAY..LATE).contains(&minute) {
            let _ = writeln!(log, r#"{{"service_name":"report","timestamp":{seconds},"rows":{}}}"#, 3000 + noise);
        }
    }
    log
}

/// The missing buckets after training: minutes since its end, and who.
fn missing(place: &Place) -> BTreeSet<(i64, String)> {
    let sql = format!(
        "SELECT (bucket_start - {0}) / 60000, entity_id FROM buckets JOIN series USING (series_id) WHERE state = 'missing' AND bucket_start >= {0}",
        START * 60_000
    );
    let database = place.database();
    let mut statement = database.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A place with models of fourteen days, which are in its log.
fn known() -> Place {
    let place = Place::new();
    place.write("log.jsonl", lines(-14 * DAY..0));
    place.run("run --source file:log.jsonl").well();
    place.run("train --until 2026-01-19T00:00:00Z").well();
    place
}

/// Failed once: whatever came less often than each bucket was missing in between, an incident that never ended.
#[test]
fn a_job_is_missed_when_it_was_due_and_what_is_said_of_it_does_not_depend_on_restarts() {
    let log = lines(-14 * DAY..2 * DAY);
    let place = known();
    let wanted = in_pieces(&place, &log, &[], "");
    let hourly = (NOT_HOURLY.start + 5..NOT_HOURLY.end + 5).step_by(5).map(|minute| (minute, "backup".to_owned()));
    let nightly = (DAY + 2 * HOUR..LATE).step_by(5).map(|minute| (minute, "report".to_owned()));
    // Failed once: nobody was waited for over a whole day.
    let daily = (DAY + 6 * HOUR + 30..AFTERNOON).step_by(5).map(|minute| (minute, "daily".to_owned()));
    let office = (8 * HOUR..DAY + 8 * HOUR).step_by(5).map(|minute| (minute, "office".to_owned()));
    assert_eq!(missing(&place), hourly.chain(nightly).chain(daily).chain(office).collect());
    assert_eq!(place.count(&format!("SELECT count(*) FROM incidents WHERE opened >= {}", START * 60_000)), 4);
    let lines_to =
        |minute: i64| log.lines().take_while(|line| !line.contains(&format!(r#""timestamp":{}"#, (START + minute) * 60))).count();
    // Before, within and after the time of each, and hours after it was heard of last.
    for cuts in [
        vec![20 * HOUR, DAY + 2 * HOUR + 30],
        vec![2 * HOUR + 10, NOT_HOURLY.start + 5, NOT_HOURLY.start + 100],
        vec![4 * HOUR, 9 * HOUR, LATE],
    ] {
        let cuts: Vec<usize> = cuts.into_iter().map(lines_to).collect();
        let place = known();
        assert_eq!(in_pieces(&place, &log, &cuts, ""), wanted, "{cuts:?}");
    }
}

/// Failed once: what an earlier run had stored as missing stayed, and another run without news had another digest.
#[test]
fn what_is_stored_as_missing_goes_when_a_model_says_that_it_was_not_due() {
    let place = Place::new();
    let run = |until: i64| {
        place.write("log.jsonl", lines(-14 * DAY..until));
        place.run("run --source file:log.jsonl").well().digest()
    };
    let stored =
        "SELECT count(*) FROM buckets WHERE state = 'missing' AND bucket_start >= (SELECT max(bucket_start) FROM buckets) - 3000000";
    run(5 * HOUR);
    assert!(place.count(stored) > 0);
    place.run("train --until 2026-01-19T00:00:00Z").well();
    let digest = run(5 * HOUR + 10);
    assert_eq!(place.count(stored), 0);
    assert_eq!(run(5 * HOUR + 10), digest);
}

/// Failed once: the store keeps two models of a series, and a restart judged the buckets before both as if there had been none.
#[test]
fn two_trainings_within_the_lateness_neither_miss_nor_forgive_anybody_after_a_restart() {
    let place = known();
    let run = |until: i64| {
        place.write("log.jsonl", lines(-14 * DAY..until));
        place.run("run --source file:log.jsonl").well().digest()
    };
    run(DAY + 11 * HOUR);
    for minute in ["40", "50"] {
        place.run(&format!("train --until 2026-01-20T10:{minute}:00Z")).well();
    }
    run(DAY + 11 * HOUR + 30);
    let since = DAY + 10 * HOUR;
    let found: Vec<_> = missing(&place).into_iter().filter(|(minute, _)| *minute >= since).collect();
    let all = (since..since + 80).step_by(5).flat_map(|minute| [(minute, "backup".to_owned()), (minute, "daily".to_owned())]);
    assert_eq!(found, all.skip(1).collect::<Vec<_>>(), "who ran an hour before is not due at ten");
}

#[test]
fn explain_says_when_samples_usually_come() {
    let place = known();
    place.write("log.jsonl", lines(-14 * DAY..2 * DAY));
    place.run("run --source file:log.jsonl").well();
    let shown = place.run("explain report rows 2026-01-20T02:30:00Z").well();
    assert!(shown.stdout.contains(
        "missing: no samples, though other series of its partition have some; its own usually come each day from 02:00 to 04:00; its last samples before are of 2026-01-"
    ));
    place.run("explain report rows 2026-01-19T12:00:00Z").error(&[
        "no bucket at 2026-01-19T12:00:00Z",
        "last samples before are of 2026-01-19T03:55:00Z, which usually come each day from 02:00 to 04:00",
    ]);
    place.run("explain report rows 2026-03-19T12:00:00Z").error(&["history has come to 2026-01-21T00:00:00Z"]);
}
