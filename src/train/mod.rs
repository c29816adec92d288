//! The batch trainer: history → regular grid → season, level, scales → models.

mod calendar;
mod civil;
pub mod command;
mod decompose;
mod fit;
mod grid;
mod method;
mod outlook;
mod profile;
mod report;
mod request;
mod robust;
mod rolling;
mod seasons;
mod tracking;
mod zone;

pub use civil::Calendars;
pub use method::{MethodArgs, MethodName, Methods};
pub use report::{Count, Report};
pub use request::{Request, Skipped};

use crate::history::{History, HistoryError, Series, TrainingRow};
use crate::models::{Models, ModelsError, Trained};
use crate::series::SeriesName;
use dataflows::{Calendar, SeriesId};
use grid::Grid;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Series read from history at a time. 250 series of 14 days are a million rows: 40 MB, and as much again in the table.
const GROUP_SERIES: usize = 250;

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
    let series = history.series()?;
    let almanac = request.calendars.almanac(request.from(), request.until());
    let mut report = Report::new(series.len());
    report.unknown_labels = request.calendars.unknown_labels(&series);
    let member = |series: Series| Member { calendar: Arc::clone(almanac.of(&series.labels)), name: series.name };
    let members: Vec<Member> = series.into_iter().map(member).collect();
    let mut trained = Vec::with_capacity(members.len());
    for group in members.chunks(GROUP_SERIES) {
        progress(Progress { done: report.seen(), total: members.len() });
        for (member, outcome) in group.iter().zip(fit_group(history, group, request)?) {
            match outcome {
                Ok(model) => trained.push(model),
                Err(skipped) => report.skip(&member.name, &skipped),
            }
            report.trained = trained.len();
        }
    }
    progress(Progress { done: members.len(), total: members.len() });
    if !trained.is_empty() {
        report.generation = Some(models.push(&trained)?);
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// A series to be trained.
struct Member {
    name: SeriesName,
    calendar: Arc<Calendar>,
}

/// One outcome per series of the group, in its order.
fn fit_group(history: &mut dyn History, group: &[Member], request: &Request) -> Result<Vec<Outcome>, TrainError> {
    let ids: Vec<SeriesId> = group.iter().map(|member| member.name.id()).collect();
    let rows = history.training_rows(&ids, request.from(), request.until())?;
    let calendars: HashMap<SeriesId, &Arc<Calendar>> = ids.iter().copied().zip(group.iter().map(|member| &member.calendar)).collect();
    let mut grids: HashMap<SeriesId, Grid> = grid::regular(&rows, request)?.into_iter().map(|grid| (grid.series, grid)).collect();
    for (series, grid) in &mut grids {
        grid.calendar = calendars.get(series).map_or_else(Arc::default, |calendar| Arc::clone(calendar));
    }
    let outcome = |member: &Member| match grids.get(&member.name.id()) {
        Some(grid) => fit::fit_grid(&member.name, grid, request),
        None => Err(no_rows(request)),
    };
    Ok(group.par_iter().map(outcome).collect())
}

type Outcome = Result<Trained, Skipped>;

fn no_rows(request: &Request) -> Skipped {
    Skipped::TooShort { span: 0, needed: fit::span_min(request.methods.general, request) }
}

/// Fits the model of one series to its rows, in memory: a pure function of its arguments, whatever the order of the rows. Rows of
/// other series or outside the window are left out. The series has no labels.
pub fn fit(series: &SeriesName, rows: &[TrainingRow], request: &Request) -> Result<Trained, Skipped> {
    let id = series.id();
    let own: Vec<TrainingRow> = rows.iter().copied().filter(|row| row.series == id).collect();
    let grids = grid::regular(&own, request).map_err(|error| Skipped::Internal { problem: error.to_string() })?;
    match grids.into_iter().next() {
        Some(mut grid) => {
            grid.calendar = Arc::clone(request.calendars.almanac(request.from(), request.until()).of(&BTreeMap::new()));
            fit::fit_grid(series, &grid, request)
        }
        None => Err(no_rows(request)),
    }
}
