//! Which time zone and which holidays a series goes by, as it is configured.

use super::zone::Zone;
use crate::history::Series;
use crate::instant;
use clap::Args;
use dataflows::{Calendar, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A model knows when clocks change for so long after its training, in milliseconds: two years.
const FORESIGHT: Time = 2 * 366 * 86_400_000;

/// The flags that say which days and hours series follow.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct Calendars {
    /// The time zone whose days and weekends series follow
    #[arg(long, value_name = "ZONE", value_parser = Zone::parse, default_value = "UTC")]
    pub timezone: Zone,
    /// Another time zone for the entities with a label, such as zone=eu-1:Europe/Berlin; the first that fits counts
    #[arg(long, value_name = "LABEL=VALUE:ZONE,…", value_parser = label_zone, value_delimiter = ',')]
    pub label_timezone: Vec<LabelZone>,
    /// Days that are like weekends, everywhere or in one time zone, such as 2026-12-25,Europe/Berlin:2026-10-03
    #[arg(long, value_name = "[ZONE:]DATE,…", value_parser = holiday, value_delimiter = ',')]
    pub holidays: Vec<Holiday>,
}

/// The time zone of the entities with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelZone {
    label: String,
    value: String,
    zone: Zone,
}

/// A day that is like a weekend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Holiday {
    /// `None`: everywhere.
    zone: Option<Zone>,
    /// Since 1970-01-01.
    day: i64,
}

/// The calendars of a training: each is there once, however many series go by it.
pub(super) struct Almanac {
    general: Arc<Calendar>,
    by_label: Vec<(LabelZone, Arc<Calendar>)>,
}

fn label_zone(text: &str) -> Result<LabelZone, String> {
    let parts = text.split_once('=').and_then(|(label, rest)| Some((label, rest.rsplit_once(':')?)));
    let (label, (value, zone)) = parts.ok_or_else(|| format!("'{text}' has not three parts: write it like zone=eu-1:Europe/Berlin"))?;
    Ok(LabelZone { label: label.trim().into(), value: value.trim().into(), zone: Zone::parse(zone)? })
}

fn holiday(text: &str) -> Result<Holiday, String> {
    let (zone, date) = text.rsplit_once(':').map_or((None, text), |(zone, date)| (Some(zone), date));
    let day = instant::parse_day(date.trim());
    let day = day.ok_or_else(|| format!("'{}' is not a date: write it like 2026-12-25 or Europe/Berlin:2026-10-03", date.trim()))?;
    Ok(Holiday { zone: zone.map(Zone::parse).transpose()?, day })
}

impl Calendars {
    /// The calendars for series that are trained on a window.
    pub(super) fn almanac(&self, from: Time, until: Time) -> Almanac {
        let calendar = |zone: Zone| {
            let holds = |holiday: &&Holiday| holiday.zone.is_none_or(|only| only == zone);
            let mut holidays: Vec<i64> = self.holidays.iter().filter(holds).map(|holiday| holiday.day).collect();
            holidays.sort_unstable();
            holidays.dedup();
            Arc::new(zone.calendar(from, until.saturating_add(FORESIGHT), holidays))
        };
        let by_label = self.label_timezone.iter().map(|one| (one.clone(), calendar(one.zone))).collect();
        Almanac { general: calendar(self.timezone), by_label }
    }

    /// The labels that are named and that no series has: slips of the pen, mostly.
    pub(super) fn unknown_labels(&self, series: &[Series]) -> Vec<String> {
        let is_unknown = |one: &&LabelZone| !series.iter().any(|series| one.fits(&series.labels));
        self.label_timezone.iter().filter(is_unknown).map(|one| format!("{}={}", one.label, one.value)).collect()
    }
}

impl LabelZone {
    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(&self.label) == Some(&self.value)
    }
}

impl Almanac {
    /// The calendar of a series with these labels.
    pub(super) fn of(&self, labels: &BTreeMap<String, String>) -> &Arc<Calendar> {
        self.by_label.iter().find(|(one, _)| one.fits(labels)).map_or(&self.general, |(_, calendar)| calendar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        calendars: Calendars,
    }

    fn parse(line: &str) -> Result<Calendars, String> {
        let line = Line::try_parse_from(std::iter::once("tidewatch").chain(line.split_whitespace()));
        line.map(|line| line.calendars).map_err(|error| error.to_string())
    }

    #[test]
    fn an_entity_goes_by_the_zone_of_its_label_and_the_holidays_of_its_zone() {
        let line =
            "--timezone UTC --label-timezone zone=eu:1:Europe/Berlin,rack=r1:Asia/Kolkata --holidays 2026-12-25,Europe/Berlin:2026-10-03";
        let almanac = parse(line).unwrap().almanac(0, 86_400_000);
        let of = |label: &str, value: &str| almanac.of(&BTreeMap::from([(label.to_owned(), value.to_owned())]));
        assert_eq!((of("zone", "eu:1").zone.as_str(), of("rack", "r1").zone.as_str()), ("Europe/Berlin", "Asia/Kolkata"));
        assert_eq!((of("zone", "us").zone.as_str(), of("zone", "us").offsets.len()), ("UTC", 0));
        assert_eq!(of("zone", "eu:1").holidays, [20_729, 20_812]);
        assert_eq!(of("rack", "r1").holidays, [20_812]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for (line, fix) in [
            ("--timezone Europe/Berln", "did you mean Europe/Berlin?"),
            ("--label-timezone eu-1:Europe/Berlin", "zone=eu-1:Europe/Berlin"),
            ("--label-timezone zone=eu-1:Europe/Pariss", "did you mean Europe/Paris?"),
            ("--holidays 25.12.2026", "2026-12-25"),
            ("--holidays Europe/Berln:2026-12-25", "did you mean Europe/Berlin?"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(fix), "{line}: {error}");
        }
    }
}
