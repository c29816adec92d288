//! `tidewatch models`: what the detector scores with.

use super::say;
use crate::cli::EMBEDDED;
use crate::history::{self, calibration};
use crate::instant;
use crate::models::{self, Models, Trained};
use crate::number::number;
use crate::series::SeriesName;
use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use dataflows::silence::fits;
use dataflows::{MetricType, Time, Warming};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A rollback names so many series.
const SHOWN: usize = 10;

/// Which models, and what of them.
#[derive(Clone, Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    action: Action,
    /// Where models come from: embedded:PATH, redis://… or rediss://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED, global = true)]
    models: String,
    /// Where it is known which series drift: embedded:PATH or postgres://… [default: the embedded file of the models, if it holds a history]
    // Under an id of its own: that of a run has a default, which would reach it here.
    #[arg(long = "history", id = "history_of_models", value_name = "URL", global = true)]
    history: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// One line per series
    #[command(after_help = "Example: tidewatch models list 'srv-0*' --models redis://localhost:6379")]
    List {
        /// Only those of an entity or a metric of this name, or of a whole name TYPE:ENTITY:METRIC; * stands for any text, ? for one character
        pattern: Option<String>,
    },
    /// The whole document of one series
    #[command(after_help = "Example: tidewatch models show server:srv-001:cpu_usage_percent")]
    Show {
        /// For example server:srv-001:cpu_usage_percent
        series: String,
    },
    /// Goes back to the models before the newest, which score from the first bucket after the newest one's training on
    ///
    /// A second rollback takes the first one back. The next training makes new models: stop it first if it is to blame.
    #[command(after_help = "Example: tidewatch models rollback server:srv-001:cpu_usage_percent")]
    Rollback {
        /// For example server:srv-001:cpu_usage_percent
        #[arg(required_unless_present = "all")]
        series: Vec<String>,
        /// Of all series that have a model before the newest
        #[arg(long, conflicts_with = "series")]
        all: bool,
    },
}

/// Lists models, shows one, or goes back to those before.
///
/// # Errors
/// A store that cannot be reached, or a series without a model or without one before it.
pub fn models(arguments: &ModelsArgs) -> Result<()> {
    let mut models = models::open(super::existing("--models", &arguments.models)?)?;
    match &arguments.action {
        Action::List { pattern } => list(&mut *models, &drifting(arguments)?, pattern.as_deref()),
        Action::Rollback { series, .. } => rollback(&mut *models, series),
        Action::Show { series } => {
            let name: SeriesName = series.parse().map_err(|problem: String| anyhow!(problem))?;
            let trained =
                models.get(&name)?.ok_or_else(|| anyhow!("there is no model of {name}; 'tidewatch models list' names those there are"))?;
            say(&trained.document().map_err(|defect| anyhow!(defect))?);
            Ok(())
        }
    }
}

/// Since when series drift, as far as there is a history to ask.
fn drifting(arguments: &ModelsArgs) -> Result<BTreeMap<SeriesName, Time>> {
    let drifting = match &arguments.history {
        Some(url) => calibration::drifting(&mut *history::open(super::existing("--history", url)?)?)?,
        // Models may well be in a file of their own.
        None if arguments.models.starts_with("embedded:") => {
            history::open(&arguments.models).and_then(|mut history| calibration::drifting(&mut *history)).unwrap_or_default()
        }
        None => Vec::new(),
    };
    Ok(drifting.into_iter().map(|one| (one.name, one.since)).collect())
}

fn list(models: &mut dyn Models, drifting: &BTreeMap<SeriesName, Time>, pattern: Option<&str>) -> Result<()> {
    let generation = models.generation()?;
    let (mut trained, unusable) = models.load()?;
    // Newest first, so that of two versions of a series the one in force is kept.
    trained.sort_by(|one, other| (&one.series, other.model.trained_until).cmp(&(&other.series, one.model.trained_until)));
    trained.dedup_by(|later, earlier| later.series == earlier.series);
    let is_meant = |name: &SeriesName, pattern: &str| {
        let entity = format!("{}:{}", name.entity_type, name.entity_id);
        [&name.entity_id, &name.metric, &entity, &name.to_string()].into_iter().any(|part| fits(pattern, part))
    };
    trained.retain(|one| pattern.is_none_or(|pattern| is_meant(&one.series, pattern)));
    for one in &trained {
        if let Some(warming) = one.model.as_warming() {
            let Warming { seen, needed, as_of } = warming;
            say(&format!("{}  warming  {seen} of {needed} buckets until {}", one.series, instant::format(*as_of)));
            continue;
        }
        let (until, fill) = (instant::format(one.model.trained_until), 100.0 * one.provenance.fill);
        let drift = drifting.get(&one.series).map_or_else(String::new, |since| format!("  drifting since {}", instant::format(*since)));
        say(&format!(
            "{}  {}{}  until {until}  level {}  sigma {}  fill {fill:.0} %{}{drift}",
            one.series,
            one.provenance.method,
            if one.model.metric_type == MetricType::Counter { "  counter" } else { "" },
            number(one.model.level),
            number(one.model.sigma),
            one.provenance.borrowed().map_or_else(String::new, |borrowed| format!("  profile {borrowed}"))
        ));
    }
    for problem in unusable {
        tracing::warn!(%problem, "a model was skipped");
    }
    if let Some(pattern) = pattern.filter(|_| trained.is_empty()) {
        tracing::warn!(pattern, "it fits no entity, no metric and no whole name of a model");
    }
    let warming = trained.iter().filter(|one| one.model.as_warming().is_some()).count();
    let young = if warming > 0 { format!(", {warming} series warming") } else { String::new() };
    say(&format!("{} models{young}, generation {generation}", trained.len() - warming));
    Ok(())
}

/// Pushes the model before the newest again, of some series or, where none is named, of all that have one.
fn rollback(models: &mut dyn Models, series: &[String]) -> Result<()> {
    let names: Vec<SeriesName> =
        series.iter().map(|name| name.parse()).collect::<Result<_, String>>().map_err(|problem| anyhow!(problem))?;
    let (mut trained, _) = models.load()?;
    // What says that a series is too young is nothing to go back to.
    trained.retain(|one| one.model.as_warming().is_none() && (names.is_empty() || names.contains(&one.series)));
    trained.sort_by(|one, other| (&one.series, one.model.trained_until).cmp(&(&other.series, other.model.trained_until)));
    let pairs = trained.windows(2).filter(|pair| pair[0].series == pair[1].series);
    let restored: Vec<Trained> = pairs.map(|pair| again(&pair[0], &pair[1])).collect();
    if let Some(name) = names.iter().find(|name| restored.iter().all(|one| one.series != **name)) {
        bail!("there is no model of {name} before the newest; nothing was changed");
    }
    if restored.is_empty() {
        bail!("no series has a model before the newest; nothing was changed");
    }
    let generation = models.push(&restored)?;
    restored.iter().take(SHOWN).for_each(|one| {
        let since = instant::format(one.model.trained_until);
        say(&format!("{}  trained from {} again, for buckets since {since}", one.series, instant::format(one.model.trained_from)));
    });
    if restored.len() > SHOWN {
        say("…");
    }
    say(&format!("{} models rolled back, generation {generation}", restored.len()));
    Ok(())
}

/// The earlier model once more, in force after the newest: what was scored before is not touched, and the newest is kept as the one before.
fn again(earlier: &Trained, newest: &Trained) -> Trained {
    let mut again = earlier.clone();
    Arc::make_mut(&mut again.model).trained_until = newest.model.trained_until + newest.model.bucket_width;
    let was = instant::format(earlier.model.trained_until);
    again.provenance.parameters.entry("rolled_back_to").or_insert_with(|| was.into());
    again
}
