//! `tidewatch alert`: whether those who are told of incidents can be reached, and what they were told.

use super::{existing, say};
use crate::alerts::{AlertTable, AlertsArgs, Recipient};
use crate::cli::EMBEDDED;
use crate::history::outbox::{self, OutboxRow};
use crate::notify::Alert;
use crate::{history, instant, notify};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

/// What to do.
#[derive(Clone, Debug, Args)]
pub struct AlertArgs {
    /// What to do
    #[arg(value_enum)]
    action: Action,
    /// Only this receiver [default: all]
    name: Option<String>,
    /// Where the outbox is kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    history: String,
    /// How many rows of the outbox to show, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Who is told of incidents.
    #[command(flatten)]
    alerts: AlertsArgs,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Send a sample that says that it is one, and say how that went
    Test,
    /// Show the outbox: what is pending, delivered, held back, overtaken or failed, and why
    List,
}

/// Does what was asked for.
///
/// # Errors
/// A receiver that did not take the sample, a configuration that cannot be meant, or a history that cannot be read.
pub fn alert(arguments: &AlertArgs, tables: Vec<AlertTable>) -> Result<()> {
    match arguments.action {
        Action::Test => test(arguments, tables),
        Action::List => list(arguments),
    }
}

fn test(arguments: &AlertArgs, tables: Vec<AlertTable>) -> Result<()> {
    let alerts = AlertsArgs { tables, ..arguments.alerts.clone() };
    let mut recipients = alerts.recipients()?;
    let known: Vec<String> = recipients.iter().map(|recipient| recipient.address.name().to_owned()).collect();
    if let Some(name) = &arguments.name {
        recipients.retain(|recipient| recipient.address.name() == name);
    }
    match (&arguments.name, recipients.is_empty()) {
        (Some(name), true) if !known.is_empty() => bail!("there is no receiver '{name}': the configuration has {}", known.join(", ")),
        (_, true) => bail!("nobody is told of incidents: give --alert URL, or [[alert]] tables in the file that --config names"),
        _ => {}
    }
    let sample = Alert::sample(instant::now(), alerts.page_url.as_deref());
    let failed = recipients.iter().filter(|recipient| !send(recipient, &sample)).count();
    if failed > 0 { bail!("{failed} of {} did not take the sample", recipients.len()) } else { Ok(()) }
}

/// Sends the sample and says how that went; `true` where it went well.
fn send(recipient: &Recipient, sample: &Alert) -> bool {
    let told = notify::open(&recipient.address).map_err(|error| error.to_string());
    let told = told.and_then(|mut receiver| receiver.send(sample, None).map_err(|failure| failure.to_string()));
    let (name, place) = (recipient.address.name(), recipient.address.place());
    match &told {
        Ok(()) => say(&format!("ok      {name:<12} {place}")),
        Err(problem) => say(&format!("failed  {name:<12} {place}: {problem}")),
    }
    told.is_ok()
}

fn list(arguments: &AlertArgs) -> Result<()> {
    let mut history = history::open(existing("--history", &arguments.history)?)?;
    let is_wanted = |receiver: &str| arguments.name.as_deref().is_none_or(|name| name == receiver);
    for row in outbox::latest(&mut *history, arguments.limit)?.iter().filter(|row| is_wanted(&row.receiver)) {
        say(&line(row));
    }
    let counts = outbox::counts(&mut *history)?;
    let told: Vec<String> = counts.iter().filter(|one| is_wanted(&one.0)).map(|(name, state, n)| format!("{name} {n} {state}")).collect();
    say(&if told.is_empty() { "the outbox is empty".to_owned() } else { format!("in all: {}", told.join(", ")) });
    Ok(())
}

fn line(row: &OutboxRow) -> String {
    let at = row.ended_at.unwrap_or(row.incident.known_at);
    let mut line = format!("{}  {:<9}  {:<12} {}", instant::format(at), row.state, row.receiver, headline(row));
    match (&*row.state, &row.problem) {
        ("pending", Some(problem)) => {
            line += &format!("  (attempt {} failed: {problem}; again at {})", row.attempts, instant::format(row.next_try_at));
        }
        ("failed", Some(problem)) => line += &format!("  ({problem})"),
        _ => {}
    }
    line
}

fn headline(row: &OutboxRow) -> String {
    let incident = &row.incident;
    let whom = super::incidents::reach(incident);
    format!("{:<9} {:<8} {whom} since {}  [{:016x}]", row.change, incident.severity, instant::format(incident.opened), incident.id.0)
}
