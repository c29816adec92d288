//! The services of `compose.yml` that are ours, started with their very commands and environments, on services of the tests instead of containers.

use crate::support::{Database, Services, redis_database, services};
use serde_yaml_ng::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn service(name: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose.yml")).unwrap();
    let mut file: Value = serde_yaml_ng::from_str(&text).unwrap();
    file.apply_merge().unwrap();
    file["services"][name].clone()
}

/// What stands for what only containers have.
struct Stand {
    kafka: String,
    history: String,
    models: String,
    folder: tempfile::TempDir,
}

impl Stand {
    fn new(services: &Services, database: &Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::parse(&database.url()).unwrap();
        std::fs::write(folder.path().join("history"), format!("{}\n", url.password().unwrap_or_default())).unwrap();
        let history = format!("{}@{}:{}{}", url.username(), url.host_str().unwrap(), url.port().unwrap(), url.path());
        let kafka = format!("kafka://{}/compose-{}", services.kafka, std::process::id());
        Self { kafka, history, models: redis_database(&services.redis), folder }
    }

    /// A text of the file, with hosts, topic and folders of the test.
    fn replace(&self, text: &str) -> String {
        let text = text.replace("kafka://kafka:19092/metrics", &self.kafka).replace("tidewatch@history/tidewatch", &self.history);
        let text = text.replace("redis://models:6379", &self.models).replace("0.0.0.0:8080", "127.0.0.1:0");
        let folder = self.folder.path().to_str().unwrap();
        // A fortnight is for people; the flag is the same.
        text.replace("/var/lib/tidewatch", folder)
            .replace("/run/secrets", folder)
            .replace("--backfill 14d", "--backfill 3d")
            .replace("$$", "$")
    }

    /// A service of ours as the engine would start it, and some of the environment besides.
    fn start(&self, name: &str, more: &[(&str, &str)]) -> Child {
        let service = service(name);
        let words = |key: &str| -> Vec<String> {
            service[key].as_sequence().into_iter().flatten().map(|word| self.replace(word.as_str().unwrap())).collect()
        };
        let binary = Path::new(env!("CARGO_BIN_EXE_tidewatch"));
        let entrypoint = words("entrypoint");
        let (program, first) =
            entrypoint.split_first().map_or((binary.to_str().unwrap(), &[][..]), |(program, rest)| (program.as_str(), rest));
        let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command.args(first).args(words("command")).env("PATH", path).current_dir(self.folder.path()).stdin(Stdio::null());
        for (key, value) in service["environment"].as_mapping().unwrap() {
            // The Redis of the tests has no password, and refuses one.
            if key != "TIDEWATCH_MODELS_PASSWORD_FILE" {
                command.env(key.as_str().unwrap(), self.replace(value.as_str().unwrap()));
            }
        }
        let said = std::fs::File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        command.envs(more.iter().copied()).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap()
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap()
    }

    /// Waits for a service that ends by itself.
    fn ends(&self, name: &str, more: &[(&str, &str)]) {
        let mut child = self.start(name, more);
        let since = Instant::now();
        while child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(100) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        assert!(child.wait().unwrap().success(), "{name} said:\n{}", self.said(name));
    }

    /// Waits until a service that never ends has said something, and ends it in good order.
    fn says(&self, name: &str, text: &str) {
        let mut child = self.start(name, &[]);
        let since = Instant::now();
        while !self.said(name).contains(text) && child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(100) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let code = child.wait().unwrap();
        assert!(self.said(name).contains(text) && code.success(), "{name} ended with {code} and said:\n{}", self.said(name));
    }
}

#[test]
fn the_services_of_compose_start_with_the_commands_and_the_environment_that_the_file_gives_them() {
    let Some(services) = services() else { return };
    let database = Database::create(&services.postgres, "compose");
    let stand = Stand::new(&services, &database);
    stand.ends("backfill", &[]);
    stand.ends("backfill", &[]);
    stand.ends("generator", &[("TIDEWATCH_FOR", "1s"), ("TIDEWATCH_SPEED", "max")]);
    stand.ends("tidewatch", &[("TIDEWATCH_UNTIL_END", "1")]);
    // 38 entities, three days, and the moments of the two live parts: a second start writes no second fortnight.
    let records = database.number("SELECT sum(records)::bigint FROM outcomes");
    assert!((32_832..33_500).contains(&records), "{records} records; {}", stand.said("tidewatch"));
    stand.says("trainer", "generation 1");
}
