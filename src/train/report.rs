//! What a training run did, in numbers and in words.

use super::request::Skipped;
use crate::instant;
use crate::series::SeriesName;
use dataflows::Time;
use std::collections::BTreeMap;
use std::fmt;

/// Series named per reason; the rest are only counted.
const EXAMPLES_MAX: usize = 3;

/// Nobody is told to take wider buckets than these: of less than four a day has no shape. In milliseconds.
const WIDE_MAX: Time = 6 * 3_600_000;

/// The series skipped for one reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count {
    /// How many.
    pub series: usize,
    /// The first few, with the reason in full.
    pub examples: Vec<(SeriesName, String)>,
}

/// The outcome of a training run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Series in history.
    pub total: usize,
    /// Series that got a model.
    pub trained: usize,
    /// The others, by reason in one word.
    pub skipped: BTreeMap<&'static str, Count>,
    /// Labels that the configuration gives a time zone and that no series has.
    pub unknown_labels: Vec<String>,
    /// Metrics that the configuration gives a type or a method and that no series has.
    pub unknown_metrics: Vec<String>,
    /// The generation of the push; `None` where nothing was pushed because no series could be trained.
    pub generation: Option<u64>,
    /// Series that drifted when it began.
    pub drifting: Vec<SeriesName>,
    /// Of the series that have samples in one of so many buckets only, how many there are.
    pub spaced: BTreeMap<usize, usize>,
    /// The width of a bucket, in milliseconds.
    pub bucket_width: Time,
    /// Wall time of the whole run: reading, fitting, pushing.
    pub seconds: f64,
}

impl Report {
    pub(super) fn new(total: usize) -> Self {
        Self { total, ..Self::default() }
    }

    pub(super) fn skip(&mut self, series: &SeriesName, skipped: &Skipped) {
        let count = self.skipped.entry(skipped.reason()).or_default();
        count.series += 1;
        // The first by name, in whatever order they are looked at.
        let place = count.examples.partition_point(|(before, _)| before < series);
        if place < EXAMPLES_MAX {
            count.examples.insert(place, (series.clone(), skipped.to_string()));
            count.examples.truncate(EXAMPLES_MAX);
        }
    }

    /// Takes note of a series that got a model, and of how many buckets lie between its samples, if it is more than one.
    pub(super) fn space(&mut self, spacing: Option<usize>) {
        spacing.into_iter().for_each(|spacing| *self.spaced.entry(spacing).or_default() += 1);
    }

    /// What is to be said where most series come less often than a bucket is wide: so many have no profile of the day but for the moments that they come at.
    pub fn too_narrow(&self) -> Option<String> {
        let (spacing, count) = self.spaced.iter().max_by_key(|(_, count)| **count)?;
        let wide = self.bucket_width.saturating_mul(Time::try_from(*spacing).ok()?);
        (2 * count > self.trained && wide <= WIDE_MAX).then(|| {
            let (narrow, wide) = (instant::format_span(self.bucket_width), instant::format_span(wide));
            format!(
                "{count} of {} series have samples every {wide} and buckets are {narrow} wide: they are judged without the shape of their days; give \
                 --bucket {wide} to every command, and a history of its own",
                self.trained
            )
        })
    }

    /// Series that have been looked at.
    pub fn seen(&self) -> usize {
        self.trained + self.skipped.values().map(|count| count.series).sum::<usize>()
    }

    /// Wall seconds per thousand series looked at.
    pub fn seconds_per_thousand(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let thousands = self.seen().max(1) as f64 / 1000.0;
        self.seconds / thousands
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trained {} of {} series in {:.1} s", self.trained, self.total, self.seconds)?;
        write!(f, " ({:.1} s per thousand)", self.seconds_per_thousand())?;
        match self.generation {
            Some(generation) => write!(f, ", generation {generation}")?,
            None => write!(f, ", nothing pushed")?,
        }
        if !self.drifting.is_empty() {
            let named: Vec<String> = self.drifting.iter().take(EXAMPLES_MAX).map(ToString::to_string).collect();
            write!(f, "; {} series drifting: {}", self.drifting.len(), named.join(", "))?;
            if self.drifting.len() > EXAMPLES_MAX {
                write!(f, " and {} more", self.drifting.len() - EXAMPLES_MAX)?;
            }
        }
        if let Some(problem) = self.too_narrow() {
            write!(f, "\n{problem}")?;
        }
        for label in &self.unknown_labels {
            write!(f, "\nno series has the label {label}, which has a time zone of its own")?;
        }
        for metric in &self.unknown_metrics {
            write!(f, "\nno series has the metric {metric}, which has a type or a method of its own")?;
        }
        for (reason, count) in &self.skipped {
            write!(f, "\nskipped {} as {reason}:", count.series)?;
            for (series, sentence) in &count.examples {
                write!(f, "\n  {series}  {sentence}")?;
            }
            if count.series > count.examples.len() {
                write!(f, "\n  and {} more", count.series - count.examples.len())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_series_that_come_less_often_than_a_bucket_is_wide_are_told_of() {
        let report = |spaced: &[Option<usize>]| {
            let mut report = Report { bucket_width: 300_000, trained: spaced.len(), ..Report::default() };
            spaced.iter().for_each(|spacing| report.space(*spacing));
            report.too_narrow()
        };
        let said = report(&[Some(12), None, Some(12)]).unwrap();
        assert!(said.starts_with("2 of 3 series have samples every 1h and buckets are 5m wide") && said.contains("--bucket 1h "), "{said}");
        assert_eq!((report(&[Some(12), None]), report(&[Some(288); 3]), report(&[])), (None, None, None));
    }

    #[test]
    fn every_skipped_series_is_counted_and_the_first_are_named() {
        let mut report = Report::new(5);
        report.trained = 1;
        for i in 0..4 {
            report.skip(&SeriesName::new("server", &format!("srv-{i}"), "fan"), &Skipped::Constant { value: 7.0 });
        }
        let text = report.to_string();
        assert!(text.contains("skipped 4 as constant"), "{text}");
        assert!(text.contains("server:srv-0:fan  constant: every bucket is 7"), "{text}");
        assert!(text.contains("and 1 more"), "{text}");
        assert_eq!(report.seen(), 5);
    }
}
