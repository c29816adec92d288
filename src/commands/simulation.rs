//! The main job on a simulated datacenter: backfill, train, watch, and say how much of the truth was found.

use super::run::{conclude, job, open_history, run_quietly, train_once, watch};
use super::say;
use crate::cli::{RunArgs, milliseconds};
use crate::generate::SimulationArgs;
use crate::history::{Anomaly, History, Position};
use crate::kind::Kinds;
use crate::run::{Job, Present, Statistics};
use crate::source::Source;
use crate::source::simulate::{self, Injection, Pace, Simulator};
use crate::train::{Extent, Request};
use crate::{history, instant, models, run as runner};
use anyhow::{Result, bail};
use dataflows::{SeriesId, State, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the models are fitted anew where nobody said otherwise: the prototype's hour.
const TRAIN_EVERY: Duration = Duration::from_secs(3600);
/// The longest injection of the simulator: one that began this long ago may still go on.
const INJECTION_MAX: Time = 6 * 3_600_000;
/// An injection this strong must be found.
const SIGMAS: f64 = 5.0;

/// Backfills and trains where that was not done yet, then watches the live part.
///
/// # Errors
/// See [`super::run::run`].
pub fn run(arguments: &RunArgs, preset: &str, kinds: Kinds, statistics: &Arc<Statistics>, stop: &Arc<AtomicBool>) -> Result<()> {
    // Better now than after the backfill.
    Request::period_of(milliseconds(arguments.detection.bucket))?;
    models::open(&arguments.models)?.generation()?;
    let mut history = open_history(arguments)?;
    let simulator = find(arguments, preset, &mut *history)?;
    if arguments.workers.process == 0 {
        let (source, sources) = (simulator.identity(), history.sources()?);
        if let Some(other) = sources.iter().find(|other| other.starts_with("simulate:") && **other != source) {
            tracing::warn!(%source, %other, "this history holds another simulation, which names the same series: what is expected of the one need not be what the other does; start each in a folder of its own, or give it a --history and a --models");
        }
        let width = milliseconds(arguments.detection.bucket);
        runner::claim(&simulator, width, arguments.standby, &mut *history, stop)?;
    }
    // Not before: a standby goes on from where the process ended that it waited for.
    let position = history.position(&simulator.identity(), Time::MAX)?;
    let was_backfilled = is_backfilled(&simulator, &position)?;
    if !was_backfilled {
        backfill(arguments, &simulator, &mut *history, kinds.clone(), (statistics, stop))?;
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    // One process trains, as only one reads models. A run may have ended between its backfill and the first complete push.
    let trains = arguments.workers.process == 0;
    if trains && (!was_backfilled || models::open(&arguments.models)?.generation()? == 0) {
        // What had not closed by then is scored: to a model that was trained beyond it there would be a gap.
        let reached = history.position(&simulator.identity(), Time::MAX)?.horizon.unwrap_or(simulator.start());
        for line in train_once(arguments, reached.min(simulator.start()), Extent::All, statistics)?.to_string().lines() {
            tracing::info!("{line}");
        }
    }
    // Its connection holds the right to commit, which the live part takes anew.
    drop(history);
    go_live(&simulator, &position, &arguments.simulation)?;
    let finite = arguments.simulation.live.is_some();
    let real_time = arguments.simulation.speed == Pace::Real && !finite;
    let arguments = RunArgs { train_every: arguments.train_every.or(real_time.then_some(TRAIN_EVERY)), ..arguments.clone() };
    let paced = arguments.simulation.speed != Pace::Max;
    let look_every = paced.then_some(arguments.detection.commit_interval);
    // A clock that is not ours has a present of its own; what is read in one go is past.
    let is_past = arguments.simulation.speed == Pace::Max;
    let present = if is_past || has_our_clock(&arguments.simulation) { Present::WallClock } else { Present::Horizon };
    let job = Job { look_every, ..job(&arguments, Arc::new(simulator.clone()), finite, kinds) };
    watch(&arguments, job, present, statistics, stop)?;
    if !finite || arguments.workers.process > 0 || stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    compare(&arguments, &simulator)?;
    conclude(&arguments, stop)
}

/// The simulator. Without `--start`, a history that holds such a log already goes on with it.
fn find(arguments: &RunArgs, preset: &str, history: &mut dyn History) -> Result<Simulator> {
    let open = |start: Option<Time>| {
        let simulation = SimulationArgs { start: start.or(arguments.simulation.start), ..arguments.simulation.clone() };
        simulate::open(preset, &simulation.options(instant::now()))
    };
    if arguments.simulation.start.is_none() && arguments.workers.processes > 1 {
        bail!("{} processes would simulate {0} logs: give each the same --start TIME", arguments.workers.processes);
    }
    if arguments.simulation.start.is_none() {
        // Of several, the one that began last.
        for source in history.sources()?.into_iter().rev() {
            let start = source.split(['?', '&']).find_map(|part| part.strip_prefix("start=")).and_then(instant::parse);
            let simulator = open(start)?;
            if start.is_some() && simulator.identity() == source {
                return Ok(simulator);
            }
        }
    }
    Ok(open(None)?)
}

fn is_backfilled(simulator: &Simulator, position: &Position) -> Result<bool> {
    let reached = |name: &str| position.of(name).map_or(0, |progress| progress.next_offset);
    Ok(simulator.partitions()?.iter().all(|partition| reached(&partition.name) >= simulator.backfill_end_offset(partition.id)))
}

fn backfill(
    arguments: &RunArgs,
    simulator: &Simulator,
    history: &mut dyn History,
    kinds: Kinds,
    (statistics, stop): (&Statistics, &Arc<AtomicBool>),
) -> Result<()> {
    let part = simulator.backfill();
    let total = part.records().unwrap_or(0);
    tracing::info!(
        "backfilling {} records, {} to {}",
        indicatif::HumanCount(total),
        instant::format(part.first()),
        instant::format(part.start())
    );
    let job = Job { log_continues: true, ..job(arguments, Arc::new(part), true, kinds) };
    run_quietly(job, &arguments.workers, history, None, ("backfill", Some(total)), statistics, stop)?;
    Ok(())
}

/// Whether simulated time is that of the wall clock: in real time, from now on.
fn has_our_clock(asked: &SimulationArgs) -> bool {
    asked.speed == Pace::Real && asked.start.is_none()
}

/// Starts the clock: in real time it is the wall clock, unless it was given a start of its own; otherwise it goes on where an earlier run left it.
fn go_live(simulator: &Simulator, position: &Position, asked: &SimulationArgs) -> Result<()> {
    let reached = |name: &str| position.of(name).map(|progress| progress.next_offset);
    let resumed = simulator.partitions()?.iter().filter_map(|p| Some(simulator.time_at(p.id, reached(&p.name)?))).max();
    match resumed {
        // An earlier run at a higher speed may have gone beyond the wall clock: what it read cannot be unread.
        Some(time) if has_our_clock(asked) => simulator.go_live_at(time.max(instant::now())),
        Some(time) => simulator.go_live_at(time),
        None => simulator.go_live(),
    }
    Ok(())
}

/// Says how many of the injected anomalies were found, and how many runs of anomalous buckets nobody injected.
fn compare(arguments: &RunArgs, simulator: &Simulator) -> Result<()> {
    let (start, end) = (simulator.start(), simulator.end().unwrap_or(simulator.start()));
    let width = arguments.detection.timing().bucket_width;
    let mut history = history::open(&arguments.history)?;
    let anomalies: Vec<Anomaly> = history.anomalies(start, end)?.into_iter().filter(|anomaly| anomaly.status == "open").collect();
    let truth = simulator.truth(start - INJECTION_MAX, end);
    let strong: Vec<&Injection> = truth.iter().filter(|one| one.start >= start && one.sigmas >= SIGMAS).collect();
    // What another metric of the entity speaks for has been found as well.
    let mut accompanying: BTreeMap<SeriesId, BTreeSet<Time>> = BTreeMap::new();
    history.verdicts(start, end, &mut |verdict| {
        if verdict.state == State::Accompanying {
            accompanying.entry(verdict.bucket.series()).or_default().insert(verdict.bucket.start);
        }
    })?;
    let accompanies = |one: &Injection| {
        let starts = accompanying.get(&SeriesId::named(one.entity_type, &one.entity_id, one.metric));
        starts.is_some_and(|starts| starts.range(one.start - width + 1..one.end + width).next().is_some())
    };
    let speaks = |one: &Injection| anomalies.iter().any(|anomaly| is_of(anomaly, one, width) && anomaly.name.metric == one.metric);
    let found = strong.iter().filter(|one| speaks(one) || accompanies(one)).count();
    let invented: Vec<&Anomaly> = anomalies.iter().filter(|anomaly| !truth.iter().any(|one| is_of(anomaly, one, width))).collect();
    let series = history.series()?.len();
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rate = runs(&invented, width) as f64 / series as f64 / ((end - start) as f64 / 86_400_000.0);
    say(&format!("found {found} of {} injected anomalies of {SIGMAS} sigma or more", strong.len()));
    say(&format!("{} runs of anomalous buckets that nobody injected: {rate:.3} per series and day", runs(&invented, width)));
    Ok(())
}

/// Whether an anomaly is one that the injection explains: on its entity or one that it touches, while it went on or in the bucket after.
fn is_of(anomaly: &Anomaly, injection: &Injection, width: Time) -> bool {
    let name = &anomaly.name;
    let touched = (name.entity_type == injection.entity_type && name.entity_id == injection.entity_id)
        || injection.side_effects.iter().any(|effect| *effect == name.to_string());
    touched && anomaly.start + width > injection.start && anomaly.start < injection.end + width
}

/// Runs of consecutive anomalous buckets of one series.
fn runs(anomalies: &[&Anomaly], width: Time) -> usize {
    let mut starts: BTreeMap<String, BTreeSet<Time>> = BTreeMap::new();
    for anomaly in anomalies {
        starts.entry(anomaly.name.to_string()).or_default().insert(anomaly.start);
    }
    starts.values().map(|starts| starts.iter().filter(|start| !starts.contains(&(*start - width))).count()).sum()
}
