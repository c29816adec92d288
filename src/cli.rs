//! The command line: what can be said, and which function it comes to.

use crate::alerts::{AlertTable, AlertsArgs};
use crate::commands;
use crate::generate::SimulationArgs;
use crate::layers::Tables;
use crate::limits::Limits;
use crate::policy::PolicyArgs;
use crate::{generate, instant, train};
use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use dataflows::cadence::PATIENCE_MAX;
use dataflows::{Time, Timing};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Where the embedded default keeps everything.
pub const EMBEDDED: &str = "embedded:tidewatch-data/tidewatch.db";

/// Watches infrastructure metrics as they stream by and says what is out of the ordinary, how much and why
///
/// Without a command it runs the main job: by default a simulated datacenter, kept in ./tidewatch-data.
#[derive(Debug, Parser)]
#[command(name = "tidewatch", version, args_conflicts_with_subcommands = true, args_override_self = true)]
#[command(
    after_help = "Example: tidewatch -w 4\nFlags can also be given as TIDEWATCH_FLAG_NAME in the environment or flag-name = … in the file that --config names."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
    /// A TOML file with any of the flags, and [kinds.NAME] tables
    #[arg(long, value_name = "FILE", global = true, help_heading = "Configuration")]
    config: Option<PathBuf>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(args_override_self = true)]
pub enum Command {
    /// Watch a source: the main job, and the default
    #[command(
        after_help = "Example: tidewatch run --source kafka://localhost:9092/metrics --history postgres://tidewatch@localhost/metrics --models redis://localhost:6379"
    )]
    Run(Box<RunArgs>),
    /// Fit the models of all series in history and push them
    Train(train::command::Args),
    /// Write the simulated log to Kafka, a file or standard output
    #[command(after_help = "Example: tidewatch generate --preset chaos --for 1h --speed max --to file:metrics.jsonl --truth truth.jsonl")]
    Generate(generate::Args),
    /// Run the graph over a file of the past: train on what comes before a time and score the rest, or score it all by models that are there
    Backtest(Box<commands::backtest::BacktestArgs>),
    /// Try policies on history, show what each finds and costs, and write the one that fits an alarm budget to the configuration
    Tune(Box<commands::tune::TuneArgs>),
    /// Show the arithmetic behind one verdict
    Explain(commands::explain::ExplainArgs),
    /// Bring the tables of a history up to date
    #[command(after_help = "Example: tidewatch migrate --history postgres://tidewatch@localhost/metrics")]
    Migrate(StoreArgs),
    /// Look whether source, history and models can be reached, and say what is there
    Check(commands::check::CheckArgs),
    /// Say that deviations are expected for a while, such as during maintenance
    Silence(commands::silence::SilenceArgs),
    /// List the incidents of a history
    #[command(after_help = "Example: tidewatch incidents --from 2026-01-19T00:00:00Z")]
    Incidents(commands::incidents::IncidentsArgs),
    /// Send a sample to whoever is told of incidents, or show what was sent
    #[command(after_help = "Example: tidewatch alert test --alert ops=slack:@/run/secrets/slack")]
    Alert(commands::alert::AlertArgs),
    /// Look at the models
    #[command(after_help = "Example: tidewatch models show server:srv-001:cpu_usage_percent --models redis://localhost:6379")]
    Models(commands::models::ModelsArgs),
    /// Print the hash of the final buckets, verdicts, episodes and incidents of a history
    Digest(commands::digest::DigestArgs),
    /// Show what was refused, how often and why
    DeadLetters(commands::dead_letters::DeadLettersArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example: tidewatch completions bash > /etc/bash_completion.d/tidewatch")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Which history.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Where verdicts are kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    pub history: String,
}

/// The main job.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where records come from: simulate:PRESET, file:PATH[,PATH…] (file:- is standard input) or kafka://HOST:PORT,…/TOPIC,…
    #[arg(long, value_name = "URL", default_value = "simulate:dev")]
    pub source: String,
    /// Where verdicts are kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    pub history: String,
    /// Where models come from: embedded:PATH, redis://… or rediss://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    pub models: String,
    /// Stops at what the source holds now, instead of waiting for more (a file does that anyway)
    #[arg(long)]
    pub until_end: bool,
    /// Waits while another process watches the same source into the same history, and takes over when it ends
    #[arg(long)]
    pub standby: bool,
    /// Stores no raw events, only buckets
    #[arg(long)]
    pub no_raw: bool,
    /// Serves the page, /api/v1, /metrics, /livez and /readyz at this address [default: 127.0.0.1:8080 where it is free, of several processes the first]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Starts no web server
    #[arg(long)]
    pub no_page: bool,
    /// A file with the token that changes by the page need where it is served to other machines [default: TIDEWATCH_TOKEN itself]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Says so, and tells whom --alert names, when the watermark has stood still for this long; 0s: never [default: 15m, or three buckets if that is more]
    #[arg(long, value_name = "DURATION", value_parser = stalled_after)]
    pub stalled_after: Option<Duration>,
    /// Trains in the background this often [default: 60m for a simulated source in real time, else never]
    #[arg(long, value_name = "DURATION", value_parser = some_duration)]
    pub train_every: Option<Duration>,
    /// Who is told of incidents.
    #[command(flatten)]
    pub alerts: AlertsArgs,
    /// How buckets are cut, closed and judged.
    #[command(flatten)]
    pub detection: DetectionArgs,
    /// How the work is shared.
    #[command(flatten)]
    pub workers: WorkerArgs,
    /// Of a simulated source.
    #[command(flatten, next_help_heading = "Simulation")]
    pub simulation: SimulationArgs,
}

impl RunArgs {
    /// The same, with what the configuration file says of alerts.
    fn with_alerts(self, tables: Vec<AlertTable>) -> Self {
        Self { alerts: AlertsArgs { tables, ..self.alerts }, ..self }
    }
}

/// How buckets are cut, closed and judged.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Detection")]
pub struct DetectionArgs {
    /// The width of a bucket, which must divide a day
    #[arg(long, value_name = "DURATION", value_parser = bucket, default_value = "5m")]
    pub bucket: Duration,
    /// How far the watermark stays behind the largest time seen: disorder up to this is not late
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub out_of_orderness: Duration,
    /// How long after its watermark a sample still revises its bucket
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub lateness: Duration,
    /// A record this far in the future is refused
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub skew: Duration,
    /// A series that was silent for longer than this is forgotten rather than missing, one that has a plan with gaps as much later
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1d")]
    pub forget: Duration,
    /// A partition without records for this long holds nobody back
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub idle_timeout: Duration,
    /// How buckets are scored.
    #[command(flatten)]
    pub method: train::MethodArgs,
    /// The days and hours that series follow.
    #[command(flatten)]
    pub calendars: train::Calendars,
    /// What makes an anomaly.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// The longest that complete verdicts wait for their commit
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub commit_interval: Duration,
    /// How often the models' generation is looked at
    #[arg(long, value_name = "DURATION", value_parser = some_duration, default_value = "5s")]
    pub models_interval: Duration,
    /// What a log may bring.
    #[command(flatten)]
    pub limits: Limits,
}

/// What timely calls them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Workers")]
pub struct WorkerArgs {
    /// Worker threads of each process
    #[arg(short = 'w', long = "threads", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: u16,
    /// Processes
    #[arg(short = 'n', long = "processes", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub processes: u16,
    /// Which of the processes this is, from 0
    #[arg(short = 'p', long = "process", value_name = "I", default_value_t = 0)]
    pub process: u16,
    /// A file with one host:port per process [default: localhost:2101, localhost:2102, …]
    #[arg(long, value_name = "FILE")]
    pub hostfile: Option<PathBuf>,
}

/// A command line's DURATION.
///
/// # Errors
/// What is wrong with it, and an example.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("'{text}' is not a duration: write it like 90s, 5m, 1h or 14d"))
}

/// A command line's DURATION that must not be zero.
///
/// # Errors
/// What is wrong with it, and an example.
pub fn some_duration(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|width| if width.as_millis() == 0 { Err("must be at least 1ms".into()) } else { Ok(width) })
}

/// A command line's time for which the watermark may stand still.
///
/// # Errors
/// What is wrong with it, and an example.
fn stalled_after(text: &str) -> Result<Duration, String> {
    let after = duration(text)?;
    let is_some = after.is_zero() || after >= Duration::from_secs(1);
    if is_some { Ok(after) } else { Err("must be longer than the longest pause between records, at least 1s; or 0s, for never".into()) }
}

/// A command line's width of a bucket.
///
/// # Errors
/// One that does not divide a day, and an example.
fn bucket(text: &str) -> Result<Duration, String> {
    let width = some_duration(text)?;
    let divides = 86_400_000 % width.as_millis() == 0;
    if divides { Ok(width) } else { Err(format!("'{text}' does not divide a day: write 5m, 10m or 1h")) }
}

/// A duration as the graph counts: in milliseconds.
pub fn milliseconds(duration: Duration) -> Time {
    Time::try_from(duration.as_millis()).unwrap_or(Time::MAX / 4).min(Time::MAX / 4)
}

impl DetectionArgs {
    /// The same, for the graph.
    pub fn timing(&self) -> Timing {
        Timing {
            bucket_width: milliseconds(self.bucket),
            out_of_orderness: milliseconds(self.out_of_orderness),
            lateness: milliseconds(self.lateness),
            skew: milliseconds(self.skew),
            forget: milliseconds(self.forget),
            patience: PATIENCE_MAX,
            floor: Time::MIN,
        }
    }
}

/// In milliseconds.
const DAY: Time = 86_400_000;

/// A command line's TIME as a flag's value; a date alone is its midnight in UTC.
pub fn time(text: &str) -> Result<Time, String> {
    let Some(shift) = text.strip_prefix("now") else {
        let midnight = || instant::parse_day(text).map(|day| day * DAY);
        return instant::parse(text).or_else(midnight).ok_or_else(|| match instant::lacks_zone(text) {
            Some(problem) => format!("'{text}' {problem}"),
            None => format!("'{text}' is not a time: write it like 2026-01-24T12:34:56Z, 2026-01-24, now, now-2h or now+30m"),
        });
    };
    let by = |text: &str| duration(text).map(milliseconds);
    match (shift.strip_prefix('+'), shift.strip_prefix('-')) {
        (Some(later), _) => Ok(instant::now() + by(later)?),
        (_, Some(earlier)) => Ok(instant::now() - by(earlier)?),
        _ if shift.is_empty() => Ok(instant::now()),
        _ => Err(format!("'{text}' is not a time: write now, now-2h or now+30m")),
    }
}

/// The variable that stands for a flag: `TIDEWATCH_IDLE_TIMEOUT` for `idle-timeout`.
pub fn variable(flag: &str) -> String {
    format!("TIDEWATCH_{}", flag.to_uppercase().replace('-', "_"))
}

/// The parser, with an environment variable for every flag.
pub fn command() -> clap::Command {
    fn with_variables(command: clap::Command) -> clap::Command {
        let own = |argument: clap::Arg| match argument.get_long().map(variable) {
            // Clap wants names that live as long as the program; there are as many as there are flags.
            Some(name) if argument.get_action().takes_values() || matches!(argument.get_action(), ArgAction::SetTrue) => {
                let switch = matches!(argument.get_action(), ArgAction::SetTrue);
                let argument = argument.env(&*Box::leak(name.into_boxed_str())).hide_env(true);
                // A switch in the environment may be 1, yes or on as well as true.
                if switch { argument.value_parser(clap::builder::BoolishValueParser::new()) } else { argument }
            }
            _ => argument,
        };
        command.mut_args(own).mut_subcommands(with_variables)
    }
    with_variables(Cli::command())
}

/// Reads the command line, or prints help or one line about what is wrong with it and exits.
///
/// `typed` is what a person wrote, `arguments` the same with what the configuration file says: an error names the layer it comes from.
pub fn parse(typed: &[OsString], arguments: &[OsString]) -> Cli {
    let matches = command().try_get_matches_from(arguments);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| {
        if error.exit_code() == 0 || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            error.exit();
        }
        let _ =
            writeln!(std::io::stderr(), "{}{}; 'tidewatch help' lists what there is", sentence(&error), origin(&error, typed, arguments));
        std::process::exit(error.exit_code());
    })
}

/// Clap's word on one line, without the usage that it adds.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> = lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information")).collect();
    told.join(" ").replace(" tip: ", "; ")
}

/// Which layer an invalid value comes from, where it was not typed.
fn origin(error: &clap::Error, typed: &[OsString], arguments: &[OsString]) -> String {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return String::new() };
    let Some(flag) = argument.strip_prefix("--").and_then(|rest| rest.split([' ', '=']).next()) else { return String::new() };
    let short = command().get_arguments().find(|known| known.get_long() == Some(flag)).and_then(clap::Arg::get_short);
    let names = |argument: &OsString| {
        let text = argument.to_string_lossy();
        text.split('=').next() == Some(&*format!("--{flag}")) || short.is_some_and(|short| text.starts_with(&format!("-{short}")))
    };
    if typed.iter().any(names) {
        String::new()
    } else if arguments.iter().any(names) {
        ", which the configuration file says".into()
    } else if std::env::var_os(variable(flag)).is_some() {
        format!(", which {} says", variable(flag))
    } else {
        String::new()
    }
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// What went wrong, with its place and what to do.
    pub fn execute(self, tables: Tables) -> Result<()> {
        let Tables { kinds, alerts, file } = tables;
        match self.command {
            None => commands::run::run(&self.run.with_alerts(alerts), kinds),
            Some(Command::Run(arguments)) => commands::run::run(&arguments.with_alerts(alerts), kinds),
            Some(Command::Train(arguments)) => commands::train(&arguments),
            Some(Command::Generate(arguments)) => commands::generate(&arguments),
            Some(Command::Backtest(arguments)) => commands::backtest::backtest(&arguments, &kinds, file),
            Some(Command::Tune(arguments)) => commands::tune::tune(&arguments),
            Some(Command::Explain(arguments)) => commands::explain::explain(&arguments),
            Some(Command::Migrate(arguments)) => commands::migrate(&arguments),
            Some(Command::Check(arguments)) => commands::check::check(&arguments, &kinds, alerts),
            Some(Command::Alert(arguments)) => commands::alert::alert(&arguments, alerts),
            Some(Command::Silence(arguments)) => commands::silence::silence(&arguments),
            Some(Command::Incidents(arguments)) => commands::incidents::incidents(&arguments),
            Some(Command::Models(arguments)) => commands::models::models(&arguments),
            Some(Command::Digest(arguments)) => commands::digest::digest(&arguments),
            Some(Command::DeadLetters(arguments)) => commands::dead_letters::dead_letters(&arguments),
            Some(Command::Completions { shell }) => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "tidewatch", &mut script);
                commands::say(String::from_utf8_lossy(&script).trim_end());
                Ok(())
            }
        }
    }
}
