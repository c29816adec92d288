//! The batch trainer: history → regular grid → season, level, scales → models.

mod calendar;
pub mod command;
mod counter;
mod decompose;
mod fit;
mod grid;
mod method;
mod outlook;
mod parts;
mod profile;
mod promise;
mod report;
mod request;
mod robust;
mod rolling;
mod seasonal_naive;
mod seasons;
mod stl_zscore;
mod tracking;

pub use method::{MethodArgs, MethodName, Methods};
pub use parts::take_apart;
pub use report::{Count, Report};
pub use request::{Extent, Request, Skipped};

use crate::history::calibration::{self, Drifting};
use crate::history::{History, HistoryError, TrainingRow, label};
use crate::models::{Models, ModelsError, Trained};
use crate::series::SeriesName;
use dataflows::{SeriesId, Time};
use rayon::prelude::*;
use std::collections::HashMap;
use std::time::Instant;

/// Series read from history at a time. 250 series of 14 days are a million rows: 40 MB, and as much again in the table.
const GROUP_SERIES: usize = 250;

/// A series that drifts is trained early, but not again within an hour of event time: scales need buckets.
const EARLY: Time = 3_600_000;

/// Why training failed as a whole. Nothing was pushed.
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

/// Fits a model of every series in history and pushes them all at once, so that the generation counts up once. A series
/// that is skipped keeps the model it has. The result depends on neither the number of threads nor the order of rows.
///
/// Of a series whose model's promise was broken within the window, what came since counts for more: see The verdict in the README.
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
    let breaks = calibration::breaks(history, request.from(), request.until())?;
    let drifting = calibration::drifting(history)?;
    let names: Vec<SeriesName> = match request.extent {
        Extent::All => history.series()?.into_iter().map(|series| series.name).collect(),
        Extent::Drifting => due(&drifting, models, request)?,
    };
    let mut report = Report::new(names.len());
    report.drifting = drifting.into_iter().map(|one| one.name).collect();
    let mut trained = Vec::with_capacity(names.len());
    for group in names.chunks(GROUP_SERIES) {
        progress(Progress { done: report.seen(), total: names.len() });
        let ids: Vec<SeriesId> = group.iter().map(SeriesName::id).collect();
        let mut rows = history.training_rows(&ids, request.from(), request.until())?;
        label::teach(history, request.from(), request.until(), &mut rows)?;
        for (name, outcome) in group.iter().zip(fit_group(group, &rows, request, &breaks)?) {
            match outcome {
                Ok(model) => trained.push(model),
                Err(skipped) => report.skip(name, &skipped),
            }
            report.trained = trained.len();
        }
    }
    progress(Progress { done: names.len(), total: names.len() });
    if !trained.is_empty() {
        report.generation = Some(models.push(&trained)?);
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The series that drift under a model that is not of the last hour.
fn due(drifting: &[Drifting], models: &mut dyn Models, request: &Request) -> Result<Vec<SeriesName>, TrainError> {
    let mut due = Vec::new();
    for one in drifting {
        let is_recent = models.get(&one.name)?.is_some_and(|trained| trained.model.trained_until > request.until() - EARLY);
        due.extend((!is_recent).then(|| one.name.clone()));
    }
    Ok(due)
}

/// When the promise of each series was broken last.
type Breaks = HashMap<SeriesId, Time>;

/// One outcome per series of the group, in its order.
fn fit_group(group: &[SeriesName], rows: &[TrainingRow], request: &Request, breaks: &Breaks) -> Result<Vec<Outcome>, TrainError> {
    let grids: HashMap<SeriesId, grid::Grid> = grid::regular(rows, request)?
        .into_iter()
        .map(|grid| (grid.series, grid::Grid { broken_at: breaks.get(&grid.series).copied(), ..grid }))
        .collect();
    let outcome = |name: &SeriesName| match grids.get(&name.id()) {
        Some(grid) => fit::fit_grid(name, grid, request),
        None => Err(no_rows(request)),
    };
    Ok(group.par_iter().map(outcome).collect())
}

type Outcome = Result<Trained, Skipped>;

fn no_rows(request: &Request) -> Skipped {
    Skipped::TooShort { span: 0, needed: request.methods.general.implementation().span_min(request) }
}

/// Fits the model of one series to its rows, in memory: a pure function of its arguments, whatever the order of the rows. Rows of
/// other series or outside the window are left out.
pub fn fit(series: &SeriesName, rows: &[TrainingRow], request: &Request) -> Result<Trained, Skipped> {
    let id = series.id();
    let own: Vec<TrainingRow> = rows.iter().copied().filter(|row| row.series == id).collect();
    let grids = grid::regular(&own, request).map_err(|error| Skipped::Internal { problem: error.to_string() })?;
    match grids.first() {
        Some(grid) => fit::fit_grid(series, grid, request),
        None => Err(no_rows(request)),
    }
}
