//! The batch trainer: history → regular grid → season, level, scales → models.

mod cadence;
mod calendar;
mod civil;
pub mod command;
mod counter;
mod decompose;
mod fit;
mod grid;
mod method;
mod outlook;
mod parts;
mod peers;
mod phases;
mod profile;
mod promise;
mod push;
mod report;
mod request;
mod robust;
mod rolling;
mod seasonal_naive;
mod seasons;
mod stl_zscore;
mod tracking;
mod zone;

pub use civil::Calendars;
pub use method::{MethodArgs, MethodName, Methods};
pub use parts::take_apart;
pub use report::{Count, Report};
pub use request::{Extent, Request, Skipped};

use crate::history::calibration::{self, Drifting};
use crate::history::label::Lessons;
use crate::history::{History, HistoryError, Series, TrainingRow, span};
use crate::models::{Models, ModelsError, Trained};
use crate::series::SeriesName;
use counter::Evidence;
use dataflows::{Calendar, Method, MetricType, Model, SeriesId, Time};
use grid::Grid;
use peers::{Peers, Shape, is_young};
use push::Push;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Series that are fitted, and handed over by history, at a time. 250 series of 14 days are a million rows: 32 MB.
const GROUP_SERIES: usize = 250;

/// A series that drifts is trained early, but not again within an hour of event time: scales need buckets.
const EARLY: Time = 3_600_000;

/// Why training failed as a whole. No push was completed: a detector that runs goes on with the models it has.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The request makes no sense.
    #[error("train: {0}")]
    Request(String),
    /// History could not be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The models could not be pushed.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// A table could not be built from the rows of history.
    #[error("train: the table of buckets could not be built: {0}")]
    Frame(String),
}

impl TrainError {
    /// A message of polars, whose types stay in `grid`.
    fn frame(problem: impl std::fmt::Display) -> Self {
        Self::Frame(problem.to_string())
    }
}

/// How far training is, in series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Series that have been looked at.
    pub done: usize,
    /// Series in history.
    pub total: usize,
}

/// Fits a model of every series in history and pushes them all in one push, so that the generation counts up once; group by group, so that no more
/// than a group is in memory, however many series there are. A series that is skipped keeps the model it has; one that has none yet, and too few buckets
/// for one, is said to be warming. The result depends on neither the number of threads nor the order of rows and series.
///
/// Of a series whose model's promise was broken within the window, what came since counts for more: see docs/verdict.md.
pub fn train(
    history: &mut dyn History,
    models: &mut dyn Models,
    request: &Request,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, TrainError> {
    let started = Instant::now();
    if let Some(defect) = request.defect() {
        return Err(TrainError::Request(defect));
    }
    if let Some(problem) = span::other_width(history, request.bucket_width)? {
        return Err(TrainError::Request(problem));
    }
    let breaks = calibration::breaks(history, request.from(), request.until())?;
    let drifting = calibration::drifting(history)?;
    let mut series = history.series()?;
    let almanac = request.calendars.almanac(request.from(), request.until());
    let unknown_labels = request.calendars.unknown_labels(&series);
    let unknown_metrics = if request.extent == Extent::All { request.unknown_metrics(&series) } else { Vec::new() };
    // Of the window alone: what comes after it is not known yet, and what was gone before it is not asked.
    let metrics = span::metrics(history, request.from(), request.until())?;
    let mut metric_types = BTreeMap::new();
    if request.extent == Extent::Drifting {
        let due = due(&drifting, models, request)?;
        series.retain(|series| due.contains_key(&series.name));
        metric_types = due;
    }
    let mut report = Report { bucket_width: request.bucket_width, ..Report::new(series.len()) };
    (report.unknown_labels, report.unknown_metrics) = (unknown_labels, unknown_metrics);
    report.drifting = drifting.into_iter().map(|one| one.name).collect();
    let member = |series: Series| Member {
        metrics: *metrics.get(&series.name.entity()).unwrap_or(&1),
        calendar: Arc::clone(almanac.of(&series.labels)),
        broken_at: breaks.get(&series.name.id()).copied(),
        metric_type: metric_types.get(&series.name).copied().flatten(),
        name: series.name,
    };
    let mut members: Vec<Member> = series.into_iter().map(member).collect();
    // What is summed over series is summed in one order, whatever that of history: that of the keys, in which a store finds those of a group together.
    members.sort_by_cached_key(|member| member.name.id().0.cast_signed());
    progress(Progress { done: 0, total: members.len() });
    let mut push = Push::new(models);
    let total = members.len();
    fit_groups(history, &members, request, None, &mut |group, outcomes| {
        push.add(group, outcomes, &mut report)?;
        progress(Progress { done: report.seen(), total });
        Ok(())
    })?;
    push.fit_among_peers(history, request)?;
    progress(Progress { done: members.len(), total: members.len() });
    report.generation = push.complete()?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// A series to be trained.
#[derive(Clone)]
struct Member {
    name: SeriesName,
    calendar: Arc<Calendar>,
    /// Its type, where that is known before its history is looked at.
    metric_type: Option<MetricType>,
    /// How many metrics its entity has in the window.
    metrics: u32,
    /// When the promise of its models was broken last.
    broken_at: Option<Time>,
}

/// The series that drift under a model of their own that is not of the last hour; those that are gauges remain so, since the others of their metric have no
/// say now.
fn due(drifting: &[Drifting], models: &mut dyn Models, request: &Request) -> Result<BTreeMap<SeriesName, Option<MetricType>>, TrainError> {
    let mut due = BTreeMap::new();
    for one in drifting {
        // One that borrows waits for a training that knows its peers.
        let waits = |trained: &Trained| {
            trained.model.trained_until > request.until() - EARLY || trained.provenance.parameters.contains_key("borrowed")
        };
        let trained = models.get(&one.name)?;
        if !trained.as_ref().is_some_and(waits) {
            let is_gauge = |model: &Model| matches!(model.method, Method::SeasonalLevel(_)) && model.metric_type == MetricType::Gauge;
            let known = trained.is_some_and(|trained| is_gauge(&trained.model)).then_some(MetricType::Gauge);
            due.insert(one.name.clone(), known);
        }
    }
    Ok(due)
}

/// What became of a series.
enum Outcome {
    /// A model; what its history says of its type, where nothing is known of that; whether that is so short that it is to borrow from peers; and how many
    /// buckets lie between its samples, where it is more than one.
    Fitted { trained: Trained, evidence: Option<Evidence>, is_young: bool, spacing: Option<usize> },
    /// Not yet a model, and what is said of it meanwhile.
    Warming { trained: Trained, skipped: Skipped },
    /// Nothing.
    Skipped(Skipped),
}

/// Takes what became of the series of a group.
type Take<'a> = dyn FnMut(&[Member], Vec<Outcome>) -> Result<(), TrainError> + 'a;

/// Fits the series group by group, and hands over one outcome per series of each, in its order. While a group is fitted, the next one is read.
fn fit_groups(
    history: &mut dyn History,
    members: &[Member],
    request: &Request,
    peers: Option<&Peers>,
    take: &mut Take<'_>,
) -> Result<(), TrainError> {
    let (from, until) = (request.from(), request.until());
    let lessons = Lessons::of(history, from, until)?;
    let ids = |group: &[Member]| group.iter().map(|member| member.name.id()).collect();
    let groups: Vec<Vec<SeriesId>> = members.chunks(GROUP_SERIES).map(ids).collect();
    std::thread::scope(|scope| {
        // None waits on the way: one is fitted, and one is read or waits to be taken.
        let (sender, rows_of_groups) = crossbeam_channel::bounded(0);
        let mut hand_over = move |rows| sender.send(rows).map_or(ControlFlow::Break(()), ControlFlow::Continue);
        let reading = scope.spawn(move || history.training_groups(&groups, from, until, &mut hand_over));
        for (group, mut rows) in members.chunks(GROUP_SERIES).zip(rows_of_groups) {
            lessons.teach(&mut rows);
            take(group, fit_group(group, rows, request, peers)?)?;
        }
        Ok(reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    })
}

/// One outcome per series of the group, in its order.
fn fit_group(group: &[Member], rows: Vec<TrainingRow>, request: &Request, peers: Option<&Peers>) -> Result<Vec<Outcome>, TrainError> {
    let members: HashMap<SeriesId, &Member> = group.iter().map(|member| (member.name.id(), member)).collect();
    let mut grids: HashMap<SeriesId, Grid> = grid::regular(rows, request)?.into_iter().map(|grid| (grid.series, grid)).collect();
    for (series, grid) in &mut grids {
        if let Some(member) = members.get(series) {
            (grid.calendar, grid.broken_at, grid.metrics) = (Arc::clone(&member.calendar), member.broken_at, member.metrics);
            grid.metric_type = request.metric_types.get(&member.name.metric).copied().or(member.metric_type);
        }
    }
    let shape = |member: &Member, grid: &Grid| {
        let peers = peers.filter(|_| is_young(grid.values.len(), grid.period));
        peers.and_then(|peers| peers.shape(&member.name, grid.metric_type.unwrap_or_default()))
    };
    let outcome = |member: &Member| match grids.get(&member.name.id()) {
        Some(grid) => outcome(&member.name, grid, request, shape(member, grid).as_ref()),
        None => Outcome::Skipped(no_rows(request)),
    };
    Ok(group.par_iter().map(outcome).collect())
}

fn outcome(name: &SeriesName, grid: &Grid, request: &Request, shape: Option<&Shape>) -> Outcome {
    match fit::fit_grid(name, grid, request, shape) {
        Ok(trained) => {
            let follows = matches!(trained.model.method, Method::SeasonalLevel(_));
            let evidence = (follows && grid.metric_type.is_none()).then(|| Evidence::of(grid));
            Outcome::Fitted { trained, evidence, is_young: follows && is_young(grid.values.len(), grid.period), spacing: grid.spacing() }
        }
        Err(skipped @ Skipped::Warming { seen, needed }) => {
            Outcome::Warming { trained: fit::warming(name, grid, request, (seen, needed)), skipped }
        }
        Err(skipped) => Outcome::Skipped(skipped),
    }
}

fn no_rows(request: &Request) -> Skipped {
    Skipped::Warming { seen: 0, needed: request.methods.general.implementation().span_min(request) }
}

/// Fits the model of one series to its rows, in memory: a pure function of its arguments, whatever the order of the rows. Rows of
/// other series or outside the window are left out. The series has no labels and no peers.
pub fn fit(series: &SeriesName, rows: &[TrainingRow], request: &Request) -> Result<Trained, Skipped> {
    let id = series.id();
    let own: Vec<TrainingRow> = rows.iter().copied().filter(|row| row.series == id).collect();
    let grids = grid::regular(own, request).map_err(|error| Skipped::Internal { problem: error.to_string() })?;
    match grids.into_iter().next() {
        Some(mut grid) => {
            grid.calendar = Arc::clone(request.calendars.almanac(request.from(), request.until()).of(&BTreeMap::new()));
            grid.metric_type = request.metric_types.get(&series.metric).copied();
            fit::fit_grid(series, &grid, request, None)
        }
        None => Err(no_rows(request)),
    }
}
