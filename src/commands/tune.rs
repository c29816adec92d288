//! `tidewatch tune`: what other thresholds, least deviations and openings would have found in history, and the policy that fits a budget of alarms.
//!
//! It is causal: models are trained on what comes before the last days, and those days are scored by the function that a run scores with.

use super::say;
use crate::cli::{EMBEDDED, duration, milliseconds, some_duration, time};
use crate::console::series_bar;
use crate::history::{self, History, silence, span};
use crate::instant;
use crate::models::Models;
use crate::models::memory::Memory;
use crate::policy::PolicyArgs;
use crate::quality::Labels;
use crate::secret::redacted;
use crate::series::SeriesName;
use crate::train;
use crate::tuning::{self, Budget, Candidate, Scored, Trials, Tried, candidates, choose, score};
use anyhow::{Result, bail};
use clap::Args;
use dataflows::{Bucket, MetricId, Model, Policy, SeriesId, Silence, Time, Timing};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Series read from history at a time; a week of one is 300 kB.
const GROUP_SERIES: usize = 128;

/// What to try on.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: tidewatch tune --budget 1/series/month --labels labels.csv --write config.toml")]
pub struct TuneArgs {
    /// Where buckets are read from: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    history: String,
    /// The last part of history, on which policies are tried; what comes before it trains
    #[arg(long, value_name = "DURATION", value_parser = some_duration, default_value = "7d")]
    last: Duration,
    /// The end of the history that is looked at, exclusive [default: all]
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Time>,
    /// How far back training looks
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "14d")]
    window: Duration,
    /// The width of a bucket
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    bucket: Duration,
    /// The most alarms that are answered; of metrics with labels, the most that are false
    #[arg(long, value_name = "BUDGET", default_value = "1 per series and month")]
    budget: Budget,
    /// A CSV of labelled anomalies with the columns entity,metric,start,end; without a metric, of all metrics of the entity
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The configuration file that the chosen policy is written to; what else it says stays
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    method: train::MethodArgs,
    #[command(flatten)]
    calendars: train::Calendars,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Tries, prints, chooses, writes.
///
/// # Errors
/// A history that is not there or too short, labels that meet nothing, a file that cannot be written.
pub fn tune(arguments: &TuneArgs) -> Result<()> {
    let labels = arguments.labels.as_deref().map(Labels::read).transpose()?;
    if let Some(path) = &arguments.write {
        tuning::check_writable(path)?;
    }
    let mut history = history::open(super::existing("--history", &arguments.history)?)?;
    history.migrate()?;
    let (from, until) = span(arguments, &mut *history)?;
    warn_of_strangers(labels.as_ref(), &mut *history)?;
    super::outcome::warn_of_strange_limits(&mut *history, &arguments.policy.limits)?;
    let models = fit(arguments, &mut *history, from)?;
    let policy = arguments.policy.policy(&timing(arguments));
    let tried = try_all(&mut *history, &models, labels.as_ref(), &policy, (from, until))?;
    if labels.is_some() && tried.values().all(|(_, trials)| trials.labelled == 0) {
        let names = history.series()?.into_iter().next().map(|series| format!("{},{}", series.name.entity_id, series.name.metric));
        let (from, until) = (instant::format(from), instant::format(until));
        bail!(
            "no label meets a series between {from} and {until}: write entity,metric as in {}, or move --last and --until",
            names.unwrap_or_default()
        );
    }
    let Some(choice) = choose(&tried, &arguments.budget) else { bail!("no metric was scored between {from} and {until}") };
    for (metric, (candidates, trials)) in &tried {
        say(&tuning::table(metric, candidates, trials, choice.by_metric[metric], &arguments.budget));
    }
    for metric in &choice.over {
        say(&format!("{metric}: nothing that was tried keeps {}; the quietest is chosen", arguments.budget));
    }
    if let Some(least) = least_of_none(&tried, &arguments.budget) {
        tracing::warn!(
            "a single alarm would be {least:.2} per series and {} here, and {} allows none: look at more with --last, or allow more with --budget",
            arguments.budget.unit(),
            arguments.budget
        );
    }
    let Some(path) = &arguments.write else { return Ok(()) };
    let directions = &arguments.policy.limits.metric_direction;
    tuning::write(path, &choice, &tried, policy.limits.minimum_relative, directions)?;
    say(&format!("written to {0}: what was chosen, which `tidewatch run --config {0}` reads", path.display()));
    Ok(())
}

/// What a single alarm of a metric comes to in the budget's unit of time, where that is more than the budget allows: of the metric with the most history.
fn least_of_none(tried: &Tried, budget: &Budget) -> Option<f64> {
    let most = tried.values().map(|(_, trials)| trials.series_days).fold(0.0, f64::max);
    (budget.per_series_day() * most < 1.0).then(|| budget.rate(1, most))
}

/// Labels of what history does not know; that the others count is no reason to keep silent.
fn warn_of_strangers(labels: Option<&Labels>, history: &mut dyn History) -> Result<()> {
    let Some(labels) = labels else { return Ok(()) };
    let names: Vec<SeriesName> = history.series()?.into_iter().map(|series| series.name).collect();
    let strangers = labels.strangers(&names);
    if let Some(first) = strangers.first() {
        let metric = first.metric.as_ref().map_or_else(String::new, |metric| format!(",{metric}"));
        tracing::warn!(
            "{} of {} labels are of no series in history, and count for nothing: {}{metric} first",
            strangers.len(),
            labels.0.len(),
            first.entity
        );
    }
    Ok(())
}

/// Where what is scored begins and ends.
fn span(arguments: &TuneArgs, history: &mut dyn History) -> Result<(Time, Time)> {
    let width = milliseconds(arguments.bucket).max(1);
    if let Some(problem) = span::other_width(history, width)? {
        bail!("{problem}");
    }
    let place = redacted(&arguments.history);
    let Some((first, last)) = span::of_buckets(history, arguments.until.unwrap_or(Time::MAX))? else {
        bail!("history '{place}' holds no buckets to try policies on: let `tidewatch run` watch a source first");
    };
    let until = last + width;
    let from = (until - milliseconds(arguments.last)).div_euclid(width) * width;
    // What the method with the least needs is half a day.
    if from - first < 43_200_000 {
        let whole = humantime::format_duration(Duration::from_secs((until - first).unsigned_abs() / 1000));
        let (begin, end) = (instant::format(first), instant::format(until));
        bail!(
            "history '{place}' holds {whole}, from {begin} to {end}: too short to try policies on the last {} and train on half a day before them; \
             give a shorter --last, or wait",
            humantime::format_duration(arguments.last)
        );
    }
    Ok((from, until))
}

fn timing(arguments: &TuneArgs) -> Timing {
    // An hour of lateness, as a run has: it decides when an episode of a series that fell silent is over. What is stored as missing was missed.
    Timing {
        bucket_width: milliseconds(arguments.bucket),
        out_of_orderness: 0,
        lateness: 3_600_000,
        skew: 0,
        forget: Time::MAX / 4,
        patience: 0,
        floor: Time::MIN,
    }
}

/// The models as they would have been at a time.
fn fit(arguments: &TuneArgs, history: &mut dyn History, until: Time) -> Result<HashMap<SeriesId, Arc<Model>>> {
    let bucket_width = milliseconds(arguments.bucket);
    let request = train::Request {
        bucket_width,
        period: train::Request::period_of(bucket_width)?,
        window: milliseconds(arguments.window),
        methods: arguments.method.methods(),
        metric_types: arguments.method.metric_types(),
        calendars: arguments.calendars.clone(),
        ..train::Request::new(until, until)
    };
    let mut models = Memory::new((Vec::new(), Vec::new()));
    let report = train::train(history, &mut models, &request, &mut train::command::progress_bar())?;
    if report.trained == 0 {
        bail!("no series could be trained on what comes before {}: {report}", instant::format(until));
    }
    if report.trained < report.total {
        tracing::warn!("{report}; those series are left out");
    }
    Ok(models.load()?.0.into_iter().map(|trained| (trained.series.id(), trained.model)).collect())
}

/// Every series with a model, scored once and judged by every candidate, added up by metric.
fn try_all(
    history: &mut dyn History,
    models: &HashMap<SeriesId, Arc<Model>>,
    labels: Option<&Labels>,
    policy: &Policy,
    (from, until): (Time, Time),
) -> Result<Tried> {
    let silences: Vec<Silence> = silence::all(history)?.iter().map(silence::SilenceRow::silence).collect();
    let names: Vec<SeriesName> =
        history.series()?.into_iter().map(|series| series.name).filter(|name| models.contains_key(&name.id())).collect();
    let grids: BTreeMap<&str, Vec<Candidate>> =
        names.iter().map(|name| (name.metric.as_str(), candidates(policy.limits(MetricId::of(&name.metric)), policy))).collect();
    let mut tried: Tried = BTreeMap::new();
    let bar = series_bar("trying", names.len());
    for group in names.chunks(GROUP_SERIES) {
        let read = |name: &SeriesName| history.verdicts_of(name, from, until).map(|all| all.iter().map(|verdict| verdict.bucket).collect());
        let buckets: Vec<Vec<Bucket>> = group.iter().map(read).collect::<Result<_, _>>()?;
        let trials = |(name, buckets): (&SeriesName, &Vec<Bucket>)| {
            let model = models.get(&name.id()).cloned();
            let verdicts = score(name, buckets, model.as_slice(), &silences, policy);
            let labelled = labels.map(|labels| labels.of_all(name, policy.bucket_width)).unwrap_or_default();
            let asides = labels.map(|labels| labels.asides(name, policy.bucket_width)).unwrap_or_default();
            let scored = Scored { series: name.clone(), verdicts, labelled, asides };
            scored.trials(&grids[name.metric.as_str()], policy.limits(MetricId::of(&name.metric)), policy)
        };
        let all: Vec<Trials> = group.par_iter().zip(&buckets).map(trials).collect();
        for (name, trials) in group.iter().zip(&all) {
            let entry = tried.entry(name.metric.clone());
            entry.or_insert_with(|| (grids[name.metric.as_str()].clone(), Trials::default())).1.add(trials);
        }
        bar.inc(group.len() as u64);
    }
    bar.finish_and_clear();
    Ok(tried)
}
