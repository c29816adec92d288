//! `tidewatch models`: what the detector scores with.

use super::say;
use crate::cli::EMBEDDED;
use crate::instant;
use crate::models::{self, Models};
use crate::number::number;
use crate::series::SeriesName;
use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use dataflows::Warming;

/// Which models, and what of them.
#[derive(Clone, Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    action: Action,
    /// Where models come from: embedded:PATH, redis://… or rediss://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED, global = true)]
    models: String,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// One line per series
    #[command(after_help = "Example: tidewatch models list --models redis://localhost:6379")]
    List,
    /// The whole document of one series
    #[command(after_help = "Example: tidewatch models show server:srv-001:cpu_usage_percent")]
    Show {
        /// For example server:srv-001:cpu_usage_percent
        series: String,
    },
}

/// Lists models, or shows one.
///
/// # Errors
/// A store that cannot be reached, or a series without a model.
pub fn models(arguments: &ModelsArgs) -> Result<()> {
    let mut models = models::open(super::existing(&arguments.models)?)?;
    match &arguments.action {
        Action::List => list(&mut *models),
        Action::Show { series } => {
            let name: SeriesName = series.parse().map_err(|problem: String| anyhow!(problem))?;
            let trained =
                models.get(&name)?.ok_or_else(|| anyhow!("there is no model of {name}; 'tidewatch models list' names those there are"))?;
            say(&trained.document().map_err(|defect| anyhow!(defect))?);
            Ok(())
        }
    }
}

fn list(models: &mut dyn Models) -> Result<()> {
    let generation = models.generation()?;
    let (mut trained, unusable) = models.load()?;
    // Newest first, so that of two versions of a series the one in force is kept.
    trained.sort_by(|one, other| (&one.series, other.model.trained_until).cmp(&(&other.series, one.model.trained_until)));
    trained.dedup_by(|later, earlier| later.series == earlier.series);
    for one in &trained {
        if let Some(warming) = one.model.as_warming() {
            let Warming { seen, needed, as_of } = warming;
            say(&format!("{}  warming  {seen} of {needed} buckets until {}", one.series, instant::format(*as_of)));
            continue;
        }
        let (until, fill) = (instant::format(one.model.trained_until), 100.0 * one.provenance.fill);
        say(&format!(
            "{}  {}  until {until}  level {}  sigma {}  fill {fill:.0} %{}",
            one.series,
            one.provenance.method,
            number(one.model.level),
            number(one.model.sigma),
            one.provenance.borrowed().map_or_else(String::new, |borrowed| format!("  profile {borrowed}"))
        ));
    }
    for problem in unusable {
        tracing::warn!(%problem, "a model was skipped");
    }
    let warming = trained.iter().filter(|one| one.model.as_warming().is_some()).count();
    let young = if warming > 0 { format!(", {warming} series warming") } else { String::new() };
    say(&format!("{} models{young}, generation {generation}", trained.len() - warming));
    Ok(())
}
