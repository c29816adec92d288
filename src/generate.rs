//! `tidewatch generate`: writes the simulated log to Kafka, to a file or to standard output, in the order of time.

mod sink;

use crate::instant;
use crate::source::simulate::{self, Injection, Options, Outage, PARTITIONS, Pace, Simulator, write_truth};
use crate::source::{Poll, Reader, Source};
use anyhow::{Context, Result};
use dataflows::Time;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use sink::{Demand, Sink};
use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the generator sleeps when nothing is due: short beside any interval that a person would watch.
const PAUSE: Duration = Duration::from_millis(20);

/// Of a log without end, the truth is written this far ahead.
const TRUTH_AHEAD_MS: i64 = 86_400_000;

/// What pins a simulated log, for every command that reads one.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulationArgs {
    /// Chooses among simulated logs: the same seed and start give the same bytes
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// Where the simulated backfill ends and the live part begins, like 2026-01-19T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time)]
    pub start: Option<Time>,
    /// How much simulated history comes before, one record per entity and five minutes
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration, default_value = "14d")]
    pub backfill: Duration,
    /// Between two live records of an entity
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration, default_value = "5s")]
    pub interval: Duration,
    /// Ends the live part after this much simulated time [default: never]
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::cli::duration)]
    pub live: Option<Duration>,
    /// The pace of the simulated clock: 1 is real time, 60 a minute a second, max waits for nothing
    #[arg(long, value_name = "SPEED", default_value = "1")]
    pub speed: Pace,
    /// Lets an entity, or * for all, say nothing for a while, like srv-003@2026-01-19T10:00:00Z/20m; several behind commas
    #[arg(long, value_name = "ENTITY@TIME/DURATION", value_delimiter = ',')]
    pub outage: Vec<Outage>,
}

impl SimulationArgs {
    /// The simulator's options; without a start it is `now`.
    pub fn options(&self, now: Time) -> Options {
        let start = self.start.unwrap_or(now);
        let outages = self.outage.clone();
        Options { seed: self.seed, start, backfill: self.backfill, interval: self.interval, live: self.live, pace: self.speed, outages }
    }
}

/// The arguments of `tidewatch generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to: kafka://HOST:PORT/TOPIC, file:PATH or - for standard output
    #[arg(long, value_name = "URL", default_value = "-")]
    pub to: String,
    /// Which datacenter: dev, normal, chaos, temperature, network or production
    #[arg(long, value_name = "PRESET", default_value = "dev")]
    pub preset: String,
    /// Which log of it.
    #[command(flatten)]
    pub simulation: SimulationArgs,
    /// Writes what was injected, as JSON lines, to this file
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
}

/// What was generated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records written.
    pub records: u64,
    /// Their bytes, without line ends.
    pub bytes: u64,
    /// The time of the first and of the last; `None` when there is none.
    pub span: Option<(Time, Time)>,
    /// Rows of the truth file.
    pub injections: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {}", HumanCount(self.records), HumanBytes(self.bytes))?;
        if let Some((from, to)) = self.span {
            write!(f, ", {} to {}", instant::format(from), instant::format(to))?;
        }
        if self.injections > 0 {
            write!(f, ", {} injections", self.injections)?;
        }
        Ok(())
    }
}

/// Generates until the log ends, the reader of a pipe goes away, or `stop` is set (by Ctrl-C); what was generated is then delivered.
///
/// # Errors
/// An unknown preset, a place that cannot be written, a record that Kafka does not take.
pub fn generate(args: &Args, stop: &AtomicBool) -> Result<Report> {
    let simulator = simulate::open(&args.preset, &args.simulation.options(instant::now()))?;
    let truth = args.truth.as_ref().map(|path| TruthFile::create(path, &simulator)).transpose()?;
    let sink = Sink::open(&args.to)?;
    let progress = progress(&simulator);
    let report = pump(&simulator, sink, truth, &progress, stop);
    progress.finish_and_clear();
    report
}

/// Moves records tick by tick: all entities of a tick have one time, so taking the partitions in turn keeps the order of time.
fn pump(simulator: &Simulator, mut sink: Sink, mut truth: Option<TruthFile>, progress: &ProgressBar, stop: &AtomicBool) -> Result<Report> {
    let partitions: Vec<_> = simulator.partitions()?.into_iter().map(|partition| (partition, None)).collect();
    let mut reader = Source::open(simulator, &partitions)?;
    let mut report = Report::default();
    simulator.go_live();
    while !stop.load(Ordering::Relaxed) {
        let demand = match tick(simulator, reader.as_mut(), &mut sink, &mut report)? {
            (Poll::Ended, _) => break,
            (Poll::Idle | Poll::Waiting, _) => {
                let demand = sink.flush()?;
                std::thread::sleep(PAUSE);
                demand
            }
            (Poll::Read(count), demand) => {
                progress.inc(count as u64);
                demand
            }
        };
        if let (Some(truth), Some((_, reached))) = (&mut truth, report.span) {
            report.injections = truth.extend(simulator, reached)?;
        }
        if demand == Demand::Gone {
            return Ok(report);
        }
    }
    sink.finish()?;
    Ok(report)
}

/// Moves the records of one tick, or none.
fn tick(simulator: &Simulator, reader: &mut dyn Reader, sink: &mut Sink, report: &mut Report) -> Result<(Poll, Demand)> {
    let mut outcome = Ok(Demand::More);
    let mut count = 0;
    for partition in 0..PARTITIONS {
        let polled = reader.poll(partition, simulator.entities(partition), &mut |record| {
            if matches!(outcome, Ok(Demand::More)) {
                outcome = sink.write(simulator.entity_at(partition, record.offset), record.bytes);
                report.note(record.bytes, || simulator.time_at(partition, record.offset));
            }
        })?;
        match polled {
            Poll::Read(read) => count += read,
            // The clock may reach the next tick between two partitions: only the first decides whether a tick is due.
            Poll::Idle | Poll::Waiting | Poll::Ended => return Ok((polled, Demand::More)),
        }
    }
    Ok((Poll::Read(count), outcome?))
}

impl Report {
    fn note(&mut self, bytes: &[u8], time: impl Fn() -> Time) {
        self.records += 1;
        self.bytes += bytes.len() as u64;
        let time = time();
        self.span = Some((self.span.map_or(time, |(first, _)| first), time));
    }
}

/// A bar on a terminal, nothing in a pipe.
fn progress(simulator: &Simulator) -> ProgressBar {
    match simulator.records() {
        Some(records) => ProgressBar::new(records).with_style(style("{bar:40} {human_pos} of {human_len} records, {per_sec}, {eta} left")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {human_pos} records, {per_sec}")),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The truth on its way to a file: written at once for a log with an end, a day ahead of the log for one without.
struct TruthFile {
    out: BufWriter<File>,
    place: String,
    written_until: Time,
    rows: usize,
}

impl TruthFile {
    fn create(path: &PathBuf, simulator: &Simulator) -> Result<Self> {
        let place = path.display().to_string();
        let file = File::create(path).with_context(|| format!("cannot write the truth to '{place}'; is there such a folder?"))?;
        let mut truth = Self { out: BufWriter::new(file), place, written_until: simulator.first(), rows: 0 };
        truth.write_until(simulator, simulator.end().unwrap_or(simulator.start() + TRUTH_AHEAD_MS))?;
        Ok(truth)
    }

    /// Writes on when the log has come close to the last row; gives the number of rows so far.
    fn extend(&mut self, simulator: &Simulator, reached: Time) -> Result<usize> {
        if simulator.end().is_none() && reached + TRUTH_AHEAD_MS / 2 > self.written_until {
            self.write_until(simulator, self.written_until + TRUTH_AHEAD_MS)?;
        }
        Ok(self.rows)
    }

    fn write_until(&mut self, simulator: &Simulator, until: Time) -> Result<()> {
        let injections: Vec<Injection> = simulator.truth(self.written_until, until);
        write_truth(&injections, &mut self.out).with_context(|| format!("cannot write the truth to '{}'", self.place))?;
        self.rows += injections.len();
        self.written_until = until;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
