//! One log, one digest: whatever the number of workers and processes, the order of partitions, the restarts, live or as a backtest.

use crate::processes::together;
use crate::support::Place;
use std::fmt::Write;

/// Partitions of the log.
const PARTITIONS: usize = 4;
/// Where training ends.
const TRAINED_UNTIL: &str = "2026-01-19T00:00:00Z";

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// The simulated log of a few days, spoiled: records come twice, out of order, late, too late, or are none.
fn spoiled(place: &Place) -> Vec<String> {
    place.run(&format!("generate --to file:clean.jsonl --seed 7 --start {TRAINED_UNTIL} --backfill 3d --for 1h --speed max")).well();
    let clean = std::fs::read_to_string(place.path("clean.jsonl")).unwrap();
    let mut numbers = Numbers(7);
    let mut placed: Vec<(usize, String)> = Vec::new();
    for (place, line) in clean.lines().enumerate() {
        // A place is a record of one of 38 entities: in the live part 456 of them are a minute.
        let delay = match numbers.below(100) {
            0..10 => numbers.below(150),
            10..12 => 456 * numbers.below(40),
            12 => 456 * (100 + numbers.below(20)),
            _ => 0,
        };
        placed.push((place + delay, line.to_owned()));
        match numbers.below(200) {
            0..4 => placed.push((place + numbers.below(500), line.to_owned())),
            4 => placed.push((place, line[..1 + numbers.below(line.len() - 1)].to_owned())),
            _ => {}
        }
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, line)| line).collect()
}

/// The partition of a record: one for all records of an entity, and for what is no record any.
fn partition_of(line: &str) -> usize {
    let name = line.split('"').find(|word| word.starts_with("srv-")).unwrap_or(line);
    name.bytes().map(usize::from).sum::<usize>() % PARTITIONS
}

fn text(lines: &[&String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

/// The digest of a history, as the command prints it.
fn digest(place: &Place, history: &str) -> String {
    place.run(&format!("digest --history embedded:{history}")).well().digest()
}

/// The log in four files, and models that were trained on what comes before the live part.
fn partitioned() -> (Place, Vec<String>) {
    let place = Place::new();
    let lines = spoiled(&place);
    for partition in 0..PARTITIONS {
        let own: Vec<&String> = lines.iter().filter(|line| partition_of(line) == partition).collect();
        place.write(["0.jsonl", "1.jsonl", "2.jsonl", "3.jsonl"][partition], text(&own));
    }
    place.run("run --source file:0.jsonl,1.jsonl,2.jsonl,3.jsonl --history embedded:training.db --models embedded:none.db").well();
    let report = place.run(&format!("train --history embedded:training.db --models embedded:models.db --until {TRAINED_UNTIL}")).well();
    assert!(report.stdout.contains("trained 220 of 220"), "{}", report.stdout);
    (place, lines)
}

#[test]
fn workers_processes_and_the_order_of_partitions_change_nothing() {
    let (place, lines) = partitioned();
    let run = |files: &str, history: &str| format!("run --source file:{files} --history embedded:{history} --models embedded:models.db");
    let in_order = "0.jsonl,1.jsonl,2.jsonl,3.jsonl";
    let first = place.run(&format!("{} -w 1", run(in_order, "w1.db"))).well();
    let dead = |history: &str| -> (i64, i64, i64) {
        let database = rusqlite::Connection::open(place.path(history)).unwrap();
        let count = |filter: &str| {
            let query = format!("SELECT count(*) FROM {filter}");
            database.query_row(&query, [], |row| row.get(0)).unwrap()
        };
        (
            count("dead_letters WHERE reason = 'too_late'"),
            count("dead_letters"),
            count("server_metrics") + count("application_metrics") + count("dead_letters"),
        )
    };
    let letters = dead("w1.db");
    assert!(letters.0 > 50 && letters.1 > letters.0 + 50, "what is to be told apart must be there: {letters:?}");
    assert_eq!(letters.2, i64::try_from(lines.len()).unwrap(), "records in = events + dead letters");
    for (workers, files) in [(2, in_order), (4, "3.jsonl,1.jsonl,0.jsonl,2.jsonl"), (8, in_order), (1, "2.jsonl,3.jsonl,1.jsonl,0.jsonl")] {
        let history = format!("w{workers}-{}.db", files == in_order);
        let outcome = place.run(&format!("{} -w {workers} --commit-interval 20ms", run(files, &history))).well();
        assert_eq!(outcome.digest(), first.digest(), "-w {workers}, {files}");
        assert_eq!(digest(&place, &history), first.digest());
        assert_eq!(dead(&history), letters, "-w {workers}, {files}");
    }
    for (round, workers) in [1, 2].into_iter().enumerate() {
        let history = format!("n2-{round}.db");
        assert_eq!(together(&place, &format!("{} -w {workers}", run(in_order, &history))), first.digest(), "-n 2 -w {workers}");
        assert_eq!(dead(&history), letters);
    }
}

/// The live way: a log that grows, runs that are killed and started again, a training in between.
#[test]
fn live_and_backtest_come_to_the_same() {
    let place = Place::new();
    let lines = spoiled(&place);
    // What comes late to the last bucket of the training must not be trained on by one of the two only: it is read before both train.
    let trained_on = lines.iter().rposition(|line| line.contains("2026-01-18T23:")).unwrap() + 1;
    place.write("log.jsonl", text(&lines[..trained_on].iter().collect::<Vec<_>>()));
    let run = "run --source file:log.jsonl --history embedded:live.db --models embedded:live.db --commit-interval 20ms";
    place.run(&format!("{run} -w 2")).well();
    let report = place.run(&format!("train --history embedded:live.db --models embedded:live.db --until {TRAINED_UNTIL}")).well();
    assert!(report.stdout.contains("trained 220 of 220"), "{}", report.stdout);
    for (step, share) in [30, 55, 80, 100].into_iter().enumerate() {
        let until = trained_on + (lines.len() - trained_on) * share / 100;
        place.write("log.jsonl", text(&lines[..until].iter().collect::<Vec<_>>()));
        let mut killed = place.call(run).start();
        std::thread::sleep(std::time::Duration::from_millis(60 * (step as u64 + 1)));
        killed.kill();
        place.run(&format!("{run} -w {}", step + 1)).well();
    }
    let live = digest(&place, "live.db");
    for workers in [1, 4] {
        let history = format!("past-{workers}.db");
        let flags = format!("--train-until {TRAINED_UNTIL} --out {history}.csv --history embedded:{history} -w {workers}");
        place.run(&format!("backtest log.jsonl {flags}")).well();
        assert_eq!(digest(&place, &history), live, "-w {workers}");
    }
    // By the models that are there already, and without a history.
    let rows = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(place.path(name)).unwrap();
        text.lines().skip(1).filter(|line| *line >= TRAINED_UNTIL).map(str::to_owned).collect()
    };
    for workers in [1, 4] {
        place.run(&format!("backtest log.jsonl --models embedded:live.db --out scored.csv -w {workers}")).well();
        assert_eq!(rows("scored.csv"), rows("past-1.db.csv"), "-w {workers}");
    }
    let is_partial = |name: &std::ffi::OsStr| name.to_string_lossy().contains(".partial");
    assert!(rows("scored.csv").len() > 220);
    assert!(!std::fs::read_dir(place.path(".")).unwrap().any(|file| is_partial(&file.unwrap().file_name())), "nothing is left over");
    let scored: i64 = rusqlite::Connection::open(place.path("live.db"))
        .and_then(|database| database.query_row("SELECT count(*) FROM buckets WHERE z_score IS NOT NULL", [], |row| row.get(0)))
        .unwrap();
    assert!(scored >= 220 * 12, "the hour after the training is scored: {scored}");
    place
        .run(&format!("backtest log.jsonl --train-until {TRAINED_UNTIL} --out again.csv --history embedded:past-1.db"))
        .error(&["past-1.db", "holds this input already"]);
    place.run("backtest log.jsonl --models embedded:nowhere.db").error(&["nowhere.db", "there is nothing"]);
    place.run("migrate --history embedded:empty.db").well();
    place.run("backtest log.jsonl --models embedded:empty.db --out scored.csv").error(&["empty.db", "train first", "--train-until"]);
    assert!(!rows("scored.csv").is_empty(), "what an earlier one has written is left");
    // Failed: of two trainings only the later one was handed over, and what lay between them stayed unscored.
    let later = "2026-01-19T00:30:00Z";
    place.run(&format!("train --history embedded:live.db --models embedded:live.db --until {later}")).well();
    place.run("backtest log.jsonl --models embedded:live.db --out scored.csv").well();
    let between = |name: &str| rows(name).into_iter().filter(|line| line.as_str() < later).collect::<Vec<_>>();
    assert!(between("scored.csv").len() > 220);
    assert_eq!(between("scored.csv"), between("past-1.db.csv"));
    place.run("backtest log.jsonl --models embedded:live.db --bucket 10m --out scored.csv").error(&["another width", "--bucket 300s"]);
    place.run("backtest log.jsonl --models embedded:live.db --out /dev/full").error(&["/dev/full", "cannot be written"]);
}
