//! A host in trouble is one anomaly and one incident, however many of its metrics jump.

use crate::jump::{BACKTEST, METRICS, WRONG, table};
use crate::support::Place;

/// The rows of a backtest at the moment at which it goes wrong: metric, z_score, is_anomaly, state and own_z_score.
fn rows(place: &Place) -> Vec<(String, f64, bool, String, f64)> {
    let mut reader = csv::Reader::from_path(place.path("out.csv")).unwrap();
    let columns: Vec<String> = reader.headers().unwrap().iter().map(str::to_string).collect();
    let at = tidewatch::instant::format(WRONG.start * 1000);
    let field = |row: &csv::StringRecord, name: &str| row[columns.iter().position(|column| column == name).unwrap()].to_string();
    let rows = reader.records().map(Result::unwrap).filter(|row| field(row, "timestamp") == at && field(row, "entity") == "srv-1");
    let number = |row: &csv::StringRecord, name: &str| field(row, name).parse::<f64>().unwrap();
    let told = rows.map(|row| {
        let flagged = field(&row, "is_anomaly") == "true";
        (field(&row, "metric"), number(&row, "z_score"), flagged, field(&row, "state"), number(&row, "own_z_score"))
    });
    told.collect()
}

#[test]
fn of_three_metrics_that_jump_together_the_worst_speaks_and_the_incident_names_all() {
    let place = Place::new();
    place.write("metrics.csv", table());
    place.run(BACKTEST).well();
    let told = rows(&place);
    let flagged: Vec<&str> = told.iter().filter(|row| row.2).map(|row| row.0.as_str()).collect();
    assert_eq!(flagged, ["load"], "{told:?}");
    for (metric, z_score, flagged, state, own) in &told {
        assert_eq!((state.as_str(), *z_score == *own), if *flagged { ("anomalous", true) } else { ("accompanying", false) }, "{metric}");
        assert!(*own > 3.0 && *z_score <= if *flagged { *own } else { 3.0 }, "{metric}: {z_score} of {own}");
    }
    // Nothing is forgotten: each of them is evidence, and there is one incident of all three.
    let database = rusqlite::Connection::open(place.path("past.db")).unwrap();
    let metrics: String = database.query_row("SELECT metrics FROM incidents WHERE status <> 'withdrawn'", [], |row| row.get(0)).unwrap();
    assert!(METRICS.iter().all(|metric| metrics.contains(metric)), "{metrics}");
    let told = place.run("incidents --history embedded:past.db").well().stdout;
    let (opened, last): (i64, i64) = database
        .query_row("SELECT opened, last FROM incidents WHERE status <> 'withdrawn'", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let span = format!("{} to {}  ", tidewatch::instant::format(opened), tidewatch::instant::format(last + 300_000));
    assert!(told.starts_with(&span) && told.contains(" deviating and 0 missing buckets"), "{span}{told}");
    let words = place.run("explain srv-1 memory 2026-01-19T02:00:00Z --history embedded:past.db --models embedded:past.db").well().stdout;
    assert!(words.contains("verdict   accompanying: ") && words.contains("speaks for both: load, z_score +"), "{words}");

    let place = Place::new();
    place.write("metrics.csv", table());
    place.run(&format!("{BACKTEST} --anomalies-per series")).well();
    let told = rows(&place);
    assert!(told.len() == 3 && told.iter().all(|row| row.2 && row.3 == "anomalous" && row.1 == row.4), "{told:?}");
}

#[test]
fn a_metric_that_is_off_to_the_side_that_nobody_minds_is_normal_and_another_one_speaks() {
    let place = Place::new();
    place.write("metrics.csv", table());
    place.write("tidewatch.toml", "metric-direction = \"load=below,memory=above\"\n");
    place.run(&format!("{BACKTEST} --config tidewatch.toml")).well();
    let told = rows(&place);
    let (load, others): (Vec<_>, Vec<_>) = told.iter().partition(|row| row.0 == "load");
    assert!(load.iter().all(|row| row.3 == "normal" && !row.2 && row.4 > 3.0), "{told:?}");
    assert_eq!((others.len(), others.iter().filter(|row| row.2).count()), (2, 1), "{told:?}");
    let words = "explain srv-1 load 2026-01-19T02:00:00Z --history embedded:past.db --models embedded:past.db";
    let told = place.run(&format!("{words} --config tidewatch.toml")).well().stdout;
    assert!(told.contains("verdict   normal: past the threshold, though of this metric only what is below is to be told of"), "{told}");
    let told = place.run(&format!("{words} --metric-threshold load=100")).well().stdout;
    assert!(told.contains("; the threshold is 100") && told.contains("verdict   normal\n"), "{told}");
}
