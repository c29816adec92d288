//! What a person sees of a run: a line per anomaly on standard output, and how it goes on standard error.

use crate::history::Change;
use crate::history::incident::NamedIncident;
use crate::history::outbox::APART;
use crate::instant;
use crate::number::{pair, short};
use crate::run::{Activity, Observer, Statistics};
use crate::series::{NAMED, SeriesName, few};
use dataflows::{Bucket, Incident, Policy, Provisional, Scope, SeriesId, Severity, Stage, State, Time, Verdict};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Away from a terminal, a status line this often is enough.
const STATUS_IN_A_PIPE: Duration = Duration::from_secs(60);
/// On a terminal it is redrawn this often.
const STATUS_ON_A_TERMINAL: Duration = Duration::from_millis(500);

/// The rate is that of so long a time: many times the usual interval of a producer, whose records come all at once.
const RATE_OVER: Duration = Duration::from_secs(60);

/// What was anomalous so many buckets before goes on: it is told of again when its bucket is over, and not sooner.
const GOES_ON: u32 = 3;

/// Metrics that fall silent, by the start of the bucket, entity type and entity.
type Silences = BTreeMap<(Time, String, String), Vec<String>>;

/// Prints verdicts as they become durable, and a status line under them.
pub struct Console {
    bar: ProgressBar,
    silent: Mutex<HashMap<SeriesId, Time>>,
    /// The last bucket of a series that was told of while it was open.
    early: Mutex<HashMap<SeriesId, Time>>,
    /// Until when what is anomalous in a series goes on.
    anomalous: Mutex<HashMap<SeriesId, Time>>,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            bar: ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
            silent: Mutex::default(),
            early: Mutex::default(),
            anomalous: Mutex::default(),
        }
    }
}

impl Console {
    fn print(&self, line: &str) {
        self.bar.suspend(|| {
            // A reader that went away is no reason to stop watching.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        });
    }

    /// Whether a silence begins with this bucket; its later buckets are not worth a line each.
    fn falls_silent(&self, series: SeriesId, start: Time) -> bool {
        let mut silent = self.silent.lock().expect("no holder panics");
        silent.insert(series, start).is_none_or(|last| start - last > 3_600_000)
    }

    /// Whether a series was anomalous just before this bucket.
    fn goes_on(&self, series: SeriesId, start: Time) -> bool {
        let anomalous = self.anomalous.lock().expect("no holder panics");
        anomalous.get(&series).is_some_and(|until| start <= *until)
    }

    /// Notes that a series is anomalous in a bucket, and goes on to be `until` then; or that it was not, after all.
    fn note(&self, series: SeriesId, is_anomalous: bool, until: Time) {
        let mut anomalous = self.anomalous.lock().expect("no holder panics");
        if is_anomalous {
            let known = anomalous.entry(series).or_insert(until);
            *known = until.max(*known);
        } else if anomalous.get(&series) == Some(&until) {
            anomalous.remove(&series);
        }
    }

    /// Whether a bucket was told of while it was open; it is asked once.
    fn was_early(&self, series: SeriesId, start: Time) -> bool {
        let mut early = self.early.lock().expect("no holder panics");
        let was_early = early.get(&series) == Some(&start);
        if was_early {
            early.remove(&series);
        }
        was_early
    }

    /// Keeps the status line up to date until `over` is set.
    pub fn watch(&self, statistics: &Statistics, over: &AtomicBool) {
        let terminal = std::io::stderr().is_terminal();
        let mut shown_at = Instant::now();
        // By the second.
        let mut counted = VecDeque::from([(Instant::now(), statistics.records.get())]);
        let mut rate = 0.0;
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            if counted.back().is_none_or(|last| last.0.elapsed() >= Duration::from_secs(1)) {
                counted.push_back((Instant::now(), statistics.records.get()));
                while counted.get(1).is_some_and(|second| second.0.elapsed() >= RATE_OVER) {
                    counted.pop_front();
                }
                #[allow(clippy::cast_precision_loss)] // a rate for people
                {
                    rate = (statistics.records.get() - counted[0].1) as f64 / counted[0].0.elapsed().as_secs_f64();
                }
            }
            if terminal && shown_at.elapsed() > STATUS_ON_A_TERMINAL {
                self.bar.set_message(status(statistics, rate));
                self.bar.tick();
                shown_at = Instant::now();
            } else if !terminal && shown_at.elapsed() > STATUS_IN_A_PIPE {
                tracing::info!("{}", status(statistics, rate));
                shown_at = Instant::now();
            }
        }
        self.bar.finish_and_clear();
    }

    /// Says what there is to say of a verdict; of a silence that begins, once it is known whose all are.
    fn verdict(&self, change: &Change, name: &dyn Fn(&Bucket) -> Option<SeriesName>, policy: &Policy, silences: &mut Silences) {
        let Some(verdict) = change.new else { return };
        let was_anomalous = change.old.as_ref().is_some_and(|verdict| verdict.state == State::Anomalous);
        let (series, start) = (verdict.bucket.series(), verdict.bucket.start);
        let was_early = self.was_early(series, start);
        let is_anomalous = verdict.state == State::Anomalous;
        if is_anomalous || was_anomalous {
            self.note(series, is_anomalous, start + policy.buckets(GOES_ON));
        }
        let line: &dyn Fn(&SeriesName) -> String = match verdict.state {
            // What a commit adds to a bucket that is told of already is worth a line where it is worse, or less bad, than it was.
            State::Anomalous if was_anomalous && severity(change.old.as_deref(), policy) == severity(Some(&verdict), policy) => return,
            State::Anomalous => &|name| anomaly_line(name, &verdict, policy.limits(verdict.bucket.metric).threshold, was_anomalous),
            _ if was_anomalous => &|name| withdrawn_line(name, change.old.as_deref(), &verdict),
            State::Accompanying if was_early => {
                &|name| calmed_line(name, start, "another metric of the entity is further off, and speaks for it")
            }
            _ if was_early => &|name| calmed_line(name, start, &whole(&verdict)),
            State::Missing if self.falls_silent(series, start) => {
                name(&verdict.bucket).into_iter().for_each(|name| {
                    silences.entry((start, name.entity_type, name.entity_id)).or_default().push(name.metric);
                });
                return;
            }
            _ => return,
        };
        name(&verdict.bucket).iter().for_each(|name| self.print(&line(name)));
    }
}

impl Observer for Console {
    fn verdicts<'a>(&self, changes: &mut dyn Iterator<Item = &'a Change>, name: &dyn Fn(&Bucket) -> Option<SeriesName>, policy: &Policy) {
        let mut silences = Silences::new();
        changes.for_each(|change| self.verdict(change, name, policy, &mut silences));
        silences.iter().for_each(|(whose, metrics)| self.print(&silence_line(whose, metrics)));
    }

    fn provisional(&self, series: &SeriesName, provisional: &Provisional, threshold: f64) {
        // The quieter ones can wait for the end of their bucket, as can what goes on; and once is enough.
        let (id, start) = (provisional.series(), provisional.start);
        let is_news = || self.early.lock().expect("no holder panics").insert(id, start) != Some(start);
        if provisional.severity >= Severity::High && !self.goes_on(id, start) && is_news() {
            self.print(&provisional_line(series, provisional, threshold));
        }
    }

    fn provisional_withdrawn(&self, series: &SeriesName, start: Time, reason: &str) {
        if self.was_early(series.id(), start) {
            self.print(&calmed_line(series, start, reason));
        }
    }

    fn incident(&self, named: &NamedIncident, before: Option<&Incident>) {
        let now = &named.incident;
        if before.is_none() {
            self.print(&incident_line(named, "opened"));
        }
        let what = match before {
            None if now.stage == Stage::Open => return,
            // What is read faster than it is committed may be over by then.
            None => "closed",
            Some(before) if before.stage != Stage::Open && now.stage == Stage::Open => "reopened",
            Some(before) if now.scope > before.scope => "spread",
            Some(before) if now.severity > before.severity => "escalated",
            Some(before) if before.stage == Stage::Open && now.stage != Stage::Open => "closed",
            Some(before) if now.metrics.len() > before.metrics.len() && now.last - now.opened >= APART => "spread",
            Some(_) => return,
        };
        self.print(&incident_line(named, what));
    }

    fn incident_withdrawn(&self, named: &NamedIncident, reason: &str) {
        self.print(&incident_line(named, &format!("withdrawn ({reason})")));
    }
}

/// An open bucket that looks anomalous.
fn provisional_line(series: &SeriesName, provisional: &Provisional, threshold: f64) -> String {
    let score = provisional.score;
    let (value, expected) = pair(provisional.value.0, score.expected.0);
    let (start, severity, band) = (instant::format(provisional.start), provisional.severity.as_str(), short(threshold * score.sigma.0));
    format!("{start}  {severity:<8}  {series}  {value} instead of {expected} ± {band}  z {:+.1}  (so far)", score.z_score.0)
}

/// An open bucket that was told of as anomalous, and is so no longer.
fn calmed_line(series: &SeriesName, start: Time, reason: &str) -> String {
    format!("{}  withdrawn {series}  {reason}", instant::format(start))
}

/// One that has begun. A host that is down is one line, however many metrics it has.
fn silence_line((start, entity_type, entity_id): &(Time, String, String), metrics: &[String]) -> String {
    let (start, peers) = (instant::format(*start), "though others have some");
    match metrics {
        [metric] => format!("{start}  missing   {entity_type}:{entity_id}:{metric}  no samples, {peers}"),
        _ => format!("{start}  missing   {entity_type}:{entity_id}  no samples of {} metrics, {peers}", metrics.len()),
    }
}

/// An incident, in words that need no manual.
fn incident_line(named: &NamedIncident, what: &str) -> String {
    let incident = &named.incident;
    format!(
        "{}  incident  {what} on {} since {}, {}: {}  [{:016x}]",
        instant::format(incident.last),
        reach(named),
        instant::format(incident.opened),
        incident.severity.as_str(),
        few(&named.metrics, NAMED, named.metrics.len()),
        incident.id.0
    )
}

/// What an incident reaches: `server srv-001`, `17 of 20 servers of rack-A`.
pub fn reach(named: &NamedIncident) -> String {
    let Incident { scope, place, entities, peers, .. } = &named.incident;
    let kind = &place.entity_type;
    match scope {
        Scope::Entity => format!("{kind} {}", named.entity_id),
        Scope::Rack => format!("{entities} of {peers} {kind}s of rack {}", place.rack),
        Scope::Zone => format!("{entities} of {peers} {kind}s of zone {}", place.zone),
        Scope::Kind => format!("{entities} of all {peers} {kind}s"),
    }
}

/// One anomaly, in words that need no manual.
fn anomaly_line(series: &SeriesName, verdict: &Verdict, threshold: f64, revised: bool) -> String {
    let (Some(aggregate), Some(score)) = (verdict.bucket.aggregate, verdict.score) else { return String::new() };
    let severity = Severity::of(score.z_score.0, threshold);
    let mut line = format!("{}  {:<8}  {series}  ", instant::format(verdict.bucket.start), severity.as_str());
    let (mean, expected) = pair(aggregate.mean.0, score.expected.0);
    let _ = write!(line, "{mean} instead of {expected}");
    let _ = write!(line, " ± {}  z {:+.1}", short(threshold * score.sigma.0), score.z_score.0);
    if revised {
        line.push_str("  (revised)");
    }
    line
}

/// How bad a bucket is.
fn severity(verdict: Option<&Verdict>, policy: &Policy) -> Option<Severity> {
    verdict.and_then(|verdict| Some(policy.severity(verdict.bucket.metric, verdict.score?.z_score.0)))
}

/// What a bucket came to that was told of while it was open.
fn whole(verdict: &Verdict) -> String {
    match (verdict.bucket.aggregate, verdict.score) {
        (Some(aggregate), Some(score)) => {
            let (mean, expected) = pair(aggregate.mean.0, score.expected.0);
            format!("the whole bucket came to {mean} where {expected} was expected, z {:+.1}", score.z_score.0)
        }
        _ => format!("the whole bucket is {}", verdict.state.as_str()),
    }
}

fn withdrawn_line(series: &SeriesName, before: Option<&Verdict>, verdict: &Verdict) -> String {
    let mean = |verdict: &Verdict| verdict.bucket.aggregate.map_or_else(|| "nothing".into(), |aggregate| short(aggregate.mean.0));
    let why = match verdict.state {
        State::Silenced => "a silence covers it".to_string(),
        State::Accompanying => "another metric of the entity is further from what is expected of it".to_string(),
        _ if before.is_some_and(|before| before.bucket == verdict.bucket) => format!("another model: {}", verdict.state.as_str()),
        state => format!("late samples moved the mean to {}: {}", mean(verdict), state.as_str()),
    };
    format!("{}  withdrawn {series}  {why}", instant::format(verdict.bucket.start))
}

fn status(statistics: &Statistics, rate: f64) -> String {
    let at = statistics.horizon().map_or_else(|| "no watermark yet".into(), |horizon| format!("at {}", instant::format(horizon)));
    let mut line = format!(
        "watching {at} · {} records ({rate:.0}/s) · {} verdicts · {} anomalies",
        HumanCount(statistics.records.get()),
        HumanCount(statistics.verdicts.get()),
        HumanCount(statistics.anomalies.get()),
    );
    for (name, count) in
        [("missing", statistics.missing.get()), ("unscored", statistics.unscored.get()), ("refused", statistics.dead_letters.get())]
    {
        if count > 0 {
            let _ = write!(line, " · {} {name}", HumanCount(count));
        }
    }
    let _ = write!(line, " · models #{}", statistics.generation.load(Ordering::Relaxed));
    line
}

/// A progress bar of records, for the parts that people wait for; nothing where standard error is no terminal. Those who ask `shown` see it as well.
pub fn record_bar(what: &'static str, total: Option<u64>, statistics: &Statistics, over: &AtomicBool, shown: &Statistics) {
    let bar = match total {
        Some(total) => ProgressBar::new(total).with_style(style("{prefix} {bar:40} {human_pos} of {human_len} records, {eta} left")),
        None => ProgressBar::new_spinner().with_style(style("{prefix} {spinner} {human_pos} records, {per_sec}")),
    };
    let bar = bar.with_prefix(what);
    while !over.load(Ordering::Relaxed) {
        let done = statistics.records.get();
        bar.set_position(done);
        shown.set_activity(Some(Activity { what, unit: "records", done, total }));
        std::thread::sleep(Duration::from_millis(20));
    }
    shown.set_activity(None);
    bar.finish_and_clear();
}

/// A progress bar of series; nothing where standard error is no terminal.
pub fn series_bar(what: &'static str, total: usize) -> ProgressBar {
    ProgressBar::new(total as u64).with_style(style("{prefix} {bar:40} {pos}/{len} series, {eta} left")).with_prefix(what)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
