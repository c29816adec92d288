//! The words of an alert, for whoever reads it at three at night: how bad, what, where, since when, how far from what was expected.

use super::alert::{Alert, Change, Furthest, Peak};
use crate::instant;
use crate::number::pair;
use crate::series::{few, on_one_line};
use dataflows::Time;
use std::fmt::Write as _;

/// Whom a silence from the command line would cover for so long from the last evidence on.
const SILENCE: Time = 4 * 3_600_000;

/// The scope of what is no incident: the watermark of a source.
const SOURCE: &str = "source";

/// The names of so many metrics are written out.
const METRICS: usize = 4;

/// One line that tells it: `CRITICAL opened: server srv-038, cpu_usage_percent 95.3, expected 65.2 (z +4.2)`.
pub fn headline(alert: &Alert) -> String {
    let severity = alert.added.as_ref().map_or(alert.severity, |added| added.severity).as_str().to_uppercase();
    let told = match alert.change {
        Change::Closed if alert.forgotten => format!("Still silent, and no longer waited for: {}, {severity}", reach(alert)),
        Change::Closed if alert.scope == SOURCE => format!("Over: {}, {severity}", reach(alert)),
        Change::Closed => format!("Over after {}: {}, {severity}", instant::format_span(alert.until - alert.opened), reach(alert)),
        Change::Withdrawn if alert.joined_id.is_some() => format!("Part of another incident now: {}, {severity}", reach(alert)),
        Change::Withdrawn => format!("Taken back: {}, {severity}", reach(alert)),
        Change::Opened => format!("{severity}: {}", reach(alert)),
        Change::Reopened => format!("{severity} again: {}", reach(alert)),
        Change::Escalated => format!("Now {severity}: {}", reach(alert)),
        Change::Spread if alert.added.is_some() => format!("{severity} as well: {}", reach(alert)),
        Change::Spread => format!("{severity}, spreading: {}", reach(alert)),
    };
    let test = if alert.test { "TEST, nothing is wrong: " } else { "" };
    format!("{test}{told}, {}", deviation(alert))
}

/// What an incident reaches: `server srv-001`, `17 of 20 servers of rack rack-A`.
pub fn reach(alert: &Alert) -> String {
    let Alert { entity_type: kind, entity_id, entities, peers, rack, zone, .. } = alert;
    let told = match alert.scope.as_str() {
        SOURCE => entity_id.clone(),
        "rack" => format!("{entities} of {peers} {kind}s of rack {rack}"),
        "zone" => format!("{entities} of {peers} {kind}s of zone {zone}"),
        "kind" => format!("{entities} of all {peers} {kind}s"),
        _ => format!("{kind} {entity_id}"),
    };
    on_one_line(&told)
}

/// How far from what was expected, in the metric's own words; of a silence, that it is one.
pub fn deviation(alert: &Alert) -> String {
    if alert.scope == SOURCE {
        return watermark(alert);
    }
    if let Some(added) = &alert.added {
        return added
            .peak
            .as_ref()
            .map_or_else(|| on_one_line(&format!("no samples of {}", added.metric)), |peak| of_peak(alert, peak, ""));
    }
    let Some(peak) = &alert.peak else {
        // Whether the others of its metrics went on, and whether they do now, is not known.
        let named = alert.scope == "entity" && !alert.silent && !alert.forgotten;
        return if named { format!("no samples of {}", metrics(alert)) } else { "no samples, though others have some".into() };
    };
    let worst = of_peak(alert, peak, if alert.silent { ", and then no samples, though others have some" } else { "" });
    // What is mostly silence is not told of by the few buckets that deviated besides.
    let is_silence = alert.scope != "entity" && alert.missing > alert.anomalous;
    if is_silence { format!("no samples, though others have some; {worst}") } else { worst }
}

/// One bucket, and whose it is where that is not the entity of the alert.
fn of_peak(alert: &Alert, Peak { entity_id, metric, mean, expected, z_score, .. }: &Peak, more: &str) -> String {
    let whose = if alert.scope == "entity" { String::new() } else { format!("worst {entity_id} ") };
    // Both are said of the worst bucket.
    let is_worst = alert.added.is_none();
    let further = alert.furthest.as_ref().filter(|_| is_worst).map_or_else(String::new, further);
    let unmoved = alert.unmoved_since.filter(|_| is_worst).map_or_else(String::new, |since| format!(", unmoved since {}", minute(since)));
    let (mean, expected) = pair(*mean, *expected);
    on_one_line(&format!("{whose}{metric} {mean}{unmoved}, expected {expected} (z {z_score:+.1}){further}{more}"))
}

/// How far something went after that.
fn further(Furthest { start, mean, expected }: &Furthest) -> String {
    let (mean, expected) = pair(*mean, *expected);
    format!(", furthest {mean} instead of {expected} at {}", minute(*start))
}

/// What there is to know beside the headline: a word and what it says, in the order in which they are read.
pub fn facts(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut facts = if alert.scope == SOURCE { facts_of_source(alert) } else { facts_of_incident(alert) };
    if let Some(reason) = &alert.withdrawn_reason {
        facts.push(("Why", on_one_line(reason)));
    }
    if let Some(words) = held_back(alert) {
        facts.push(("Held back", words));
    }
    facts
}

fn facts_of_incident(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Where", place(alert)), ("Since", since(alert)), ("Metrics", metrics(alert)), ("Evidence", evidence(alert))];
    if alert.scope != "entity" && !alert.hit.is_empty() {
        facts.insert(1, ("Hit", hit(alert)));
    }
    if alert.forgotten {
        let told = "it sent nothing for so long that nothing is expected of it any more; when it sends again it is watched again";
        facts.push(("Means", told.into()));
    }
    facts
}

fn facts_of_source(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Where", place(alert)), ("Since", minute(alert.opened))];
    if !alert.change.ends() {
        facts.push(("Means", "nobody is told of anything that happens there until it moves again".into()));
        facts.extend(alert.problem.as_deref().map(|problem| ("Why", on_one_line(problem))));
    }
    facts
}

/// What has become of the watermark of a source. One that never brought anything stands since that was noticed.
fn watermark(alert: &Alert) -> String {
    let since = minute(alert.opened);
    match (alert.change.ends(), alert.opened == alert.created_at) {
        (false, false) => format!("nothing newer arrives, the watermark stands at {since}"),
        (false, true) => "nothing that is understood has arrived yet".into(),
        (true, _) if alert.last == alert.opened => "the log has come to its end".into(),
        (true, _) => "the watermark moves again".into(),
    }
}

/// What goes by the number of an alert.
pub fn numbered(alert: &Alert) -> &'static str {
    if alert.scope == SOURCE { "Watermark" } else { "Incident" }
}

/// How to say that this is expected, for a single entity that is in trouble still; a rack is silenced on its page.
pub fn silence(alert: &Alert) -> Option<String> {
    if alert.scope != "entity" || alert.change.ends() {
        return None;
    }
    let (from, until) = (instant::format(alert.opened), instant::format(alert.last + SILENCE));
    Some(format!("tidewatch silence add --entity {} --from {from} --to {until} --reason …", quoted(&on_one_line(&alert.entity_id))))
}

fn place(alert: &Alert) -> String {
    let mut told = reach(alert);
    if !alert.rack.is_empty() && alert.scope == "entity" {
        let _ = write!(told, ", rack {}", on_one_line(&alert.rack));
    }
    if !alert.zone.is_empty() && alert.scope != "zone" && alert.scope != "kind" {
        let _ = write!(told, ", zone {}", on_one_line(&alert.zone));
    }
    told
}

/// Who was hit, as far as they are named.
fn hit(alert: &Alert) -> String {
    on_one_line(&few(&alert.hit, alert.hit.len(), alert.entities as usize))
}

fn since(alert: &Alert) -> String {
    let opened = minute(alert.opened);
    match alert.change {
        Change::Closed => format!("{opened}, off until {}", minute(alert.until)),
        _ => format!("{opened}, off until {} so far", minute(alert.until)),
    }
}

fn metrics(alert: &Alert) -> String {
    on_one_line(&few(&alert.metrics, METRICS, alert.metrics.len()))
}

fn evidence(alert: &Alert) -> String {
    let mut told = format!("{} deviating bucket{}", alert.anomalous, if alert.anomalous == 1 { "" } else { "s" });
    if alert.missing > 0 {
        let _ = write!(told, ", {} without samples", alert.missing);
    }
    if let Some(peak) = &alert.peak {
        let _ = write!(told, "; the worst began at {}", minute(peak.start));
    }
    told
}

fn held_back(alert: &Alert) -> Option<String> {
    let which = if alert.held_back == 1 { "1 more incident was".to_owned() } else { format!("{} more incidents were", alert.held_back) };
    (alert.held_back > 0).then(|| format!("{which} held back before this one; see the page, or `tidewatch alert list`"))
}

/// A time as people read it: `2026-01-19 03:05 UTC`.
fn minute(time: Time) -> String {
    let text = instant::format(time);
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

/// A word as a shell takes it: somebody may copy it.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(harmless) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::alert::Added;
    use super::super::alert::tests::alert;
    use super::*;
    use dataflows::Severity;

    #[test]
    fn of_a_metric_that_goes_off_later_the_headline_says_how_bad_that_one_is() {
        let peak = Peak { metric: "latency_p99".into(), mean: 900.0, expected: 30.0, z_score: 32.0, ..alert().peak.unwrap() };
        let added = |peak| Some(Added { metric: "latency_p99".into(), severity: Severity::Critical, peak });
        let told = Alert { change: Change::Spread, added: added(Some(peak)), ..alert() };
        assert_eq!(headline(&told), "CRITICAL as well: server srv-038, latency_p99 900, expected 30 (z +32.0)");
        assert_eq!(headline(&Alert { added: added(None), ..told }), "CRITICAL as well: server srv-038, no samples of latency_p99");
    }

    #[test]
    fn the_headline_says_how_bad_what_and_how_far() {
        let opened = alert();
        assert_eq!(headline(&opened), "HIGH: server srv-038, cpu_usage_percent 95.3, expected 65.2 (z +4.2)");
        let rack = Alert { scope: "rack".into(), entities: 4, peers: 20, severity: Severity::Critical, change: Change::Spread, ..alert() };
        let told = "CRITICAL, spreading: 4 of 20 servers of rack rack-B, worst srv-038 cpu_usage_percent 95.3, expected 65.2 (z +4.2)";
        assert_eq!(headline(&rack), told);
        // Failed once: of a rack that was off for half an hour the word was of one counter of one host.
        let off = Alert { missing: 40, ..rack };
        assert_eq!(
            headline(&off),
            "CRITICAL, spreading: 4 of 20 servers of rack rack-B, no samples, though others have some; worst srv-038 cpu_usage_percent 95.3, expected 65.2 (z +4.2)"
        );
        let silent = Alert { peak: None, change: Change::Closed, ..alert() };
        assert_eq!(headline(&silent), format!("Over after 15m: server srv-038, HIGH, no samples of {}", metrics(&silent)));
        // Failed once: of a leak of hours the first five minutes were told, and its end.
        let furthest = Some(Furthest { start: opened.opened + 600_000, mean: 99.8, expected: 66.1 });
        let leak = Alert { furthest, change: Change::Closed, until: opened.opened + 8_100_000, ..alert() };
        let told = "Over after 2h15m: server srv-038, HIGH, cpu_usage_percent 95.3, expected 65.2 (z +4.2), furthest 99.8 instead of 66.1 at 2026-01-19 03:15 UTC";
        assert_eq!(headline(&leak), told);
        // Failed once: of a sensor that was stuck it was said that it was off.
        let stuck = Alert { unmoved_since: Some(opened.opened - 3_600_000), ..alert() };
        assert_eq!(
            headline(&stuck),
            "HIGH: server srv-038, cpu_usage_percent 95.3, unmoved since 2026-01-19 02:05 UTC, expected 65.2 (z +4.2)"
        );
        let partly = Alert { peak: None, ..alert() };
        assert!(headline(&partly).ends_with("no samples of cpu_temperature_celsius, cpu_usage_percent"), "{}", headline(&partly));
        assert!(headline(&Alert { silent: true, ..partly }).ends_with("srv-038, no samples, though others have some"));
        // Failed once: of a host in trouble that stopped sending nothing was said.
        let stopped = Alert { silent: true, change: Change::Escalated, ..alert() };
        assert!(headline(&stopped).ends_with("65.2 (z +4.2), and then no samples, though others have some"));
        let withdrawn = Alert { change: Change::Withdrawn, ..alert() };
        assert!(headline(&withdrawn).starts_with("Taken back: server srv-038"));
        // Failed once: nothing had turned out to be false.
        let joined = Alert { joined_id: Some("00000000000000ff".into()), ..withdrawn };
        assert!(headline(&joined).starts_with("Part of another incident now: server srv-038"));
        assert!(headline(&Alert { test: true, ..alert() }).starts_with("TEST, nothing is wrong: HIGH"));
        let forgotten = Alert { peak: None, change: Change::Closed, forgotten: true, ..alert() };
        assert!(headline(&forgotten).starts_with("Still silent, and no longer waited for: server srv-038, HIGH"));
    }

    #[test]
    fn the_facts_say_where_since_when_and_what_was_held_back() {
        let facts = facts(&Alert { held_back: 12, withdrawn_reason: Some("late\nsamples".into()), ..alert() });
        let told: Vec<String> = facts.iter().map(|(word, what)| format!("{word}: {what}")).collect();
        let expected = [
            "Where: server srv-038, rack rack-B, zone zone-2",
            "Since: 2026-01-19 03:05 UTC, off until 2026-01-19 03:20 UTC so far",
            "Metrics: cpu_temperature_celsius, cpu_usage_percent",
            "Evidence: 3 deviating buckets; the worst began at 2026-01-19 03:05 UTC",
            "Why: late samples",
            "Held back: 12 more incidents were held back before this one; see the page, or `tidewatch alert list`",
        ];
        assert_eq!(told, expected);
        let hit = ["srv-031", "srv-0\n32"].map(str::to_owned).to_vec();
        let named = |entities| super::facts(&Alert { scope: "rack".into(), entities, hit: hit.clone(), ..alert() }).remove(1);
        assert_eq!(named(2), ("Hit", "srv-031, srv-0 32".to_owned()));
        assert_eq!(named(5), ("Hit", "srv-031, srv-0 32 and 3 more".to_owned()));
    }

    #[test]
    fn a_source_that_brings_nothing_is_no_incident_and_says_what_that_means() {
        let source = Alert {
            scope: "source".into(),
            entity_id: "kafka://broker:9092/metrics".into(),
            severity: Severity::Critical,
            rack: String::new(),
            zone: String::new(),
            peak: None,
            ..alert()
        };
        let stands = "nothing newer arrives, the watermark stands at 2026-01-19 03:05 UTC";
        assert_eq!(headline(&source), format!("CRITICAL: kafka://broker:9092/metrics, {stands}"));
        let told = |alert: &Alert| facts(alert).iter().map(|(word, what)| format!("{word}: {what}")).collect::<Vec<_>>();
        let expected = [
            "Where: kafka://broker:9092/metrics",
            "Since: 2026-01-19 03:05 UTC",
            "Means: nobody is told of anything that happens there until it moves again",
            "Why: broker:9092 refused",
        ];
        assert_eq!(told(&Alert { problem: Some("broker:9092 refused".into()), ..source.clone() }), expected);
        assert_eq!(told(&source), expected[..3]);
        let over = Alert { change: Change::Closed, ..source.clone() };
        let ends = |alert: &Alert| headline(alert).split(", CRITICAL, ").nth(1).map(str::to_owned).unwrap();
        assert_eq!(ends(&over), "the watermark moves again");
        assert_eq!(ends(&Alert { last: over.opened, ..over.clone() }), "the log has come to its end");
        assert_eq!((facts(&over).len(), silence(&over), numbered(&over)), (2, None, "Watermark"));
        let never = Alert { opened: source.created_at, ..source };
        assert!(headline(&never).ends_with("metrics, nothing that is understood has arrived yet"));
    }

    #[test]
    fn what_may_be_copied_to_a_shell_cannot_do_harm() {
        let hint = |entity: &str| silence(&Alert { entity_id: entity.into(), ..alert() }).unwrap();
        let plain = "tidewatch silence add --entity srv-038 --from 2026-01-19T03:05:00Z --to 2026-01-19T07:15:00Z --reason …";
        assert_eq!(hint("srv-038"), plain);
        assert!(hint("a$(reboot)\n;b").contains("--entity 'a$(reboot) ;b' "));
        assert!(hint("it's").contains(r"--entity 'it'\''s' "));
        assert_eq!(silence(&Alert { scope: "rack".into(), ..alert() }), None);
        assert_eq!(silence(&Alert { change: Change::Closed, ..alert() }), None);
    }
}
