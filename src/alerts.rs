//! The flags and the `[[alert]]` tables of the configuration that say who is told of incidents.

use crate::cli;
use crate::notify::{self, Address, NotifyError};
use crate::secret;
use clap::Args;
use dataflows::Severity;
use serde::Deserialize;
use std::time::Duration;

/// A receiver that says nothing of itself is told of so many changes in an hour.
const PER_HOUR: u32 = 30;

/// Who is told of incidents.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Alerts")]
pub struct AlertsArgs {
    /// Whom to tell of incidents: slack:https://…, smtp://USER@HOST?to=…, webhook:https://… or alertmanager:http://…; may be given several times, with names of their own
    #[arg(long, value_name = "[NAME=]URL", value_delimiter = ' ', hide_env_values = true)]
    pub alert: Vec<String>,
    /// The least severity that is told, where a receiver has no other [default: medium]
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub alert_severity: Option<Severity>,
    /// Changes that a receiver is told of in an hour, where it has no other limit [default: 30, for Alertmanager none]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub alert_per_hour: Option<u32>,
    /// An incident whose last evidence is older than this is no news [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = cli::some_duration)]
    pub alert_age_max: Option<Duration>,
    /// Where people reach the page of this run, for the links in alerts
    #[arg(long, value_name = "URL", value_parser = page_url)]
    pub page_url: Option<String>,
    /// What the configuration file says.
    #[arg(skip)]
    pub tables: Vec<AlertTable>,
}

/// An `[[alert]]` table of the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertTable {
    name: String,
    url: String,
    severity: Option<String>,
    per_hour: Option<u32>,
    password_file: Option<String>,
}

/// The keys of such a table, for those who misspell one.
pub const KEYS: [&str; 5] = ["name", "url", "severity", "per_hour", "password_file"];

/// A receiver as the configuration has it.
pub struct Recipient {
    /// Where.
    pub address: Address,
    /// What is less than this is not told.
    pub minimum: Severity,
    /// Changes in an hour; `None`: no limit.
    pub per_hour: Option<u32>,
}

fn severity(text: &str) -> Result<Severity, String> {
    let known = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    known.into_iter().find(|severity| severity.as_str() == text).ok_or_else(|| "there are low, medium, high and critical".into())
}

fn page_url(text: &str) -> Result<String, String> {
    let is_page = url::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
    if is_page { Ok(text.trim_end_matches('/').into()) } else { Err("write it like https://tidewatch.example.com".into()) }
}

impl AlertsArgs {
    /// The receivers, those of the file first. A flag's takes the place of one of its name.
    ///
    /// # Errors
    /// A name or a URL that is none, two of one name, or a secret that cannot be read.
    pub fn recipients(&self) -> Result<Vec<Recipient>, NotifyError> {
        let flags: Vec<AlertTable> = self.alert.iter().filter(|text| !text.is_empty()).map(|text| AlertTable::flag(text)).collect();
        let tables = self.tables.iter().filter(|table| flags.iter().all(|flag| flag.name != table.name));
        let tables: Vec<&AlertTable> = tables.chain(&flags).collect();
        for (place, table) in tables.iter().enumerate() {
            notify::check_name(&table.name)?;
            if tables[..place].iter().any(|before| before.name == table.name) {
                let problem = "two receivers have this name: give each its own, with a flag as NAME=URL".into();
                return Err(NotifyError { name: table.name.clone(), problem });
            }
        }
        tables.into_iter().map(|table| self.recipient(table)).collect()
    }

    fn recipient(&self, table: &AlertTable) -> Result<Recipient, NotifyError> {
        let AlertTable { name, url, password_file, .. } = table;
        let password = |file: Option<&str>| secret::of_receiver(name, file.or(password_file.as_deref()));
        let address = Address::parse(name, url, &password)?;
        let fail = |problem: String| NotifyError { name: name.clone(), problem };
        let own = table.severity.as_deref().map(severity).transpose().map_err(|problem| fail(format!("severity: {problem}")))?;
        let per_hour = table.per_hour.or(self.alert_per_hour).or((!address.takes_all()).then_some(PER_HOUR));
        if per_hour == Some(0) {
            return Err(fail("per_hour must be at least 1; to tell it nothing, leave the receiver out".into()));
        }
        Ok(Recipient { address, minimum: own.or(self.alert_severity).unwrap_or(Severity::Medium), per_hour })
    }

    /// How old news may be.
    pub fn age_max(&self) -> Duration {
        self.alert_age_max.unwrap_or(Duration::from_secs(3600))
    }
}

impl AlertTable {
    /// What `--alert` says. Without a name of its own a receiver is called by its scheme.
    fn flag(text: &str) -> Self {
        let named = text.split_once('=').filter(|(name, _)| notify::check_name(name).is_ok());
        let (name, url) = named.map_or((text.split(':').next().unwrap_or_default(), text), |(name, url)| (name, url));
        // What has no scheme may be a secret that was put in the wrong place.
        let name = if url.contains(':') { name } else { "alert" };
        Self { name: name.into(), url: url.into(), severity: None, per_hour: None, password_file: None }
    }
}

impl Recipient {
    /// What is told of it, without its secrets: `ops: slack at hooks.slack.com, from severity medium, at most 30 an hour`.
    pub fn summary(&self) -> String {
        let limit = self.per_hour.map_or_else(String::new, |limit| format!(", at most {limit} an hour"));
        format!("{}: {}, from severity {}{limit}", self.address.name(), self.address.place(), self.minimum.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> AlertTable {
        toml::from_str(text).unwrap()
    }

    fn summaries(arguments: &AlertsArgs) -> Result<Vec<String>, String> {
        let recipients = arguments.recipients().map_err(|error| error.to_string())?;
        Ok(recipients.iter().map(Recipient::summary).collect())
    }

    #[test]
    fn a_table_a_flag_and_the_defaults_are_layers() {
        let arguments = AlertsArgs {
            alert: vec!["slack:https://hooks.slack.com/services/x".into(), "ops=webhook:http://new/?a=b".into()],
            alert_severity: Some(Severity::High),
            tables: vec![
                table("name = \"ops\"\nurl = \"webhook:http://old/\""),
                table("name = \"am\"\nurl = \"alertmanager:http://host:9093\"\nseverity = \"low\""),
                table("name = \"mail\"\nurl = \"smtp://host?to=a@b\"\nper_hour = 3"),
            ],
            ..AlertsArgs::default()
        };
        let expected = [
            "am: alertmanager at host:9093, from severity low",
            "mail: mail to a@b by host:587, from severity high, at most 3 an hour",
            "slack: slack at hooks.slack.com, from severity high, at most 30 an hour",
            "ops: webhook at new, from severity high, at most 30 an hour",
        ];
        assert_eq!(summaries(&arguments).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_showing_it() {
        let flag = |texts: &[&str]| {
            let arguments = AlertsArgs { alert: texts.iter().map(ToString::to_string).collect(), ..AlertsArgs::default() };
            summaries(&arguments).unwrap_err()
        };
        assert!(flag(&["hunter2"]).starts_with("alert 'alert': no scheme"));
        assert!(flag(&["slack:https://a/", "slack:https://b/"]).contains("two receivers have this name"));
        let wrong = AlertsArgs { tables: vec![table("name = \"x\"\nurl = \"slack:https://a/\"\nper_hour = 0")], ..AlertsArgs::default() };
        assert!(summaries(&wrong).unwrap_err().contains("at least 1"));
    }
}
