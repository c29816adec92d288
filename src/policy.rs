//! The flags that say what is an anomaly, an episode and an incident.

use clap::{Args, ValueEnum};
use dataflows::{AnomaliesPer, Direction, EpisodePolicy, IncidentPolicy, Limits, MetricId, Policy, Timing};
use std::collections::{BTreeMap, BTreeSet};

/// What makes an anomaly.
#[derive(Clone, Debug, Args)]
pub struct LimitsArgs {
    /// A bucket whose |z| is above this is anomalous
    #[arg(long, value_name = "Z", default_value_t = 3.0, value_parser = positive, allow_negative_numbers = true)]
    pub threshold: f64,
    /// Another threshold for single metrics
    #[arg(long, value_name = "METRIC=Z,…", value_parser = metric_threshold, value_delimiter = ',')]
    pub metric_threshold: Vec<(String, f64)>,
    /// A smaller deviation is no anomaly, however rare: of one metric or all, in its unit or as a share of what is expected, such as cpu_usage_percent=2,1%
    #[arg(long, value_name = "[METRIC=]VALUE[%],…", value_parser = minimum, value_delimiter = ',')]
    pub minimum_deviation: Vec<Minimum>,
    /// To which side of what is expected a deviation of a metric is one, such as disk_free_bytes=below; those to the other side are normal
    #[arg(long, value_name = "METRIC=above|below|both,…", value_parser = metric_direction, value_delimiter = ',')]
    pub metric_direction: Vec<(String, Direction)>,
}

/// What makes an anomaly, an episode and an incident.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// What makes an anomaly.
    #[command(flatten)]
    pub limits: LimitsArgs,
    /// Where several metrics of an entity are anomalous in one bucket, the one furthest past its threshold speaks for the entity, or each for itself
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Per::Entity)]
    pub anomalies_per: Per,
    /// An episode opens once K of the last N buckets were anomalous or missing, or at a critical one
    #[arg(long, value_name = "K/N", value_parser = some_of, default_value = "2/3")]
    pub open_after: (u32, u32),
    /// An episode closes after so many calm buckets in a row: |z| at most two thirds of the threshold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=288), default_value_t = 3)]
    pub close_after: u32,
    /// Where this share of a rack, a zone or a kind is hit at one moment, it is one incident
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.33", allow_negative_numbers = true)]
    pub incident_share: f64,
}

/// Of what there is one anomaly in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Per {
    /// One for an entity: the other metrics accompany it
    Entity,
    /// One for each metric
    Series,
}

/// The least deviation that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    /// `None`: of all metrics.
    metric: Option<String>,
    value: f64,
    /// Whether `value` is a share of what is expected rather than in the metric's unit.
    relative: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| *value > 0.0 && value.is_finite()).ok_or_else(|| "must be a number above 0".into())
}

fn share(text: &str) -> Result<f64, String> {
    positive(text).ok().filter(|share| *share <= 1.0).ok_or_else(|| "must be a number above 0 and at most 1".into())
}

fn metric_threshold(text: &str) -> Result<(String, f64), String> {
    let (metric, threshold) = text.split_once('=').ok_or("write it like cpu_usage_percent=4")?;
    Ok((metric.trim().into(), positive(threshold.trim())?))
}

fn metric_direction(text: &str) -> Result<(String, Direction), String> {
    let named = |text: &str| [Direction::Above, Direction::Below, Direction::Both].into_iter().find(|side| side.as_str() == text);
    let pair = text.split_once('=').and_then(|(metric, side)| Some((metric.trim().to_owned(), named(side.trim())?)));
    pair.filter(|(metric, _)| !metric.is_empty()).ok_or_else(|| "write it like disk_free_bytes=below: above, below or both".into())
}

fn minimum(text: &str) -> Result<Minimum, String> {
    let (metric, value) = text.split_once('=').map_or((None, text), |(metric, value)| (Some(metric.trim().to_string()), value));
    let (number, relative) = value.trim().strip_suffix('%').map_or((value.trim(), false), |percent| (percent, true));
    let number: Option<f64> = number.trim().parse().ok().filter(|number: &f64| *number >= 0.0 && number.is_finite());
    let number = number.ok_or("write it like 5%, 0.5 or cpu_usage_percent=2")?;
    Ok(Minimum { metric, value: if relative { number / 100.0 } else { number }, relative })
}

fn some_of(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?)));
    parts.filter(|(k, n)| (1..=*n).contains(k) && *n <= 288).ok_or_else(|| "write it like 2/3: two of the last three buckets".into())
}

impl LimitsArgs {
    /// Those of metrics that no flag names, and those of single ones.
    fn of_all(&self) -> (Limits, BTreeMap<MetricId, Limits>) {
        let mut limits = Limits { threshold: self.threshold, ..Limits::default() };
        let general = self.minimum_deviation.iter().filter(|minimum| minimum.metric.is_none());
        general.for_each(|minimum| minimum.apply(&mut limits));
        let mut by_metric = BTreeMap::new();
        let mut own = |metric: &str, change: &dyn Fn(&mut Limits)| change(by_metric.entry(MetricId::of(metric)).or_insert(limits));
        for (metric, threshold) in &self.metric_threshold {
            own(metric, &|limits| limits.threshold = *threshold);
        }
        for minimum in &self.minimum_deviation {
            minimum.metric.iter().for_each(|metric| own(metric, &|limits| minimum.apply(limits)));
        }
        for (metric, direction) in &self.metric_direction {
            own(metric, &|limits| limits.direction = *direction);
        }
        (limits, by_metric)
    }

    /// The metrics that have limits of their own.
    pub fn metrics(&self) -> BTreeSet<&str> {
        let thresholds = self.metric_threshold.iter().map(|(metric, _)| metric);
        let minima = self.minimum_deviation.iter().filter_map(|minimum| minimum.metric.as_ref());
        thresholds.chain(minima).chain(self.metric_direction.iter().map(|(metric, _)| metric)).map(String::as_str).collect()
    }

    /// Those of a metric.
    pub fn of(&self, metric: &str) -> Limits {
        let (limits, by_metric) = self.of_all();
        by_metric.get(&MetricId::of(metric)).copied().unwrap_or(limits)
    }
}

impl PolicyArgs {
    /// The same, for the graph.
    pub fn policy(&self, timing: &Timing) -> Policy {
        let (limits, by_metric) = self.limits.of_all();
        let (evidence_min, window) = self.open_after;
        Policy {
            bucket_width: timing.bucket_width,
            lateness: timing.lateness,
            forget: timing.forget,
            limits,
            by_metric,
            anomalies_per: match self.anomalies_per {
                Per::Entity => AnomaliesPer::Entity,
                Per::Series => AnomaliesPer::Series,
            },
            episode: EpisodePolicy { evidence_min, window, calm_min: self.close_after, ..EpisodePolicy::default() },
            incident: IncidentPolicy { share: self.incident_share, ..IncidentPolicy::default() },
        }
    }
}

impl Minimum {
    fn apply(&self, limits: &mut Limits) {
        if self.relative {
            limits.minimum_relative = self.value;
        } else {
            limits.minimum_absolute = self.value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    const TIMING: Timing =
        Timing { bucket_width: 300_000, out_of_orderness: 0, lateness: 0, skew: 0, forget: 0, patience: 0, floor: i64::MIN };

    fn policy(line: &str) -> Policy {
        Line::try_parse_from(std::iter::once("tidewatch").chain(line.split_whitespace())).unwrap().policy.policy(&TIMING)
    }

    #[test]
    fn a_metric_may_have_limits_of_its_own_on_top_of_those_of_all() {
        let policy = policy(
            "--threshold 4 --metric-threshold error_rate=6 --minimum-deviation 5%,cpu=2,error_rate=0.5% --metric-direction error_rate=above,free=below --open-after 3/5",
        );
        let limits = |metric: &str| *policy.limits(MetricId::of(metric));
        let all = Limits { threshold: 4.0, minimum_absolute: 0.0, minimum_relative: 0.05, direction: Direction::Both };
        assert_eq!(limits("other"), all);
        assert_eq!(limits("cpu"), Limits { minimum_absolute: 2.0, ..all });
        assert_eq!(limits("error_rate"), Limits { threshold: 6.0, minimum_relative: 0.005, direction: Direction::Above, ..all });
        assert_eq!(limits("free"), Limits { direction: Direction::Below, ..all });
        assert_eq!((policy.episode.evidence_min, policy.episode.window), (3, 5));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_an_example() {
        let cases = [
            ("--minimum-deviation cpu=-1", "write it like"),
            ("--minimum-deviation much", "write it like"),
            ("--open-after 4/3", "2/3"),
            ("--open-after 0/3", "2/3"),
            ("--metric-threshold cpu", "cpu_usage_percent=4"),
            ("--metric-direction cpu", "disk_free_bytes=below"),
            ("--metric-direction cpu=up", "above, below or both"),
            ("--incident-share 1.5", "at most 1"),
            ("--close-after 0", "1..=288"),
        ];
        for (line, fix) in cases {
            let error = Line::try_parse_from(std::iter::once("tidewatch").chain(line.split_whitespace())).err().unwrap().to_string();
            assert!(error.contains(fix), "{line}: {error}");
        }
    }
}
