//! The buckets of many series on their way to the trainer: read moment by moment, as they lie in the table, and handed over series by series.

use super::copy::Instant;
use super::{Fault, Session};
use crate::history::{TrainingRow, row};
use dataflows::{SeriesId, State, Time};
use postgres::Row;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use std::ops::Range;

/// Buckets that are held at a time, at twelve bytes each: 144 MB, some 3,000 series of fourteen days. Buckets lie in the table as they came, those of one
/// moment together: where they came in no order, whoever asks for some series has the server read those of all. So as many are asked for at once as there is
/// room for.
const HELD: usize = 12_000_000;

/// Buckets that the server gathers for one query, at sixteen bytes each, and as much again while they grow.
const GATHERED: i64 = 2_000_000;

/// Queries for one window at most, however long it is.
const SLICES_MAX: Time = 1_000;

/// Where no source has said how wide its buckets are: the narrowest that are usual.
const WIDTH: Time = 60_000;

/// Room for what is gathered, and for the pages that the server notes in order to visit each once: along the index of a key it would visit one for each
/// bucket, which takes it five times as long, and it is tempted. A plan for any number of series would expect ten. Two processes that pass rows to a third
/// are done sooner, and take more.
const PLANNING: &str = "SET LOCAL work_mem = '64MB'; SET LOCAL enable_indexscan = off; SET LOCAL plan_cache_mode = force_custom_plan;
    SET LOCAL max_parallel_workers_per_gather = 0";

/// One row per moment, with the keys and the means of all its buckets in the bytes of the binary format. A row per bucket, of a query or of COPY, costs the
/// trainer half as much again as all else that it does; arrays by series, the server two fifths more; arrays of numbers are half as long again on the way. (A
/// mean that is not there would be left out, and is found missing.)
const MOMENTS: &str = "SELECT bucket_start, string_agg(int8send(series_id), ''), string_agg(float8send(mean), ''),
        string_agg(int8send(series_id), '') FILTER (WHERE state = ANY($4))
    FROM buckets WHERE series_id = ANY($1) AND bucket_start >= $2 AND bucket_start < $3 AND count > 0 GROUP BY bucket_start ORDER BY bucket_start";

/// The buckets of some series, by series.
pub(super) struct Held {
    /// In order.
    keys: Vec<i64>,
    /// In order.
    moments: Vec<Time>,
    /// By the place of their key.
    columns: Vec<Column>,
    /// Moments that there can be; fewer, where these would be more buckets than [`HELD`].
    moments_max: usize,
}

/// The buckets of one series, in order; room for as many as there can be, once there is one.
#[derive(Clone, Default)]
struct Column {
    /// Of their moments.
    places: Vec<u32>,
    means: Vec<f64>,
    /// The places of those that were anomalous.
    anomalous: Vec<u32>,
}

/// Groups that are read together, as [`HELD`] allows: in each read about as many as in the others, and at least one.
pub(super) fn groups_at_once(session: &mut Session, groups: &[Vec<SeriesId>], from: Time, until: Time) -> Result<usize, Fault> {
    let moments = moments(from..until, width(session)?);
    let series: usize = groups.iter().map(Vec::len).sum();
    let reads = series.saturating_mul(moments).div_ceil(HELD).max(1);
    Ok(groups.len().div_ceil(reads).max(1))
}

/// Moments in a window at which buckets of a width start.
fn moments(window: Range<Time>, width: Time) -> usize {
    usize::try_from(window.end.saturating_sub(window.start) / width).unwrap_or(0).max(1)
}

/// The width of the narrowest buckets.
fn width(session: &mut Session) -> Result<Time, Fault> {
    let width: Option<Time> = session.client.query_one("SELECT min(bucket_width) FROM sources", &[])?.try_get(0)?;
    Ok(width.unwrap_or(WIDTH).max(1))
}

/// The buckets with samples of some series that start in `[from, until)`.
pub(super) fn read(session: &mut Session, series: impl Iterator<Item = SeriesId>, from: Time, until: Time) -> Result<Held, Fault> {
    let mut keys: Vec<i64> = series.map(row::key).collect();
    keys.sort_unstable();
    keys.dedup();
    let width = width(session)?;
    let mut transaction = session.client.transaction()?;
    transaction.batch_execute(PLANNING)?;
    let select = session.statements.get(&mut transaction, MOMENTS)?;
    let deviant = State::DEVIANT.map(State::as_str);
    let deviant = deviant.as_slice();
    let moments_max = moments(from..until, width).min(HELD / keys.len().max(1));
    let mut held = Held { moments: Vec::new(), columns: vec![Column::default(); keys.len()], keys, moments_max };
    for slice in slices(from..until, width, held.keys.len()) {
        let parameters: [&(dyn ToSql + Sync); 4] = [&held.keys, &Instant(slice.start), &Instant(slice.end), &deviant];
        let mut rows = transaction.query_raw(&select, parameters)?;
        while let Some(columns) = rows.next()? {
            held.add(&columns)?;
        }
    }
    Ok(held)
}

/// A window in slices of time, in order, each with no more buckets than the server may gather.
fn slices(window: Range<Time>, width: Time, series: usize) -> impl Iterator<Item = Range<Time>> {
    let moments = GATHERED / i64::try_from(series).unwrap_or(i64::MAX).max(1);
    let span = moments.max(1).saturating_mul(width).max(window.end.saturating_sub(window.start) / SLICES_MAX);
    let mut start = window.start;
    std::iter::from_fn(move || {
        let slice = start..start.saturating_add(span).min(window.end);
        start = slice.end;
        (!slice.is_empty()).then_some(slice)
    })
}

impl Held {
    /// Takes a row of [`MOMENTS`]; they come in order.
    fn add(&mut self, row: &Row) -> Result<(), Fault> {
        let start = row.try_get::<_, Instant>(0)?.0;
        let (keys, means, anomalous): (&[u8], &[u8], Option<&[u8]>) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        if keys.len() != means.len() {
            return Err(format!("table buckets: a bucket at {start} has samples and no aggregate").into());
        }
        let moment = u32::try_from(self.moments.len()).unwrap_or(u32::MAX);
        self.moments.push(start);
        let mut next = 0;
        for (key, mean) in integers(keys).zip(means.as_chunks().0) {
            let Some(place) = self.place(key, next) else { continue };
            next = place + 1;
            let column = &mut self.columns[place];
            if column.places.is_empty() {
                column.places.reserve_exact(self.moments_max);
                column.means.reserve_exact(self.moments_max);
            }
            column.places.push(moment);
            column.means.push(f64::from_be_bytes(*mean));
        }
        for key in integers(anomalous.unwrap_or_default()) {
            if let Some(place) = self.place(key, 0) {
                self.columns[place].anomalous.push(moment);
            }
        }
        Ok(())
    }

    /// Where a key is: those of one commit come in order.
    fn place(&self, key: i64, expected: usize) -> Option<usize> {
        if self.keys.get(expected) == Some(&key) { Some(expected) } else { self.keys.binary_search(&key).ok() }
    }

    /// Hands over the buckets of some series, ordered by series and start, and forgets them.
    pub fn take(&mut self, series: &[SeriesId]) -> Vec<TrainingRow> {
        let mut series = series.to_vec();
        series.sort_unstable(); // the server would order by the signed key
        let found = series.iter().filter_map(|series| Some((*series, self.keys.binary_search(&row::key(*series)).ok()?)));
        let columns: Vec<(SeriesId, Column)> = found.map(|(series, place)| (series, std::mem::take(&mut self.columns[place]))).collect();
        let mut rows = Vec::with_capacity(columns.iter().map(|(_, column)| column.places.len()).sum());
        for (series, column) in columns {
            rows.extend(column.places.iter().zip(&column.means).map(|(place, mean)| TrainingRow {
                series,
                start: self.moments[*place as usize],
                mean: *mean,
                anomalous: column.anomalous.binary_search(place).is_ok(),
            }));
        }
        rows
    }
}

/// Numbers as the binary format has them.
fn integers(bytes: &[u8]) -> impl Iterator<Item = i64> {
    bytes.as_chunks().0.iter().map(|bytes| i64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_a_window_and_none_is_too_large() {
        for (window, series) in [(0..4032, 1), (-7..4032, 5001), (0..4032, 3_000_000), (5..5, 10), (Time::MIN..Time::MAX, 10)] {
            let all: Vec<Range<Time>> = slices(window.clone(), 1, series).collect();
            let mut end = window.start;
            for slice in &all {
                assert_eq!(slice.start, end);
                end = slice.end;
            }
            assert_eq!(end, window.end);
            assert!(all.len() <= 2 * SLICES_MAX as usize + 1, "{} slices", all.len());
        }
        assert_eq!(slices(0..4032, 1, 250).count(), 1);
        assert!(slices(0..4032, 1, 5001).all(|slice| (slice.end - slice.start) * 5001 <= GATHERED));
    }
}
