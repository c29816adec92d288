//! The interface behind the page, over PostgreSQL and Redis: every question that the page asks, and every change that it makes.

use crate::support::{Database, Process, redis_database, services};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The server of a run.
struct Server(String);

impl Server {
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let (address, body) = (&self.0, if body.is_null() { String::new() } else { body.to_string() });
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn change(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, &format!("/api/v1/{path}"), body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        let answer = serde_json::from_str(&answer).unwrap();
        assert_as_described(method, path.split('?').next().unwrap(), &answer);
        answer
    }

    fn get(&self, path: &str) -> Value {
        self.change("GET", path, &Value::Null)
    }

    /// Asks until the answer is as it should be.
    fn comes_to(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let answer = self.get(path);
            if wanted(&answer) {
                return answer;
            }
            assert!(since.elapsed() < Duration::from_secs(180), "{path} stays {answer}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// An answer has the fields that its description promises, no others, and each of its type.
fn assert_as_described(method: &str, path: &str, answer: &Value) {
    let description: Value = serde_json::from_str(include_str!("../../src/serve/page/openapi.json")).unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.trim_start_matches("/api/v1/").split('/').collect();
        wanted.len() == parts.len() && wanted.iter().zip(&parts).all(|(wanted, part)| wanted.starts_with('{') || wanted == part)
    };
    let (_, methods) = description["paths"].as_object().unwrap().iter().find(|(template, _)| fits(template)).unwrap();
    let described = &methods[method.to_lowercase()]["responses"]["200"]["content"]["application/json"]["schema"];
    let schema = json!({ "allOf": [described], "components": description["components"] });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(answer).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(wrong.is_empty(), "{method} {path}: {wrong:?}");
}

fn count(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

#[test]
fn the_page_reads_and_writes_a_history_in_postgresql() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "page");
    let (history, models) = (database.url(), redis_database(&services.redis));
    let line = "run --source simulate:chaos --seed 7 --start 2026-01-19T00:00:00Z --backfill 3d --interval 30s --speed 120 --listen 127.0.0.1:0 --no-raw";
    let stores = ["--history", &history, "--models", &models];
    let mut run = Process::start(line.split(' ').chain(stores).map(Into::into).collect());
    assert!(run.says("listening at http://"), "{}", run.said());
    let said = run.said();
    let server = Server(said.split("listening at http://").nth(1).unwrap().split_whitespace().next().unwrap().into());

    let overview = server.comes_to("overview", |answer| count(&answer["fleet"]["incidents"]) > 0);
    let worst = &overview["fleet"]["incidents"][0];
    let (id, series) = (worst["incident_id"].as_str().unwrap(), worst["peak"]["series"].as_str().unwrap());
    assert_eq!(overview["fleet"]["entities"], 120);
    let heat = server.comes_to("heatmap?span=1h", |heat| count(&heat["zones"]) > 0);
    assert!(heat["zones"][0]["racks"].as_array().unwrap().iter().any(|rack| count(&rack["rows"]) > 5), "{heat}");
    assert!(count(&server.get("series")["series"]) > 600);
    assert!(server.get("incidents?span=24h")["incidents"].as_array().unwrap().iter().any(|incident| incident["incident_id"] == id));

    for status in ["open", "closed", "withdrawn"] {
        let answer = server.get(&format!("incidents?span=14d&status={status}"));
        assert!(answer["incidents"].as_array().unwrap().iter().all(|incident| incident["status"] == status), "{answer}");
        assert_eq!(answer["total"].as_u64().unwrap() as usize, count(&answer["incidents"]));
    }
    assert_eq!(server.ask("GET", "/api/v1/incidents?status=splendid", &Value::Null).0, 400);
    let latest = |one: &Value| server.get(&format!("incidents/{}", one["incident_id"].as_str().unwrap()))["latest"].clone();
    server.comes_to("incidents?span=14d&status=open", |open| {
        open["incidents"].as_array().unwrap().iter().any(|one| latest(one)["mean"].is_number())
    });

    let day = server.get(&format!("series/{series}?span=24h"));
    assert!(count(&day["points"]) > 200 && count(&day["anomalies"]) > 0, "{day}");
    assert!(day["points"].as_array().unwrap().iter().all(|point| point["trend"].is_number()), "three days are enough to be taken apart");
    assert_eq!(server.get(&format!("series/{series}?span=14d"))["step_seconds"], 3600);
    let since = Instant::now();
    while database.number("SELECT count(*) FROM buckets WHERE state = 'accompanying'") == 0 {
        assert!(since.elapsed() < Duration::from_secs(180), "no metric accompanies another one");
        std::thread::sleep(Duration::from_millis(500));
    }
    let beside = database.text(
        "SELECT entity_type || ':' || entity_id || ':' || metric FROM buckets JOIN series USING (series_id) WHERE state = 'accompanying' LIMIT 1",
    );
    let told = server.get(&format!("series/{beside}?span=24h"))["accompanying"].clone();
    assert!(told["buckets"].as_u64() > Some(0) && told["speakers"][0]["buckets"].as_u64() > Some(0), "{told}");
    assert_ne!(told["speakers"][0]["series"], beside.as_str());
    let incident = server.get(&format!("incidents/{id}"));
    assert_ne!(incident["until"], incident["last"], "it ends with the end of its last bucket");
    assert!(incident["episodes"][0]["arithmetic"].as_str().is_some_and(|words| words.contains("z_score")), "{incident}");
    assert!(count(&incident["growth"]) > 0, "{incident}");

    for label in [json!("not_useful"), json!("useful"), json!(null), json!("useful")] {
        server.change("PUT", &format!("incidents/{id}/label"), &json!({ "label": label }));
        assert_eq!(server.get(&format!("incidents/{id}"))["label"], label);
    }
    assert_eq!(database.number("SELECT count(*) FROM incident_labels WHERE label = 'useful'"), 1);
    let (status, _) = server.ask("PUT", &format!("/api/v1/incidents/{id}/label"), &json!({ "label": "splendid" }));
    assert_eq!(status, 400);

    server.change("POST", &format!("incidents/{id}/expected"), &json!({ "hours": 1 }));
    server.comes_to(&format!("incidents/{id}"), |incident| incident["status"] == "withdrawn");
    let silence = server.get("silences")["silences"][0]["silence_id"].clone();
    server.change("DELETE", &format!("silences/{silence}"), &Value::Null);
    assert!(server.ask("GET", "/metrics", &Value::Null).1.contains("tidewatch_verdicts_total{state=\"normal\"}"));
}
