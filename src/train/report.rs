//! What a training run did, in numbers and in words.

use super::request::Skipped;
use crate::series::SeriesName;
use std::collections::BTreeMap;
use std::fmt;

/// Series named per reason; the rest are only counted.
const EXAMPLES_MAX: usize = 3;

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
