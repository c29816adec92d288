//! The files of Grafana, as far as they can be wrong without a database: names, places, units, links, and who refers to whom.

use crate::dashboards::{boards, list, panels, provisioned, references, rules, text, texts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of panels that Grafana 11 and 12 have and have not deprecated.
const PANELS: [&str; 7] = ["barchart", "heatmap", "row", "stat", "state-timeline", "table", "timeseries"];

/// Grafana's names of units, as far as they are used.
const UNITS: [&str; 11] = ["Mbits", "celsius", "dateTimeFromNow", "ms", "percent", "percentunit", "reqps", "s", "short", "watt", "none"];

/// What a link may take from Grafana rather than from a variable or a column.
const BUILT_IN: [&str; 1] = ["__url_time_range"];

fn uids(board: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            Value::Object(fields) => {
                found.extend(fields.get("datasource").map(|source| text(&source["uid"]).to_owned()));
                fields.values().for_each(|value| collect(value, found));
            }
            _ => {}
        }
    }
    collect(board, &mut found);
    found
}

fn variables(board: &Value) -> BTreeSet<String> {
    list(&board["templating"]["list"]).iter().map(|variable| text(&variable["name"]).to_owned()).collect()
}

/// Whether two panels lie over one another.
fn overlap(one: &Value, other: &Value) -> bool {
    let side = |panel: &Value, name: &str| panel["gridPos"][name].as_i64().unwrap();
    let apart = |start: &str, length: &str| {
        side(one, start) + side(one, length) <= side(other, start) || side(other, start) + side(other, length) <= side(one, start)
    };
    !apart("x", "w") && !apart("y", "h")
}

#[test]
fn dashboards_and_their_panels_have_names_and_places_of_their_own() {
    let boards = boards();
    let uids: BTreeSet<&str> = boards.iter().map(|(_, board)| text(&board["uid"])).collect();
    assert_eq!(uids.len(), boards.len());
    for (name, board) in &boards {
        assert!(board["schemaVersion"].as_i64().unwrap() >= 39 && board["id"].is_null(), "{name}");
        assert_eq!(text(&board["uid"]), format!("tidewatch-{name}"));
        let all = list(&board["panels"]);
        let numbers: BTreeSet<i64> = all.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(numbers.len(), all.len(), "{name} has two panels of one number");
        let titles: BTreeSet<&str> = panels(board).map(|panel| text(&panel["title"])).collect();
        assert_eq!(titles.len(), panels(board).count(), "{name} has two panels of one title");
        for (place, panel) in all.iter().enumerate() {
            let grid = &panel["gridPos"];
            assert!(grid["x"].as_i64().unwrap() + grid["w"].as_i64().unwrap() <= 24, "{name}: {grid}");
            for other in &all[..place] {
                assert!(!overlap(panel, other), "{name}: '{}' lies over '{}'", panel["title"], other["title"]);
            }
        }
    }
}

#[test]
fn panels_are_of_kinds_and_units_that_grafana_has() {
    for (name, board) in boards() {
        for panel in list(&board["panels"]) {
            let title = text(&panel["title"]);
            assert!(PANELS.contains(&text(&panel["type"])), "{name}: '{title}' is a {}", panel["type"]);
            assert!(panel["type"] == "row" || !text(&panel["description"]).is_empty(), "{name}: nobody says what '{title}' shows");
            let defaults = [&panel["fieldConfig"]["defaults"]["unit"]];
            let properties = list(&panel["fieldConfig"]["overrides"]).iter().flat_map(|one| list(&one["properties"]));
            let overrides = properties.filter(|property| property["id"] == "unit").map(|property| &property["value"]);
            for unit in defaults.into_iter().chain(overrides).filter(|unit| !unit.is_null()) {
                assert!(UNITS.contains(&text(unit)), "{name}: '{title}' is in {unit}");
            }
            let prometheus = list(&panel["targets"]).iter().any(|target| target["datasource"]["type"] == "prometheus");
            assert_eq!(prometheus, title.ends_with("(Prometheus)"), "{name}: '{title}' does not say what it needs");
        }
    }
}

#[test]
fn what_dashboards_read_and_link_to_is_there() {
    let sources = provisioned("datasources/tidewatch.yaml");
    let types: BTreeMap<&str, &str> =
        list(&sources["datasources"]).iter().map(|source| (text(&source["uid"]), text(&source["type"]))).collect();
    assert_eq!(types.len(), list(&sources["datasources"]).len());
    let boards: BTreeMap<String, Value> = boards().into_iter().map(|(_, board)| (text(&board["uid"]).to_owned(), board)).collect();
    for (name, board) in &boards {
        for uid in uids(board).iter().filter(|uid| *uid != "-- Grafana --") {
            assert!(types.contains_key(uid.as_str()), "{name} reads from '{uid}', which nobody provisions");
        }
        let known = variables(board);
        texts(board, &mut |text| {
            for reference in references(text) {
                let column = reference.starts_with("__data.fields.");
                assert!(column || BUILT_IN.contains(&&*reference) || known.contains(&reference), "{name}: ${{{reference}}} in {text}");
            }
            let Some((uid, query)) = text.strip_prefix("/d/").and_then(|rest| rest.split_once('?')) else { return };
            let target = boards.get(uid).unwrap_or_else(|| panic!("{name} leads to the dashboard '{uid}', which is not there"));
            for variable in query.split('&').filter_map(|part| part.strip_prefix("var-")?.split('=').next()) {
                assert!(variables(target).contains(variable), "{name} leads to {uid} with '{variable}', which it does not know");
            }
        });
    }
    let provider = provisioned("dashboards/tidewatch.yaml");
    assert_eq!(provider["providers"][0]["type"], "file");
}

#[test]
fn alerts_say_what_to_do_and_lead_to_a_panel() {
    let boards: BTreeMap<String, Value> = boards().into_iter().map(|(_, board)| (text(&board["uid"]).to_owned(), board)).collect();
    let rules = rules();
    let names: BTreeSet<&str> = rules.iter().map(|rule| text(&rule["uid"])).collect();
    assert_eq!((rules.len(), names.len()), (5, 5));
    for rule in &rules {
        let name = text(&rule["uid"]);
        assert!(!name.is_empty() && name.len() <= 40, "{name}");
        let steps: Vec<&str> = list(&rule["data"]).iter().map(|step| text(&step["refId"])).collect();
        assert!(steps.contains(&text(&rule["condition"])), "{name} decides on {}", rule["condition"]);
        for step in list(&rule["data"]) {
            assert_eq!(step["refId"], step["model"]["refId"], "{name}");
            let expression = text(&step["model"]["expression"]);
            assert!(["tidewatch-postgres", "__expr__"].contains(&text(&step["datasourceUid"])), "{name}");
            assert!(expression.is_empty() || steps.contains(&expression), "{name}");
        }
        // Grafana would put a variable of its environment there.
        texts(rule, &mut |text| assert!(!text.contains('$'), "{name}: {text}"));
        assert!(["summary", "runbook"].iter().all(|key| text(&rule["annotations"][key]).len() > 20), "{name}");
        assert_eq!(rule["dashboardUid"], rule["annotations"]["__dashboardUid__"], "{name}");
        assert_eq!(rule["panelId"].to_string(), text(&rule["annotations"]["__panelId__"]), "{name}");
        let board = boards.get(text(&rule["dashboardUid"])).unwrap_or_else(|| panic!("{name} leads nowhere"));
        assert!(panels(board).any(|panel| panel["id"] == rule["panelId"]), "{name} leads to a panel that is not there");
    }
}
