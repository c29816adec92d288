//! Whom the clients believe, and who is believed: each service with TLS, and passwords that are kept beside the URL and shown nowhere.

use crate::support::{Database, Services, redis_number, services, variable};
use std::process::Command;
use std::time::{Duration, Instant};

/// The password of Kafka's user `tidewatch`, and of those that these tests make.
const PASSWORD: &str = "hunter2";

/// What has TLS.
struct Trusted {
    services: Services,
    folder: String,
    kafka: String,
    redis: String,
}

fn trusted() -> Option<Trusted> {
    let services = services()?;
    let folder = variable("TIDEWATCH_TEST_TLS", "the folder of certificates")?;
    let kafka = variable("TIDEWATCH_TEST_KAFKA_TLS", "the address of a Kafka broker with TLS")?;
    let redis = variable("TIDEWATCH_TEST_REDIS_TLS", "the URL of a Redis server with TLS")?;
    Some(Trusted { services, folder, kafka, redis })
}

impl Trusted {
    /// A Kafka URL with TLS: `rest` follows on the topic and the parameters that all have.
    fn kafka(&self, brokers: &str, authority: &str, rest: &str) -> String {
        let topic = format!("trust-{}", std::process::id());
        let folder = &self.folder;
        let user = "security.protocol=sasl_ssl&sasl.mechanism=SCRAM-SHA-512&sasl.username=tidewatch";
        format!("kafka://{brokers}/{topic}?{user}&ssl.ca.location={folder}/{authority}.pem{rest}")
    }
}

/// Runs the binary, and gives whether it ended well and all that it said. The password is in none of it, however talkative the logs.
fn tidewatch(arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(arguments).env("TIDEWATCH_NO_PAGE", "1").env("TIDEWATCH_LOG", "trace").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(PASSWORD), "{arguments:?} shows the password:\n{said}");
    (output.status.success(), said)
}

/// What `check` says of one part: whether it is as it must be, and the line.
fn check(flag: &str, url: &str) -> (bool, String) {
    let (_, said) = tidewatch(&["check", flag, url], &[]);
    let part = flag.trim_start_matches("--");
    let line = said.lines().find(|line| line.starts_with(&format!("ok      {part}")) || line.starts_with(&format!("failed  {part}")));
    let line = line.unwrap_or_else(|| panic!("{said}")).to_owned();
    (line.starts_with("ok"), line)
}

/// Turns PostgreSQL's TLS on or off, for connections to come.
fn postgres_tls(server: &str, action: &str, shown: &str) {
    let mut client = postgres::Client::connect(server, postgres::NoTls).unwrap();
    client.batch_execute(&format!("ALTER SYSTEM {action}")).unwrap();
    client.batch_execute("SELECT pg_reload_conf()").unwrap();
    let since = Instant::now();
    let now = || -> String {
        let mut client = postgres::Client::connect(server, postgres::NoTls).unwrap();
        client.query_one("SELECT current_setting('ssl')", &[]).unwrap().get(0)
    };
    while now() != shown {
        assert!(since.elapsed() < Duration::from_secs(30), "ssl stays other than {shown}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn postgres_is_believed_with_the_right_name_by_a_known_authority_and_never_in_plain_text() {
    let Some(trusted) = trusted() else { return };
    let Trusted { services, folder, .. } = &trusted;
    let url = |host: &str, authority: &str| {
        let server = services.postgres.replace("127.0.0.1", host);
        format!("{server}?sslmode=verify-full&sslrootcert={folder}/{authority}.pem")
    };
    let (ok, line) = check("--history", &url("localhost", "ca"));
    assert!(ok, "{line}");
    for (host, authority) in [("127.0.0.1", "ca"), ("localhost", "stranger")] {
        let (ok, line) = check("--history", &url(host, authority));
        assert!(!ok && line.contains("check sslrootcert and the host's name"), "{host} {authority}: {line}");
    }
    postgres_tls(&services.postgres, "SET ssl = off", "off");
    let plain = check("--history", &url("localhost", "ca"));
    postgres_tls(&services.postgres, "RESET ssl", "on");
    assert!(!plain.0 && plain.1.contains("turn it on at the server"), "{}", plain.1);
}

#[test]
fn redis_is_believed_with_the_right_name_by_a_known_authority_and_never_in_plain_text() {
    let Some(trusted) = trusted() else { return };
    let Trusted { services, folder, redis, .. } = &trusted;
    let url = |server: &str, authority: &str| format!("{server}/5?sslrootcert={folder}/{authority}.pem");
    let (ok, line) = check("--models", &url(redis, "ca"));
    assert!(ok, "{line}");
    for (server, authority) in [(redis.replace("localhost", "127.0.0.1"), "ca"), (redis.clone(), "stranger")] {
        let (ok, line) = check("--models", &url(&server, authority));
        assert!(!ok && line.contains("check sslrootcert and the host's name"), "{server} {authority}: {line}");
    }
    // Nobody has heard of the authority but us.
    let (ok, line) = check("--models", redis);
    assert!(!ok && line.contains("check sslrootcert"), "{line}");
    // Waited for ever once: the client has no timeout for a server that takes the greeting of TLS for the beginning of a command.
    let plain = services.redis.replace("redis://127.0.0.1", "rediss://localhost");
    let (ok, line) = check("--models", &url(&plain, "ca"));
    assert!(!ok && line.contains("speak TLS"), "{line}");
}

#[test]
fn kafka_with_tls_and_scram_is_written_and_read_and_a_wrong_password_or_authority_is_an_error() {
    let Some(trusted) = trusted() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let by_file = format!("&password_file={}", file.display());
    let live = ["--preset", "dev", "--seed", "7", "--start", "2026-01-19T00:00:00Z", "--for", "30m", "--speed", "max", "--backfill", "0s"];
    let write = |to: &str| tidewatch(&[&["generate", "--to", to], live.as_slice()].concat(), &[]);
    let (ok, said) = write(&trusted.kafka(&trusted.kafka, "ca", &by_file));
    assert!(ok && said.contains("13,680 records"), "{said}");

    let history = format!("embedded:{}", folder.path().join("history.db").display());
    let source = trusted.kafka(&trusted.kafka, "ca", "");
    let run = ["run", "--source", &source, "--history", &history, "--models", &history, "--until-end"];
    let (ok, said) = tidewatch(&run, &[("TIDEWATCH_SOURCE_PASSWORD", PASSWORD)]);
    assert!(ok && said.contains("13,680 records"), "{said}");

    let elsewhere = trusted.kafka.replace("localhost", "127.0.0.1");
    let refused = [
        (trusted.kafka(&trusted.kafka, "ca", "&sasl.password=guessed"), "invalid credentials"),
        (trusted.kafka(&trusted.kafka, "stranger", &by_file), "certificate verify failed"),
        (trusted.kafka(&elsewhere, "ca", &by_file), "certificate verify failed"),
    ];
    for (url, reason) in refused {
        let (ok, line) = check("--source", &url);
        assert!(!ok && line.contains(reason) && line.contains("check ssl.ca.location"), "{url}: {line}");
        let (ok, said) = write(&url);
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{said}"));
        assert!(!ok && error.contains(reason), "{url}: {error}");
    }
}

#[test]
fn passwords_of_files_and_variables_open_every_service_and_are_shown_nowhere() {
    let Some(trusted) = trusted() else { return };
    let Trusted { services, redis, folder: certificates, .. } = &trusted;
    let database = Database::create(&services.postgres, "hushed");
    let role = format!("hushed_{}", std::process::id());
    let mut client = postgres::Client::connect(&services.postgres, postgres::NoTls).unwrap();
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")).unwrap();
    let mut connection = redis::Client::open(services.redis.as_str()).unwrap().get_connection().unwrap();
    redis::cmd("ACL").arg(&["SETUSER", &role, "on", &format!(">{PASSWORD}"), "~*", "+@all"]).exec(&mut connection).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password").display().to_string();
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    std::fs::write(folder.path().join("x.jsonl"), "{\"server_id\":\"a\",\"timestamp\":1768780800,\"cpu\":1}\n").unwrap();

    let history = database.url().replace("tidewatch:tidewatch@", &format!("{role}@"));
    let models = format!("{}/{}?sslrootcert={certificates}/ca.pem", redis.replace("://", &format!("://{role}@")), redis_number());
    let source = format!("file:{}", folder.path().join("x.jsonl").display());
    let run = |history: &str, models: &str, variables: &[(&str, &str)]| {
        let outcome = tidewatch(&["run", "--source", &source, "--history", history, "--models", models], variables);
        let checked = tidewatch(&["check", "--source", &source, "--history", history, "--models", models], variables);
        assert_eq!(outcome.0, checked.0, "{}{}", outcome.1, checked.1);
        outcome
    };
    let inline = |url: &str| url.replace(&format!("{role}@"), &format!("{role}:{PASSWORD}@"));
    let by_file = |url: &str, separator: char| format!("{url}{separator}password_file={file}");
    let named = [("TIDEWATCH_HISTORY_PASSWORD_FILE", file.as_str()), ("TIDEWATCH_MODELS_PASSWORD_FILE", file.as_str())];
    let given = [("TIDEWATCH_HISTORY_PASSWORD", PASSWORD), ("TIDEWATCH_MODELS_PASSWORD", PASSWORD)];
    for (history, models, variables) in [
        (inline(&history), inline(&models), [].as_slice()),
        (by_file(&history, '?'), by_file(&models, '&'), &[]),
        (history.clone(), models.clone(), &named),
        (history.clone(), models.clone(), &given),
    ] {
        let (ok, said) = run(&history, &models, variables);
        assert!(ok && said.contains("digest: "), "{said}");
    }
    let (ok, said) = run(&history, &models, &[("TIDEWATCH_HISTORY_PASSWORD", "guessed"), ("TIDEWATCH_MODELS_PASSWORD", PASSWORD)]);
    assert!(!ok && said.contains("check user and password"), "{said}");
    let (ok, said) = run(&history, &models, &[("TIDEWATCH_HISTORY_PASSWORD", PASSWORD), ("TIDEWATCH_MODELS_PASSWORD", "guessed")]);
    assert!(!ok && said.contains("are user and password right?"), "{said}");
    client
        .batch_execute(&format!("REASSIGN OWNED BY {role} TO tidewatch; DROP ROLE {role}"))
        .unwrap_or_else(|error| eprintln!("{role}: {error}"));
    redis::cmd("ACL").arg(&["DELUSER", &role]).exec(&mut connection).unwrap();
}
