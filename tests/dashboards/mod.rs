//! The files of Grafana as tests read them: dashboards, data sources and alert rules, and what Grafana makes of a query before it sends it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of everything that Grafana reads.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// All dashboards, by the name of their file.
pub fn boards() -> Vec<(String, Value)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder().join("dashboards")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let board = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, board)
    };
    paths.into_iter().map(read).collect()
}

/// A file of the provisioning, as JSON.
pub fn provisioned(name: &str) -> Value {
    let path = folder().join("provisioning").join(name);
    serde_yaml_ng::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rules of the alerts.
pub fn rules() -> Vec<Value> {
    let groups = provisioned("alerting/tidewatch.yaml")["groups"].clone();
    list(&groups).iter().flat_map(|group| list(&group["rules"]).clone()).collect()
}

/// The elements of a list; none where there is no list.
pub fn list(value: &Value) -> &Vec<Value> {
    static NONE: Vec<Value> = Vec::new();
    value.as_array().unwrap_or(&NONE)
}

/// A text; empty where there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The panels of a dashboard that show something.
pub fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(&board["panels"]).iter().filter(|panel| panel["type"] != "row")
}

/// Every text in a value, at any depth.
pub fn texts<'a>(value: &'a Value, take: &mut dyn FnMut(&'a str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, take)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, take)),
        _ => {}
    }
}

/// The names that stand in `${NAME…}` in a text, without their format.
pub fn references(text: &str) -> Vec<String> {
    let parts = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    parts.map(|(name, _)| name.split(':').next().unwrap().to_owned()).collect()
}

/// What a person has chosen at the top of a dashboard.
#[derive(Clone, Debug)]
#[allow(dead_code)] // one of the two test programs looks at the files alone
pub struct Choice {
    /// The range, in seconds since 1970.
    pub range: (i64, i64),
    /// The width of one step of a chart, in seconds.
    pub interval: i64,
    /// The values of each variable.
    pub variables: BTreeMap<String, Vec<String>>,
}

#[allow(dead_code)]
impl Choice {
    /// The query as the server gets it.
    pub fn expand(&self, query: &str) -> String {
        let mut query = query.to_owned();
        for (name, values) in &self.variables {
            let quoted: Vec<String> = values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
            query = query.replace(&format!("${{{name}:sqlstring}}"), &quoted.join(","));
            query = query.replace(&format!("${{{name}}}"), values.first().map_or("", String::as_str));
        }
        query = query.replace("$__interval_ms", &(self.interval * 1000).to_string());
        query = query.replace("$__interval", &format!("{}s", self.interval));
        let time = |seconds: i64| format!("'{}'", chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ"));
        let (from, until) = (time(self.range.0), time(self.range.1));
        let group = |arguments: &str| {
            let (column, step) = arguments.split_once(',').unwrap();
            let step = step.split(',').next().unwrap().trim().trim_end_matches('s');
            format!("floor(extract(epoch from {})/{step})*{step}", column.trim())
        };
        query = called(&query, "$__timeGroupAlias", |arguments| format!("{} AS \"time\"", group(arguments)));
        query = called(&query, "$__timeGroup", group);
        query = called(&query, "$__timeFilter", |column| format!("{column} BETWEEN {from} AND {until}"));
        query = called(&query, "$__timeFrom", |_| from.clone());
        query = called(&query, "$__timeTo", |_| until.clone());
        assert!(!query.contains('$'), "nobody has expanded all of: {query}");
        query
    }
}

/// A text in which every call of a macro is replaced.
#[allow(dead_code)]
fn called(query: &str, name: &str, replace: impl Fn(&str) -> String) -> String {
    let opening = format!("{name}(");
    let mut parts = query.split(&opening);
    let mut told = parts.next().unwrap().to_owned();
    for part in parts {
        let (arguments, rest) = part.split_once(')').unwrap();
        told += &replace(arguments);
        told += rest;
    }
    told
}
