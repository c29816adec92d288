//! Two processes on Kafka and PostgreSQL, each killed again and again; and a standby that takes over.

use crate::support::{Database, Process, Services, log_of, redis_database, relation, services, tidewatch};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tidewatch::source::kafka::producer::KafkaLog;

/// Kills, shared by the two processes.
const KILLS: u64 = 20;

/// A standby must commit so soon after the end of the one that it waits for.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// A host file with two free addresses.
fn hostfile(folder: &std::path::Path) -> String {
    let listeners: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let lines: String = listeners.iter().map(|listener| format!("{}\n", listener.local_addr().unwrap())).collect();
    let path = folder.join("hosts");
    std::fs::write(&path, lines).unwrap();
    path.display().to_string()
}

/// A moment that differs from run to run, up to this many milliseconds.
fn jitter(most: u64) -> u64 {
    u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros()) % most
}

#[test]
fn twenty_kills_of_two_processes_change_nothing() {
    let Some(services) = services() else { return };
    let (alone, shaken) = (Database::create(&services.postgres, "alone"), Database::create(&services.postgres, "shaken_two"));
    let models = redis_database(&services.redis);
    let address = log_of(&services, "two", "2h", "5d");
    let folder = tempfile::tempdir().unwrap();
    let hosts = hostfile(folder.path());
    let run = |history: &str| -> Vec<String> {
        let flags = ["run", "--source", &address, "--models", &models, "--until-end", "--commit-interval", "20ms", "--history", history];
        flags.iter().map(ToString::to_string).collect()
    };
    let one_of_two = |process: &str| {
        let flags = ["-n", "2", "-p", process, "--hostfile", &hosts, "-w", "2"].map(String::from);
        [run(&shaken.url()), flags.to_vec()].concat()
    };
    let to_the_end = |history: &str| tidewatch(&run(history).iter().map(String::as_str).collect::<Vec<_>>());
    let calm = Database::create(&services.postgres, "calm_two");
    to_the_end(&calm.url());
    tidewatch(&["train", "--history", &calm.url(), "--models", &models, "--until", "2026-01-19T00:00:00Z"]);
    let alone_digest = to_the_end(&alone.url());

    let mut both = [Process::start(one_of_two("0")), Process::start(one_of_two("1"))];
    let (mut interrupted, mut left_alone) = (0, 0);
    for kill in 0..KILLS {
        std::thread::sleep(Duration::from_millis(300 + 40 * kill + jitter(100)));
        let victim = usize::try_from(kill % 2).unwrap();
        interrupted += u64::from(both[victim].is_running());
        both[victim].kill();
        // Each has a supervisor of its own, which knows nothing of the other one.
        let since = Instant::now();
        while both[1 - victim].is_running() && !both[1 - victim].said().contains("waiting for") && since.elapsed() < Duration::from_secs(5)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        for (place, number) in ["0", "1"].into_iter().enumerate() {
            if !both[place].is_running() {
                left_alone += u64::from(both[place].code() == Some(75));
                assert_ne!(both[place].code(), Some(70), "{}", both[place].said());
                both[place] = Process::start(one_of_two(number));
            }
        }
    }
    both.iter_mut().for_each(Process::kill);
    let [first, second] = [Process::start(one_of_two("0")), Process::start(one_of_two("1"))];
    let (first, second) = (first.finish(), second.finish());
    assert_eq!((first.0, second.0), (Some(0), Some(0)), "{}{}", first.2, second.2);
    let states = "SELECT string_agg(word, ', ' ORDER BY word) FROM (
        SELECT state || ' ' || count(*) AS word FROM buckets GROUP BY state
        UNION ALL SELECT 'episodes ' || status || ' ' || count(*) FROM episodes GROUP BY status) AS words";
    assert_eq!(first.1.lines().last(), alone_digest.lines().last(), "{} instead of {}", shaken.text(states), alone.text(states));
    assert!(interrupted > KILLS / 2 && left_alone > KILLS / 4, "{interrupted} of {KILLS} kills hit, {left_alone} were left alone");
    let (shaken_relation, alone_relation) = (relation(&shaken.url()), relation(&alone.url()));
    assert!(alone_relation.len() > 100_000, "{} buckets", alone_relation.len());
    assert!(shaken_relation == alone_relation);
    let events = |database: &Database| {
        database.number("SELECT (SELECT count(*) FROM server_metrics) + (SELECT count(*) FROM application_metrics) + (SELECT count(*) FROM dead_letters)")
    };
    assert_eq!(events(&shaken), events(&alone), "each record is stored once");
    assert_eq!(events(&shaken), 38 * (5 * 288 + 1440), "records in = events + dead letters");
    let read = "SELECT sum(next_offset)::bigint FROM progress";
    assert_eq!(shaken.number(read), 38 * (5 * 288 + 1440));
}

/// A paced log, its watcher and a standby; what each says is at hand.
struct Watch<'a> {
    database: Database,
    services: &'a Services,
    name: &'static str,
    address: String,
    models: String,
}

impl<'a> Watch<'a> {
    fn new(services: &'a Services, name: &'static str) -> Self {
        let address = format!("kafka://{}/{name}-{}", services.kafka, std::process::id());
        // Asking for the topic makes it.
        KafkaLog::open(&address).unwrap();
        Self { database: Database::create(&services.postgres, name), services, name, address, models: redis_database(&services.redis) }
    }

    /// A producer that goes on for as long as the test does: two minutes a second.
    fn producer(&self) -> Process {
        let flags =
            ["--preset", "dev", "--seed", "7", "--start", "2026-01-19T00:00:00Z", "--for", "6h", "--speed", "120", "--backfill", "2h"];
        Process::start([&["generate", "--to", &self.address], flags.as_slice()].concat().into_iter().map(String::from).collect())
    }

    fn process(&self, flags: &[&str]) -> Process {
        let (history, models) = (self.database.url(), self.models.as_str());
        let base = ["run", "--source", &self.address, "--history", &history, "--models", models, "--standby", "--commit-interval", "200ms"];
        Process::start(base.iter().chain(flags).map(ToString::to_string).collect())
    }

    /// How much was read and made durable.
    fn durable(&self) -> i64 {
        self.database.number("SELECT coalesce(sum(next_offset), 0)::bigint FROM progress")
    }

    fn writer(&self) -> String {
        self.database.text("SELECT coalesce(min(writer), '') FROM sources")
    }

    /// Waits until more is durable than was; how long that took.
    fn wait_for_progress(&self, processes: &mut [&mut Process]) -> Duration {
        let (since, before) = (Instant::now(), self.durable());
        while self.durable() <= before {
            let said = || processes.iter().map(|process| process.said()).collect::<String>();
            assert!(since.elapsed() < Duration::from_secs(60), "nobody commits: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        since.elapsed()
    }

    /// Waits until the writer is another one and has committed something; how long that took.
    fn wait_for_another(&self, writer: &str, processes: &mut [&mut Process]) -> Duration {
        let since = Instant::now();
        while self.writer() == writer {
            let said = || processes.iter().map(|process| process.said()).collect::<String>();
            assert!(since.elapsed() < Duration::from_secs(60), "nobody takes over: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.wait_for_progress(processes);
        since.elapsed()
    }

    /// Ends all that goes on; what is stored must be what one process makes of the same log.
    fn compare(&self, mut processes: Vec<Process>) {
        processes.iter_mut().for_each(Process::kill);
        let alone = Database::create(&self.services.postgres, &format!("{}_alone", self.name));
        for database in [&self.database, &alone] {
            tidewatch(&[
                "run",
                "--source",
                &self.address,
                "--history",
                &database.url(),
                "--models",
                &self.models,
                "--until-end",
                "-w",
                "2",
            ]);
        }
        let (one, other) = (relation(&self.database.url()), relation(&alone.url()));
        assert!(one.len() > 5_000 && one == other, "{} and {} buckets", one.len(), other.len());
    }
}

#[test]
fn a_standby_commits_within_ten_seconds_of_a_kill() {
    let Some(services) = services() else { return };
    let watch = Watch::new(&services, "standby");
    let producer = watch.producer();
    let mut first = watch.process(&[]);
    watch.wait_for_progress(&mut [&mut first]);
    let mut standby = watch.process(&[]);
    assert!(standby.says("takes over when it ends"), "{}", standby.said());
    let writer = watch.writer();
    first.kill();
    let took = watch.wait_for_another(&writer, &mut [&mut standby]);
    assert!(took < TAKE_OVER, "{took:?}: {}", standby.said());
    assert!(standby.said().contains("this one takes over"), "{}", standby.said());
    watch.compare(vec![producer, standby]);
}

/// The lock goes with the session: whoever asks first has it, and the other one must not store another row.
#[test]
fn of_two_processes_one_goes_on_when_the_session_that_held_the_lock_is_ended() {
    let Some(services) = services() else { return };
    let watch = Watch::new(&services, "session");
    let producer = watch.producer();
    let mut first = watch.process(&[]);
    watch.wait_for_progress(&mut [&mut first]);
    let mut standby = watch.process(&[]);
    assert!(standby.says("takes over when it ends"), "{}", standby.said());
    for _ in 0..5 {
        watch.database.number(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        );
        watch.wait_for_progress(&mut [&mut first, &mut standby]);
    }
    if !first.is_running() {
        assert_eq!(first.code(), Some(1));
        assert!(first.said().contains("another process has taken over this source"), "{}", first.said());
    }
    watch.compare(vec![producer, first, standby]);
}

/// Failed once: the session of a frozen process stays as it is, and its lock with it, so that the standby waited for ever.
#[test]
fn a_frozen_process_is_taken_over_and_stores_nothing_when_it_goes_on() {
    let Some(services) = services() else { return };
    let watch = Watch::new(&services, "frozen");
    let producer = watch.producer();
    let mut first = watch.process(&[]);
    watch.wait_for_progress(&mut [&mut first]);
    let mut standby = watch.process(&[]);
    assert!(standby.says("takes over when it ends"), "{}", standby.said());
    let writer = watch.writer();
    // Not in the middle of a statement, which the server gives a minute rather than seconds.
    let at_work = "SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory' AND state = 'active'
        AND datname = current_database()";
    first.signal("STOP");
    while watch.database.number(at_work) > 0 {
        first.signal("CONT");
        std::thread::sleep(Duration::from_millis(7));
        first.signal("STOP");
    }
    let took = watch.wait_for_another(&writer, &mut [&mut standby]);
    assert!(took < TAKE_OVER, "{took:?}: {}", standby.said());
    first.signal("CONT");
    let (code, _, said) = first.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process has taken over this source"), "{said}");
    watch.wait_for_progress(&mut [&mut standby]);
    watch.compare(vec![producer, standby]);
}

/// A standby of two processes is a second pair: its process 0 waits for the lock, and its process 1 for process 0.
#[test]
fn a_second_pair_takes_over_when_one_process_of_the_first_is_killed() {
    let Some(services) = services() else { return };
    let watch = Watch::new(&services, "pairs");
    let producer = watch.producer();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let pair = |number: usize| {
        let hosts = hostfile(folders[number].path());
        ["0", "1"].map(|process| watch.process(&["-n", "2", "-p", process, "--hostfile", &hosts]))
    };
    let [mut first, mut second] = pair(0);
    watch.wait_for_progress(&mut [&mut first, &mut second]);
    let [mut third, mut fourth] = pair(1);
    assert!(third.says("takes over when it ends"), "{}", third.said());
    assert!(fourth.says("waiting for it"), "{}", fourth.said());
    // Much is read while the second pair waits: what its process 1 could know of history in the beginning must not count.
    std::thread::sleep(Duration::from_secs(3));
    let (writer, before) = (watch.writer(), watch.durable());
    second.kill();
    let took = watch.wait_for_another(&writer, &mut [&mut third, &mut fourth]);
    assert!(took < TAKE_OVER, "{took:?}: {}{}", third.said(), fourth.said());
    let (code, _, said) = first.finish();
    assert_eq!(code, Some(75), "{said}");
    // Both are told, for each waits for the other.
    [&third, &fourth].into_iter().for_each(|process| process.signal("INT"));
    let read: i64 = [third, fourth].into_iter().map(|process| records(&process.finish().2)).sum();
    let since = watch.durable() - before;
    assert!(0 < read && read <= since, "{read} records were read as new, {since} were");
    watch.compare(vec![producer]);
}

/// The number in the last line of a run: `INFO 1,234 records in …`.
fn records(said: &str) -> i64 {
    let line = said.lines().rfind(|line| line.contains(" records in ")).unwrap_or_else(|| panic!("{said}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "records").unwrap();
    words[place - 1].replace(',', "").parse().unwrap()
}
