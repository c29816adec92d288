//! Rows of history on a regular grid: one slot per bucket, gaps kept as gaps. The only place that knows polars.

use super::TrainError;
use super::request::Request;
use crate::history::TrainingRow;
use dataflows::{Calendar, MetricType, SeriesId, Time};
use polars::prelude::*;
use rayon::prelude::*;
use std::sync::Arc;

/// The buckets of one series from its first to its last, none left out.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// The series.
    pub(super) series: SeriesId,
    /// The start of the first bucket.
    pub(super) start: Time,
    /// The width of a bucket, in milliseconds.
    pub(super) width: Time,
    /// Buckets in one season.
    pub(super) period: usize,
    /// Civil time where the series is at home.
    pub(super) calendar: Arc<Calendar>,
    /// The bucket means; NaN where there were no samples.
    pub(super) values: Vec<f64>,
    /// Whether history calls the bucket anomalous.
    pub(super) anomalous: Vec<bool>,
    /// Whether some mean was not a finite number (it is a gap in `values`).
    pub(super) not_finite: bool,
    /// Whether it is a counter, as the series of its metric say together; `None`: by its own history.
    pub(super) metric_type: Option<MetricType>,
    /// How many metrics its entity has.
    pub(super) metrics: u32,
    /// When the promise of an earlier model was found broken, if it was.
    pub(super) broken_at: Option<Time>,
    /// FNV-1a of the rows: start, bits of the mean, flag.
    pub(super) input_hash: u64,
}

impl Grid {
    /// The start of the bucket at slot `i`.
    pub(super) fn time(&self, i: usize) -> Time {
        self.start + Time::try_from(i).unwrap_or(Time::MAX) * self.width
    }

    /// Buckets of civil time since 1970 at slot `i`, in whole periods and the rest.
    fn place(&self, i: usize) -> (i64, i64) {
        let period = i64::try_from(self.period).unwrap_or(i64::MAX);
        let slot = self.calendar.slot(self.time(i), self.width);
        (slot.div_euclid(period), slot.rem_euclid(period))
    }

    /// The phase of slot `i`, counted like [`dataflows::Model::expected`] does. Where clocks go forward some are left out, where they go back some
    /// come twice.
    pub(super) fn phase(&self, i: usize) -> usize {
        usize::try_from(self.place(i).1).unwrap_or(0)
    }

    /// The season of slot `i`, 0 for the first; for a daily season the civil day.
    pub(super) fn season(&self, i: usize) -> usize {
        usize::try_from(self.place(i).0 - self.place(0).0).unwrap_or(0)
    }

    /// The civil day of a season, counted from 1970-01-01, where a season is a day.
    pub(super) fn day(&self, season: usize) -> i64 {
        self.place(0).0 + i64::try_from(season).unwrap_or(0)
    }

    /// So many slots lie between one with samples and the next, where it is the same more than one nearly always: the series comes less often than a bucket
    /// is wide.
    pub(super) fn spacing(&self) -> Option<usize> {
        let observed: Vec<usize> = (0..self.values.len()).filter(|i| self.values[*i].is_finite()).collect();
        let mut spacings: Vec<usize> = observed.windows(2).map(|pair| pair[1] - pair[0]).collect();
        spacings.sort_unstable();
        let usual = *spacings.get(spacings.len() / 2)?;
        let alike = spacings.iter().filter(|spacing| **spacing == usual).count();
        (usual > 1 && 10 * alike >= 9 * spacings.len()).then_some(usual)
    }

    /// Slots with samples.
    pub(super) fn observed(&self) -> usize {
        self.values.iter().filter(|value| value.is_finite()).count()
    }
}

/// The grids of all series with rows in the training window, ordered by series. The order of the rows does not matter; of two rows on
/// one bucket the smaller mean counts. Their calendar is UTC's.
pub(super) fn regular(rows: Vec<TrainingRow>, request: &Request) -> Result<Vec<Grid>, TrainError> {
    let rows = in_order(rows, request);
    let of_series: Vec<&[TrainingRow]> = rows.chunk_by(|a, b| a.series == b.series).collect();
    of_series.par_iter().map(|rows| grid(rows, request).map_err(TrainError::frame)).collect()
}

/// The rows inside the window, aligned to buckets, sorted, one per bucket.
fn in_order(mut rows: Vec<TrainingRow>, request: &Request) -> Vec<TrainingRow> {
    let window = request.from()..request.until();
    rows.retain_mut(|row| {
        row.start -= row.start.rem_euclid(request.bucket_width);
        window.contains(&row.start)
    });
    rows.sort_unstable_by(|a, b| {
        (a.series, a.start).cmp(&(b.series, b.start)).then(a.mean.total_cmp(&b.mean)).then(a.anomalous.cmp(&b.anomalous))
    });
    rows.dedup_by_key(|row| (row.series, row.start));
    rows
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo 1991).
fn input_hash(rows: &[TrainingRow]) -> u64 {
    let bytes = rows.iter().flat_map(|row| {
        let flag = [u8::from(row.anomalous)];
        row.start.to_le_bytes().into_iter().chain(row.mean.to_bits().to_le_bytes()).chain(flag)
    });
    bytes.fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The rows of one series as a table of `start`, `mean`, `anomalous`. One table of all series, to be parted, cost a fifth of a training.
fn frame(rows: &[TrainingRow]) -> PolarsResult<DataFrame> {
    let means: Vec<f64> = rows.iter().map(|row| row.mean).collect();
    let anomalous: Vec<bool> = rows.iter().map(|row| row.anomalous).collect();
    DataFrame::new_infer_height(vec![
        times(rows.iter().map(|row| row.start))?,
        Column::new("mean".into(), means),
        Column::new("anomalous".into(), anomalous),
    ])
}

/// A column `start` of milliseconds since the epoch.
fn times(starts: impl Iterator<Item = Time>) -> PolarsResult<Column> {
    let starts: Vec<i64> = starts.collect();
    Column::new("start".into(), starts).cast(&DataType::Datetime(TimeUnit::Milliseconds, None))
}

/// The rows of one series in the unbroken sequence of its buckets. Each is put where its time says: to join the table to one of all buckets instead took a
/// third of a training. There must be a row.
fn grid(rows: &[TrainingRow], request: &Request) -> PolarsResult<Grid> {
    let (width, table) = (request.bucket_width, frame(rows)?);
    let starts: Vec<Time> = table.column("start")?.datetime()?.phys.iter().flatten().collect();
    let (first, last) = (starts.first().copied().unwrap_or(0), starts.last().copied().unwrap_or(0));
    let slots = usize::try_from((last - first) / width).unwrap_or(0) + 1;
    let (mut values, mut anomalous, mut not_finite) = (vec![f64::NAN; slots], vec![false; slots], false);
    let means = table.column("mean")?.f64()?.iter();
    for ((start, mean), flag) in starts.iter().zip(means).zip(table.column("anomalous")?.bool()?.iter()) {
        let slot = usize::try_from((start - first) / width).unwrap_or(0);
        let mean = mean.unwrap_or(f64::NAN);
        not_finite |= !mean.is_finite();
        values[slot] = if mean.is_finite() { mean } else { f64::NAN };
        anomalous[slot] = flag == Some(true);
    }
    Ok(Grid {
        series: rows[0].series,
        start: first,
        width,
        period: request.period,
        calendar: Arc::default(),
        values,
        anomalous,
        not_finite,
        metrics: 1,
        metric_type: None,
        broken_at: None,
        input_hash: input_hash(rows),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: Time = 300_000;

    fn row(series: u64, slot: i64, mean: f64) -> TrainingRow {
        TrainingRow { series: SeriesId(series), start: 20_000 * 86_400_000 + slot * WIDTH, mean, anomalous: slot == 5 }
    }

    fn request() -> Request {
        Request::new(20_001 * 86_400_000, 0)
    }

    #[test]
    fn a_gap_stays_a_gap_and_keeps_its_neighbours_in_phase() {
        let rows = vec![row(1, 2, 2.0), row(1, 3, 3.0), row(1, 7, 7.0)];
        let grids = regular(rows, &request()).unwrap();
        let [grid] = grids.as_slice() else { panic!("one series, {} grids", grids.len()) };
        let seen: Vec<Option<f64>> = grid.values.iter().map(|value| value.is_finite().then_some(*value)).collect();
        assert_eq!(seen, [Some(2.0), Some(3.0), None, None, None, Some(7.0)]);
        assert_eq!((grid.phase(0), grid.phase(5), grid.season(5)), (2, 7, 0));
        assert_eq!(grid.observed(), 3);
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_series_stay_apart() {
        let mut rows: Vec<TrainingRow> = (0..9).flat_map(|slot| [row(7, slot, 1.5), row(3, slot, 2.5)]).collect();
        let there = regular(rows.clone(), &request()).unwrap();
        rows.reverse();
        let back = regular(rows, &request()).unwrap();
        let text = |grids: &[Grid]| format!("{grids:?}");
        assert_eq!(text(&there), text(&back));
        assert_eq!(there.iter().map(|grid| grid.series.0).collect::<Vec<_>>(), [3, 7]);
        assert!(there.iter().all(|grid| grid.anomalous.iter().filter(|flag| **flag).count() == 1));
    }

    #[test]
    fn rows_outside_the_window_do_not_count() {
        let rows = vec![row(1, -300 * 288, 1.0), row(1, 0, 2.0), row(1, 288, 3.0)];
        assert_eq!(regular(rows, &request()).unwrap()[0].values, [2.0]);
    }
}
