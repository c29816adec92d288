//! What the generator promises to those who read what it wrote.

use super::*;
use clap::Parser;
use std::io::{self, Write};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn parse(line: &str) -> Args {
    Command::try_parse_from(["generate"].into_iter().chain(line.split_whitespace())).unwrap().args
}

const LOG: &str = "--preset dev --start 2026-01-19T00:00:00Z --backfill 1d --for 10m --speed max";

#[test]
fn a_file_holds_every_record_in_the_order_of_time_and_the_truth_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, truth) = (folder.path().join("log.jsonl"), folder.path().join("truth.jsonl"));
    let args = parse(&format!("{LOG} --to file:{} --truth {}", log.display(), truth.display()));
    let report = generate(&args, &AtomicBool::new(false)).unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let times: Vec<Time> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["timestamp"].as_str().and_then(instant::parse).unwrap())
        .collect();
    assert_eq!(times.len(), 38 * (288 + 120));
    assert!(times.is_sorted());
    assert_eq!(report.records as usize, times.len());
    assert_eq!(report.bytes as usize, text.len() - times.len());
    assert_eq!(report.span, Some((times[0], times[times.len() - 1])));
    assert_eq!(report.injections, std::fs::read_to_string(&truth).unwrap().lines().count());
}

#[test]
fn the_flags_have_the_defaults_of_the_manual() {
    let args = parse("");
    let options = args.simulation.options(5000);
    assert_eq!((args.to.as_str(), args.preset.as_str()), ("-", "dev"));
    assert_eq!(options, Options::at(5000));
    let args = parse("--speed 60 --for 90m --interval 1s --seed 3");
    let options = args.simulation.options(5000);
    assert_eq!((options.pace, options.live, options.seed), (Pace::Times(60.0), Some(Duration::from_secs(5400)), 3));
}

/// A pipe whose reader leaves after some bytes.
struct Head(usize);

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_pipe_is_a_quiet_end_and_so_is_being_stopped() {
    let simulator = simulate::open("dev", &parse(LOG).simulation.options(0)).unwrap();
    let all = simulator.records().unwrap();
    let sink = Sink::lines(Box::new(Head(1_000_000)), "a pipe");
    let report = pump(&simulator, sink, None, &ProgressBar::hidden(), &AtomicBool::new(false)).unwrap();
    assert!((1..all).contains(&report.records), "{report}");
    let sink = Sink::lines(Box::new(io::sink()), "nowhere");
    let report = pump(&simulator, sink, None, &ProgressBar::hidden(), &AtomicBool::new(true)).unwrap();
    assert_eq!(report, Report::default());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    for (to, problem) in [("ftp://host", "kafka://HOST:PORT/TOPIC, file:PATH or -"), ("file:/no/such/folder/x", "/no/such/folder/x")] {
        let error = generate(&parse(&format!("{LOG} --to {to}")), &AtomicBool::new(false)).unwrap_err();
        assert!(format!("{error:#}").contains(problem), "{error:#}");
    }
}

#[test]
fn the_truth_of_an_endless_log_stays_ahead_of_it() {
    let simulation = parse("--preset chaos --start 2026-01-19T00:00:00Z --backfill 1d").simulation;
    let simulator = simulate::open("chaos", &simulation.options(0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut truth = TruthFile::create(&folder.path().join("truth.jsonl"), &simulator).unwrap();
    for hour in 0..72 {
        let reached = simulator.start() + hour * 3_600_000;
        let rows = truth.extend(&simulator, reached).unwrap();
        assert!(truth.written_until > reached);
        assert_eq!(rows, simulator.truth(simulator.first(), truth.written_until).len());
    }
}
