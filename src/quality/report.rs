//! Quality in numbers: one row for each metric and one for all of them, as a table for people and as JSON.

use super::counts::{Count, Judged, count, count_kinds};
use super::sweep::budgeted;
use dataflows::Time;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

const DAY: f64 = 86_400_000.0;

/// The number of false alarms at which methods are compared: one per series and week.
const WEEKLY: f64 = 1.0 / 7.0;

/// How well a metric, or all of them, are judged. What cannot be said, such as the recall of no labelled stretch, is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Series that were looked at.
    pub series: u64,
    /// The days from their first bucket with samples to their last, added up.
    pub series_days: f64,
    /// Labelled stretches where there are buckets.
    pub labelled: u64,
    /// Those among them that were found.
    pub found: u64,
    /// Alarms.
    pub alarms: u64,
    /// Those among them that meet no labelled stretch.
    pub false_alarms: u64,
    /// `found` as a share of `found` and `false_alarms`.
    pub precision: Option<f64>,
    /// `found` as a share of `labelled`.
    pub recall: Option<f64>,
    /// The harmonic mean of precision and recall.
    pub f1: Option<f64>,
    /// From the beginning of a labelled stretch to the start of its first flagged bucket, the median of those that were found.
    pub median_delay_seconds: Option<f64>,
    /// How often somebody is called for nothing.
    pub false_alarms_per_series_day: f64,
    /// The recall where the threshold is set to one false alarm per series and week.
    pub recall_at_one_false_alarm_per_series_week: Option<f64>,
    /// That threshold.
    pub threshold_at_one_false_alarm_per_series_week: Option<f64>,
}

/// How well the labelled stretches of one kind are found, by what was flagged and where the threshold is set to one false alarm per series and week.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindRow {
    /// Labels of this kind where there are buckets, none put together.
    pub labelled: u64,
    /// The share of them that was found.
    pub recall: Option<f64>,
    /// See [`Row::median_delay_seconds`].
    pub median_delay_seconds: Option<f64>,
    /// The same at the other threshold, as is the next.
    pub recall_at_one_false_alarm_per_series_week: Option<f64>,
    /// See above.
    pub median_delay_seconds_at_one_false_alarm_per_series_week: Option<f64>,
}

/// How well a run of verdicts agrees with labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// All metrics together.
    pub all: Row,
    /// By metric. Labelled stretches of entities as a whole are in `all` alone.
    pub by_metric: BTreeMap<String, Row>,
    /// By what happened, as far as labels say so.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_kind: BTreeMap<String, KindRow>,
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}

fn minutes(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".into(), |seconds| format!("{:.0} min", seconds / 60.0))
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Count {
    /// The share of labelled stretches that was found; `None` without labelled stretches.
    pub(super) fn recall(&self) -> Option<f64> {
        share(self.found, self.labelled)
    }

    fn precision(&self) -> Option<f64> {
        share(self.found, self.found + self.false_alarms)
    }

    /// The harmonic mean of precision and recall, in a form that needs neither.
    fn f1(&self) -> Option<f64> {
        let f1 = share(2 * self.found, self.found + self.false_alarms + self.labelled);
        f1.filter(|_| self.labelled > 0)
    }

    #[allow(clippy::cast_precision_loss)] // far below 2^52
    fn series_days(&self, width: Time) -> f64 {
        self.buckets as f64 * width as f64 / DAY
    }

    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub(super) fn false_alarms_per_series_day(&self, width: Time) -> f64 {
        self.false_alarms as f64 / self.series_days(width).max(f64::MIN_POSITIVE)
    }

    #[allow(clippy::cast_precision_loss)] // milliseconds
    fn median_delay_seconds(&self) -> Option<f64> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let middle = |n: usize| delays.get(n).map(|delay| *delay as f64 / 1000.0);
        Some((middle(delays.len().checked_sub(1)? / 2)? + middle(delays.len() / 2)?) / 2.0)
    }
}

impl Row {
    fn of(count: &Count, judged: &[&Judged], width: Time) -> Self {
        let weekly = budgeted(judged, width, WEEKLY);
        Self {
            series: count.series,
            series_days: count.series_days(width),
            labelled: count.labelled,
            found: count.found,
            alarms: count.alarms,
            false_alarms: count.false_alarms,
            precision: count.precision(),
            recall: count.recall(),
            f1: count.f1(),
            median_delay_seconds: count.median_delay_seconds(),
            false_alarms_per_series_day: count.false_alarms_per_series_day(width),
            recall_at_one_false_alarm_per_series_week: weekly.map(|weekly| weekly.recall),
            threshold_at_one_false_alarm_per_series_week: weekly.map(|weekly| weekly.threshold),
        }
    }

    fn line(&self, name: &str) -> String {
        let delay = minutes(self.median_delay_seconds);
        let weekly = match (self.recall_at_one_false_alarm_per_series_week, self.threshold_at_one_false_alarm_per_series_week) {
            (Some(recall), Some(threshold)) => format!("{recall:.2} at {threshold:.2}"),
            _ => "-".into(),
        };
        format!(
            "{name:<30}{:>7}{:>9}{:>7}{:>8}{:>11}{:>6}{:>9}{:>22.3}{weekly:>20}",
            self.series,
            self.labelled,
            self.found,
            number(self.recall),
            number(self.precision),
            number(self.f1),
            delay,
            self.false_alarms_per_series_day,
        )
    }
}

impl Quality {
    /// Measures what was flagged in buckets of this width.
    pub fn of(judged: &[Judged], width: Time) -> Self {
        let judged: Vec<&Judged> = judged.iter().collect();
        let counts = count(&judged, width, |series| series.flagged.clone());
        let mut sum = Count::default();
        counts.values().for_each(|count| sum.add(count));
        let row = |(metric, count): (&Option<&str>, &Count)| {
            let metric = (*metric)?;
            let its: Vec<&Judged> = judged.iter().copied().filter(|series| series.series.metric == metric).collect();
            Some((metric.to_owned(), Row::of(count, &its, width)))
        };
        let all = Row::of(&sum, &judged, width);
        let by_kind = kinds(&judged, width, all.threshold_at_one_false_alarm_per_series_week);
        Self { all, by_metric: counts.iter().filter_map(row).collect(), by_kind }
    }
}

fn kinds(judged: &[&Judged], width: Time, weekly: Option<f64>) -> BTreeMap<String, KindRow> {
    let at_weekly = count_kinds(judged, width, |series| series.at(weekly.unwrap_or(f64::INFINITY)));
    let row = |(kind, count): (&str, Count)| {
        let there = at_weekly.get(kind).filter(|_| weekly.is_some());
        let row = KindRow {
            labelled: count.labelled,
            recall: count.recall(),
            median_delay_seconds: count.median_delay_seconds(),
            recall_at_one_false_alarm_per_series_week: there.and_then(Count::recall),
            median_delay_seconds_at_one_false_alarm_per_series_week: there.and_then(Count::median_delay_seconds),
        };
        (kind.to_owned(), row)
    };
    count_kinds(judged, width, |series| series.flagged.clone()).into_iter().map(row).collect()
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<30}{:>7}{:>9}{:>7}{:>8}{:>11}{:>6}{:>9}{:>22}{:>20}",
            "metric", "series", "labelled", "found", "recall", "precision", "F1", "delay", "false/series and day", "found at 1 a week"
        )?;
        for (metric, row) in &self.by_metric {
            writeln!(f, "{}", row.line(metric))?;
        }
        write!(f, "{}", self.all.line("all"))?;
        if !self.by_kind.is_empty() {
            write!(f, "\n\n{:<30}{:>16}{:>8}{:>9}{:>20}", "kind", "labelled", "recall", "delay", "found at 1 a week")?;
        }
        for (kind, row) in &self.by_kind {
            let (recall, delay) = (number(row.recall), minutes(row.median_delay_seconds));
            let weekly = number(row.recall_at_one_false_alarm_per_series_week);
            write!(f, "\n{kind:<30}{:>16}{recall:>8}{delay:>9}{weekly:>20}", row.labelled)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_count_are_those_of_the_definitions() {
        let count = Count { series: 2, buckets: 576, labelled: 4, found: 3, delays: vec![0, 600_000, 300_000], alarms: 9, false_alarms: 1 };
        let row = Row::of(&count, &[], 300_000);
        assert_eq!((row.precision, row.recall, row.f1), (Some(0.75), Some(0.75), Some(0.75)));
        assert_eq!((row.median_delay_seconds, row.series_days, row.false_alarms_per_series_day), (Some(300.0), 2.0, 0.5));
        let nothing = Row::of(&Count::default(), &[], 300_000);
        assert_eq!((nothing.precision, nothing.recall, nothing.f1, nothing.median_delay_seconds), (None, None, None, None));
    }
}
