//! The methods: what each has to bring, and which of them scores which metric, as it is configured.
//!
//! A method is a file of this folder that implements [`Fit`], a line of [`MethodName`] and one of `implementation`; what it scores with is a variant of
//! [`dataflows::Method`].

use super::grid::Grid;
use super::peers::Shape;
use super::request::{Request, Skipped};
use super::seasonal_naive::SeasonalNaive;
use super::stl_zscore::StlZscore;
use super::tracking::SeasonalLevel;
use clap::{Args, ValueEnum};
use dataflows::{MetricType, Model};
use std::collections::BTreeMap;

/// How a method makes a model of the history of one series.
pub(super) trait Fit: Sync {
    /// The buckets that it needs between the first and the last.
    fn span_min(&self, request: &Request) -> usize;

    /// The model of a series, from a grid that spans as much and whose numbers are finite; with the shape of its peers where it is to
    /// borrow from them.
    fn fit(&self, grid: &Grid, request: &Request, shape: Option<&Shape>) -> Result<Fitted, Skipped>;
}

/// What a method makes of a series.
pub(super) struct Fitted {
    pub(super) model: Model,
    /// The buckets that it was fitted to, of those with samples.
    pub(super) kept: usize,
    /// What else is worth knowing of it: a JSON object.
    pub(super) parameters: serde_json::Value,
}

/// A method by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum MethodName {
    /// A level that follows the series under its daily profile, calibrated on the series' own peaks
    #[default]
    SeasonalLevel,
    /// Daily profile and level as training left them, over one sigma: the baseline
    StlZscore,
    /// The value one season ago, over one sigma: what any other method must be better than
    SeasonalNaive,
}

impl MethodName {
    /// What fits its models.
    pub(super) fn implementation(self) -> &'static dyn Fit {
        match self {
            Self::SeasonalLevel => &SeasonalLevel,
            Self::StlZscore => &StlZscore,
            Self::SeasonalNaive => &SeasonalNaive,
        }
    }

    /// All names, for messages.
    fn all() -> String {
        let names = Self::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        names.map(|name| name.get_name().to_owned()).collect::<Vec<_>>().join(", ")
    }
}

/// The methods of all metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// That of metrics that are not named.
    pub general: MethodName,
    /// Those of the others.
    pub by_metric: BTreeMap<String, MethodName>,
}

/// The flags that choose methods.
#[derive(Clone, Debug, Default, Args)]
pub struct MethodArgs {
    /// How buckets are scored; models that were trained before go on as they are
    #[arg(long, value_name = "METHOD", default_value = "seasonal_level")]
    pub method: MethodName,
    /// Another method for single metrics
    #[arg(long, value_name = "METRIC=METHOD,…", value_parser = metric_method, value_delimiter = ',')]
    pub metric_method: Vec<(String, MethodName)>,
    /// Metrics that are counters, judged by their growth, or gauges; of others, the history of their series decides
    #[arg(long, value_name = "METRIC=TYPE,…", value_parser = metric_type, value_delimiter = ',')]
    pub metric_type: Vec<(String, MetricType)>,
}

impl Methods {
    /// The method of a metric.
    pub fn of(&self, metric: &str) -> MethodName {
        self.by_metric.get(metric).copied().unwrap_or(self.general)
    }
}

impl From<MethodName> for Methods {
    fn from(general: MethodName) -> Self {
        Self { general, by_metric: BTreeMap::new() }
    }
}

impl MethodArgs {
    /// The same, for the trainer.
    pub fn methods(&self) -> Methods {
        Methods { general: self.method, by_metric: self.metric_method.iter().cloned().collect() }
    }

    /// The types of metrics that are known.
    pub fn metric_types(&self) -> BTreeMap<String, MetricType> {
        self.metric_type.iter().cloned().collect()
    }
}

fn metric_method(text: &str) -> Result<(String, MethodName), String> {
    let example = || format!("write it like error_rate=stl_zscore; methods are {}", MethodName::all());
    let (metric, method) = text.split_once('=').ok_or_else(example)?;
    Ok((metric.trim().into(), MethodName::from_str(method.trim(), false).map_err(|_| example())?))
}

fn metric_type(text: &str) -> Result<(String, MetricType), String> {
    match text.split_once('=').map(|(metric, name)| (metric.trim(), name.trim())) {
        Some((metric, "counter")) => Ok((metric.into(), MetricType::Counter)),
        Some((metric, "gauge")) => Ok((metric.into(), MetricType::Gauge)),
        _ => Err("write it like requests_total=counter; types are counter and gauge".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        method: MethodArgs,
    }

    #[test]
    fn a_metric_may_have_a_method_of_its_own() {
        let parse = |line: &str| Line::try_parse_from(std::iter::once("tidewatch").chain(line.split_whitespace()));
        let methods = parse("--metric-method error_rate=stl_zscore").unwrap().method.methods();
        assert_eq!((methods.of("error_rate"), methods.of("cpu")), (MethodName::StlZscore, MethodName::SeasonalLevel));
        assert_eq!(parse("--method stl_zscore").unwrap().method.methods().of("cpu"), MethodName::StlZscore);
        let wrong = parse("--metric-method error_rate=csl").err().unwrap().to_string();
        assert!(wrong.contains("methods are seasonal_level, stl_zscore, seasonal_naive"), "{wrong}");
    }
}
