//! Every query of the dashboards, their variables, annotations and alerts, as Grafana's role sends it to a server that a simulation has filled.

use crate::dashboards::{Choice, boards, list, panels, rules, text, texts};
use crate::support::{Database, redis_database, services, tidewatch};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The live part of the simulation begins here, and everything happens within the hours after.
const START: i64 = 1_768_780_800;
const HOURS: i64 = 3;

/// A server with everything that a dashboard can ask for: a fleet with incidents, an entity that fell silent, refused records, a silence.
fn fill(server: &str, name: &str, models: &str) -> Database {
    let database = Database::create(server, name);
    let (url, folder) = (database.url(), tempfile::tempdir().unwrap());
    let live = format!("{HOURS}h");
    let pinned =
        ["--seed", "7", "--start", "2026-01-19T00:00:00Z", "--backfill", "4d", "--interval", "30s", "--for", &live, "--speed", "max"];
    let outage = ["--outage", "srv-003@2026-01-19T01:00:00Z/40m", "--threshold", "2.5"];
    let stores = ["--history", &url, "--models", models];
    tidewatch(&[&["run", "--source", "simulate:dev", "-w", "2"], &pinned[..], &outage[..], &stores[..]].concat());
    let path = folder.path().join("hostile.jsonl");
    let event =
        r#"{"server_id":"srv-001","rack_id":"rack-A","zone_id":"zone-1","timestamp":"2026-01-19T03:10:00Z","cpu_usage_percent":50}"#;
    std::fs::write(&path, format!("{{\n{event}\n{{\"timestamp\":1}}\n")).unwrap();
    tidewatch(&[&["run", "--source", &format!("file:{}", path.display())], &stores[..]].concat());
    let noisy = database.text(
        "SELECT entity_id FROM anomalies WHERE status = 'open' AND timestamp >= '2026-01-19' GROUP BY 1 ORDER BY count(*), 1 LIMIT 1",
    );
    let span = ["--from", "2026-01-18T00:00:00Z", "--to", "2026-01-20T00:00:00Z", "--reason", "maintenance"];
    tidewatch(&[&["silence", "add", "--entity", &noisy, "--history", &url], &span[..]].concat());
    // What late samples, an open bucket and a large fault leave behind, whether these hours had one or not.
    database.run(
        "UPDATE anomalies SET status = 'withdrawn', withdrawn_reason = 'late samples', revision = 2, revised_at = now()
             WHERE timestamp = (SELECT min(timestamp) FROM anomalies WHERE status = 'open' AND timestamp >= '2026-01-19');
         UPDATE anomalies SET status = 'provisional' WHERE timestamp = (SELECT max(timestamp) FROM anomalies WHERE status = 'open');
         UPDATE incidents SET status = 'withdrawn', withdrawn_reason = 'late samples', revision = 2, revised_at = now()
             WHERE incident_id = (SELECT incident_id FROM incidents ORDER BY abs(peak_z_score) NULLS LAST LIMIT 1);
         UPDATE incidents SET status = 'open', severity = 'critical' WHERE incident_id = (SELECT incident_id FROM incidents
             WHERE status <> 'withdrawn' ORDER BY abs(peak_z_score) DESC NULLS LAST LIMIT 1)",
    );
    database
}

/// Grafana's connection: the role that the migrations made, which sees what it was given and nothing else.
pub struct Reader(postgres::Client);

impl Reader {
    fn open(database: &Database) -> Self {
        Self::connect(&database.url())
    }

    pub fn connect(url: &str) -> Self {
        let mut client = postgres::Client::connect(url, postgres::NoTls).unwrap();
        // What the role would begin with, had it a password to connect with.
        let settings = "SELECT unnest(rolconfig) FROM pg_roles WHERE rolname = 'tidewatch_reader'";
        for row in client.query(settings, &[]).unwrap() {
            let setting: String = row.get(0);
            let (name, value) = setting.split_once('=').unwrap();
            client.batch_execute(&format!("SET {name} = '{value}'")).unwrap();
        }
        client.batch_execute("SET ROLE tidewatch_reader; SET default_transaction_read_only = on").unwrap();
        Self(client)
    }

    /// The one number that a query gives.
    pub fn number(&mut self, query: &str) -> i64 {
        self.0.query_one(query, &[]).unwrap().get(0)
    }

    /// How long a query takes until its last row is here, as text, which is how Grafana asks for it.
    pub fn milliseconds(&mut self, place: &str, query: &str) -> f64 {
        let since = std::time::Instant::now();
        self.0.simple_query(query).unwrap_or_else(|error| panic!("{place}: {error:?}\n{query}"));
        since.elapsed().as_secs_f64() * 1e3
    }

    /// The names of the columns and the rows that a query gives.
    fn ask(&mut self, place: &str, query: &str) -> (Vec<String>, Vec<Value>) {
        let prepared = self.0.prepare(query).unwrap_or_else(|error| panic!("{place}: {error:?}\n{query}"));
        let columns: Vec<String> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let unique: BTreeSet<&String> = columns.iter().collect();
        assert_eq!(unique.len(), columns.len(), "{place} has two columns of one name: {columns:?}");
        let wrapped = format!("SELECT to_jsonb(answer) FROM ({}) AS answer", query.trim());
        let rows = self.0.query(&wrapped, &[]).unwrap_or_else(|error| panic!("{place}: {error:?}\n{query}"));
        (columns, rows.iter().map(|row| row.get(0)).collect())
    }

    /// The texts in the first column.
    fn values(&mut self, query: &str) -> Vec<String> {
        let (columns, rows) = self.ask("a variable", query);
        rows.iter().map(|row| text(&row[&columns[0]]).to_owned()).collect()
    }
}

/// The values that a person sees behind a variable, in their order: each query may name those before it.
pub fn all(board: &Value, reader: &mut Reader, choice: &mut Choice) {
    for variable in list(&board["templating"]["list"]) {
        let (name, query) = (text(&variable["name"]), text(&variable["query"]));
        let mut values =
            if variable["type"] == "query" { reader.values(&choice.expand(query)) } else { query.split(',').map(str::to_owned).collect() };
        assert!(!values.is_empty() && !values.contains(&String::new()), "{name}: {values:?}");
        if !variable["multi"].as_bool().unwrap_or(false) {
            values.truncate(1);
        }
        choice.variables.entry(name.to_owned()).or_insert(values);
    }
}

/// The columns that overrides, links and options of a panel name.
fn named(panel: &Value) -> BTreeSet<String> {
    let overrides = list(&panel["fieldConfig"]["overrides"]).iter().map(|one| text(&one["matcher"]["options"]).to_owned());
    let mut names: BTreeSet<String> = overrides.collect();
    texts(panel, &mut |text| {
        let fields = crate::dashboards::references(text).into_iter();
        names.extend(fields.filter_map(|name| name.strip_prefix("__data.fields.").map(str::to_owned)));
    });
    names.extend(panel["options"]["xField"].as_str().map(str::to_owned));
    names
}

/// Runs all queries of a panel; the number of rows of the emptiest.
fn show(place: &str, panel: &Value, choice: &Choice, reader: &mut Reader) -> usize {
    let (mut fields, mut least) = (BTreeSet::new(), usize::MAX);
    for target in list(&panel["targets"]) {
        let (columns, rows) = reader.ask(place, &choice.expand(text(&target["rawSql"])));
        if target["format"] == "time_series" {
            assert!(columns.contains(&"time".to_owned()), "{place} has no column time: {columns:?}");
            assert!(rows.windows(2).all(|pair| pair[0]["time"].to_string().len() >= 10 && !pair[0]["time"].is_null()), "{place}: time");
            // Severities that nobody had in the range have no line, and need none.
            fields.extend(
                ["low", "medium", "high", "critical"].map(str::to_owned).into_iter().filter(|_| columns.contains(&"metric".to_owned())),
            );
        }
        let told =
            rows.iter().filter(|row| row.as_object().unwrap().iter().any(|(name, value)| name != "time" && !value.is_null())).count();
        least = least.min(told);
        fields.extend(columns);
    }
    let missing: Vec<String> = named(panel).into_iter().filter(|name| !fields.contains(name)).collect();
    assert!(missing.is_empty(), "{place} names {missing:?}, but has {fields:?}");
    least
}

/// What a person would look at alone: an entity of this kind and a metric of it with an incident, and where it stands.
pub fn alone(reader: &mut Reader, kind: &str) -> BTreeMap<String, Vec<String>> {
    let among = format!(
        "FROM placed_series LEFT JOIN episodes USING (series_id) WHERE entity_type = '{kind}' AND status IS DISTINCT FROM 'withdrawn'
         ORDER BY anomalous DESC NULLS LAST, series_id LIMIT 1"
    );
    let names = [("zone", "zone"), ("rack", "rack"), ("entity", "entity_id"), ("metric", "metric")];
    names.into_iter().map(|(name, column)| (name.to_owned(), reader.values(&format!("SELECT {column} {among}")))).collect()
}

#[test]
fn every_query_of_grafana_answers_on_a_server_that_a_simulation_has_filled() {
    let Some(services) = services() else { return };
    let database = fill(&services.postgres, "dashboards", &redis_database(&services.redis));
    let mut reader = Reader::open(&database);
    let now = chrono::Utc::now().timestamp();
    let singles = [alone(&mut reader, "server"), alone(&mut reader, "application")];
    for (name, board) in boards() {
        // What is counted by the wall clock is asked for around now, what is measured around the simulated time.
        let range = if name == "pipeline" { (now - 3600, now + 60) } else { (START - 3600, START + HOURS * 3600) };
        for interval in [300, 3600] {
            let mut whole = Choice { range, interval, variables: BTreeMap::new() };
            let mut choices: Vec<Choice> = singles.iter().map(|single| Choice { variables: single.clone(), ..whole.clone() }).collect();
            choices.iter_mut().for_each(|choice| all(&board, &mut reader, choice));
            all(&board, &mut reader, &mut whole);
            for panel in panels(&board).filter(|panel| !text(&panel["title"]).ends_with("(Prometheus)")) {
                let place = format!("{name}: '{}'", text(&panel["title"]));
                let rows: Vec<usize> = choices.iter().map(|choice| show(&place, panel, choice, &mut reader)).collect();
                let wall = wall_clock_or_event_time(panel, &whole, now);
                let all = show(&place, panel, &wall, &mut reader);
                assert!(name == "series" || all > 0, "{place} shows nothing of everything");
                assert!(rows.iter().any(|rows| *rows > 0) || !name.starts_with("series"), "{place} shows nothing of {choices:?}");
            }
            for annotation in list(&board["annotations"]["list"]).iter().filter(|one| !one["target"].is_null()) {
                let around = Choice { range: (START - 3600, START + HOURS * 3600), ..whole.clone() };
                let (columns, rows) = reader.ask(&name, &around.expand(text(&annotation["target"]["rawSql"])));
                assert_eq!(columns, ["time", "timeend", "title", "text", "tags", "id"]);
                assert!(!rows.is_empty(), "{name}: no incident is marked");
            }
        }
    }
}

/// A panel over the minutes of commits, on a dashboard whose range is simulated, is asked for around now.
fn wall_clock_or_event_time(panel: &Value, choice: &Choice, now: i64) -> Choice {
    let sql = text(&panel["targets"][0]["rawSql"]);
    let by_event_time = sql.contains("FROM buckets") || sql.contains("FROM calibration");
    let range = match (sql.contains("FROM commits") || sql.contains("FROM dead_letters"), by_event_time) {
        (true, _) => (now - 3600, now + 60),
        (false, true) => (START - 3600, START + HOURS * 3600),
        _ => choice.range,
    };
    Choice { range, ..choice.clone() }
}

#[test]
fn every_alert_has_one_number_and_the_labels_that_it_speaks_of() {
    let Some(services) = services() else { return };
    let database = fill(&services.postgres, "alerts", &redis_database(&services.redis));
    let mut reader = Reader::open(&database);
    for rule in rules() {
        let name = text(&rule["uid"]);
        let (columns, rows) = reader.ask(name, text(&rule["data"][0]["model"]["rawSql"]));
        assert!(!rows.is_empty(), "{name} looks at nothing");
        let numbers = columns.iter().filter(|column| rows.iter().all(|row| row[column.as_str()].is_number())).count();
        assert_eq!(numbers, 1, "{name} needs one number, the rest are labels: {rows:?}");
        let mut spoken = Vec::new();
        texts(&rule["annotations"], &mut |text| {
            spoken.extend(text.split(".Labels.").skip(1).map(|rest| rest.split([' ', '}']).next().unwrap()));
        });
        for label in spoken {
            assert!(columns.iter().any(|column| column == label), "{name} speaks of {label}, but has {columns:?}");
        }
    }
}

#[test]
fn the_role_of_the_dashboards_may_read_and_nothing_else() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "reader");
    tidewatch(&["migrate", "--history", &database.url()]);
    let mut reader = Reader::open(&database).0;
    reader.batch_execute("SET default_transaction_read_only = off; SELECT * FROM buckets_hourly; SELECT * FROM placed_series").unwrap();
    for refused in
        ["DELETE FROM buckets", "INSERT INTO silences (entity) VALUES ('x')", "DROP TABLE anomalies", "CREATE TABLE mine (n INT)"]
    {
        let error = reader.batch_execute(refused).unwrap_err();
        assert_eq!(error.code(), Some(&postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{refused}: {error:?}");
    }
}

/// Managed servers often let nobody make roles: failed once they would have kept everybody from migrating.
#[test]
fn a_server_on_which_nobody_may_make_roles_is_migrated_all_the_same() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "managed");
    let owner = format!("tidewatch_owner_{}", std::process::id());
    database.run(&format!(
        "CREATE ROLE {owner} LOGIN PASSWORD 'x';
         DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {owner}', current_database()); END $$"
    ));
    let mut url = url::Url::parse(&database.url()).unwrap();
    url.set_username(&owner).unwrap();
    url.set_password(Some("x")).unwrap();
    url.query_pairs_mut().append_pair("schema", "ours");
    tidewatch(&["migrate", "--history", url.as_str()]);
    assert_eq!(database.number("SELECT count(*) FROM ours.commits"), 0);
    database.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}
