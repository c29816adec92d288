//! `tidewatch explain`: the arithmetic behind one verdict.

use super::{due, in_short, say};
use crate::cli::{EMBEDDED, time};
use crate::history::{self, Anomaly, History, calibration, span, view};
use crate::instant;
use crate::models::{self, Trained};
use crate::number::number;
use crate::policy::LimitsArgs;
use crate::series::SeriesName;
use anyhow::{Result, bail};
use clap::Args;
use dataflows::reading::{Reading, View, WEIGHTS};
use dataflows::step::OVERSHOOT;
use dataflows::{
    Calendar, IncidentId, Limits, Method, Model, Severity, State, Time, Unscored, Verdict, Warming, anomaly_score, track_after,
};
use std::fmt::Write;
use std::sync::Arc;

/// What is no longer news was told within so long before, in milliseconds: two days.
const TOLD: Time = 2 * 86_400_000;

/// Which verdict.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: tidewatch explain srv-001 cpu_usage_percent 2026-01-19T03:10:00Z")]
pub struct ExplainArgs {
    /// The entity, for example srv-001 or server:srv-001; or, alone, the number of an incident, whose worst bucket is explained
    #[arg(value_name = "ENTITY|INCIDENT")]
    entity: String,
    /// The metric, for example cpu_usage_percent
    #[arg(requires = "at")]
    metric: Option<String>,
    /// Any moment of the bucket, for example 2026-01-19T03:10:00Z
    #[arg(value_parser = time, value_name = "TIME")]
    at: Option<Time>,
    /// Where verdicts are kept: embedded:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    history: String,
    /// Where models come from: embedded:PATH, redis://… or rediss://…
    #[arg(long, value_name = "URL", default_value = EMBEDDED)]
    models: String,
    #[command(flatten)]
    limits: LimitsArgs,
    /// The width of a bucket, where history holds some of several
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration, default_value = "5m")]
    bucket: std::time::Duration,
}

/// Prints the arithmetic.
///
/// # Errors
/// A series or bucket that is not in history.
pub fn explain(arguments: &ExplainArgs) -> Result<()> {
    let mut history = history::open(super::existing("--history", &arguments.history)?)?;
    let (series, at) = match (&arguments.metric, arguments.at) {
        (Some(metric), Some(at)) => (find(&mut *history, arguments, metric)?, at),
        _ => worst(&mut *history, &arguments.entity)?,
    };
    let asked = crate::cli::milliseconds(arguments.bucket).max(1);
    let width = span::width(&mut *history)?.unwrap_or(asked);
    let start = at.div_euclid(width) * width;
    let model = models::open(super::existing("--models", &arguments.models)?)?.get(&series)?;
    let words = words(&mut *history, &series, start, width, &arguments.limits.of(&series.metric), model.as_ref())?;
    match words {
        Some(words) => say(&words),
        None => return Err(due::absent(&mut *history, &series, start, width, model.as_ref())?),
    }
    Ok(())
}

/// The arithmetic behind the verdict on the bucket that starts at `start`, as the command and the page say it; `None` where there is no such bucket.
///
/// # Errors
/// A history that cannot be read.
pub fn words(
    history: &mut dyn History,
    series: &SeriesName,
    start: Time,
    width: Time,
    limits: &Limits,
    model: Option<&Trained>,
) -> Result<Option<String>> {
    let Some(verdict) = history.verdict(series, start)? else { return Ok(None) };
    let retraced = model.and_then(|trained| retrace(history, &trained.model, series, &verdict).transpose()).transpose()?;
    let is_off = verdict.state == State::Normal && retraced.as_ref().is_some_and(|retraced| in_short::is_off(&retraced.reading));
    let before = if is_off { history.verdicts_of(series, start - TOLD, start)? } else { Vec::new() };
    let told = before.iter().rev().find(|before| before.state == State::Anomalous).map(|before| before.bucket.start);
    let drifting = calibration::drifting(history)?.into_iter().find(|one| one.name == *series && one.since <= start);
    let since = drifting.map(|one| one.since);
    let in_short = in_short::sentence(&verdict, retraced.as_ref().map(|retraced| &retraced.reading), limits, told);
    let text = text(series, &verdict, in_short, width, limits, (model, retraced.as_ref()), since)?;
    Ok(Some(match verdict.state {
        State::Accompanying => text + &leader(history, series, start)?,
        State::Missing => format!("{text}; {}", due::heard(history, series, start)?),
        _ => text,
    }))
}

/// Which metric speaks for the entity in a bucket that accompanies it.
fn leader(history: &mut dyn History, series: &SeriesName, start: Time) -> Result<String> {
    let of_entity = |one: &&Anomaly| (&one.name.entity_type, &one.name.entity_id) == (&series.entity_type, &series.entity_id);
    let anomalies = history.anomalies(start, start + 1)?;
    let leader = anomalies.iter().filter(of_entity).find(|one| one.status == "open");
    Ok(leader.map_or_else(String::new, |leader| format!(": {}, z_score {:+.2}", leader.name.metric, leader.z_score)))
}

/// The arithmetic of a bucket, and what a counter stood at before it.
struct Retraced {
    reading: Reading,
    counted: Option<f64>,
}

/// The arithmetic of a bucket by the method `seasonal_level`: the stored buckets since the end of training are folded again. `None` for another method, and
/// where that does not come to the stored score, because another model was in force or the series was followed from before this one.
fn retrace(history: &mut dyn History, model: &Model, series: &SeriesName, verdict: &Verdict) -> Result<Option<Retraced>> {
    let (Some(score), Some(aggregate)) = (verdict.score, verdict.bucket.aggregate) else { return Ok(None) };
    let (mut track, model) = (None, Arc::new(model.clone()));
    for before in history.verdicts_of(series, model.trained_until, verdict.bucket.start)? {
        track = track_after(track, &before, std::slice::from_ref(&model));
    }
    let again = model.score(track.as_deref(), verdict.bucket.start, aggregate.mean.0, aggregate.count).0;
    let read = model.read(track.as_deref(), verdict.bucket.start, aggregate.mean.0, aggregate.count).filter(|_| again == Some(score));
    Ok(read.map(|(track, reading)| Retraced { reading, counted: track.counted }))
}

/// The series and the start of an incident's worst bucket; of one that is all silence, where that begins.
fn worst(history: &mut dyn History, number: &str) -> Result<(SeriesName, Time)> {
    let digits = number.trim_matches(['[', ']']);
    let Some(id) = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16).map(IncidentId) else {
        bail!(
            "'{number}' alone is no incident, whose number has 16 hexadecimal digits: write ENTITY METRIC TIME, or see `tidewatch incidents`"
        );
    };
    let Some(row) = view::incident(history, id)? else { bail!("history has no incident {digits}: see `tidewatch incidents`") };
    if let Some((entity_id, metric, start, _)) = row.peak {
        return Ok((SeriesName { entity_type: row.entity_type, entity_id, metric }, start));
    }
    match view::episodes(history, id)?.into_iter().next() {
        Some(episode) => Ok((episode.name, episode.opened)),
        None => bail!("nothing of incident {digits} holds any more: see `tidewatch incidents --withdrawn`"),
    }
}

/// The series of that entity and metric, whatever the type of the entity unless it is named.
fn find(history: &mut dyn History, arguments: &ExplainArgs, metric: &str) -> Result<SeriesName> {
    let names: Vec<SeriesName> = history.series()?.into_iter().map(|series| series.name).collect();
    let fits = |name: &&SeriesName| {
        name.metric == metric
            && (name.entity_id == arguments.entity || format!("{}:{}", name.entity_type, name.entity_id) == arguments.entity)
    };
    match names.iter().filter(fits).collect::<Vec<_>>().as_slice() {
        [name] => Ok((*name).clone()),
        [] => {
            let wanted = format!("{}:{metric}", arguments.entity);
            let nearest = names.iter().max_by(|one, other| {
                let likeness = |name: &SeriesName| strsim::jaro(&wanted, &format!("{}:{}", name.entity_id, name.metric));
                likeness(one).total_cmp(&likeness(other))
            });
            match nearest {
                Some(name) => {
                    bail!("history has no {metric} of {}; the nearest is {} of {}", arguments.entity, name.metric, name.entity_id)
                }
                None => bail!("history '{}' is empty", arguments.history),
            }
        }
        several => bail!("'{}' is ambiguous: write {}:{}", arguments.entity, several[0].entity_type, several[0].entity_id),
    }
}

fn text(
    series: &SeriesName,
    verdict: &Verdict,
    in_short: Option<String>,
    width: Time,
    limits: &Limits,
    (model, retraced): (Option<&Trained>, Option<&Retraced>),
    drifting_since: Option<Time>,
) -> Result<String> {
    let threshold = limits.threshold;
    let (bucket, reading) = (&verdict.bucket, retraced.map(|retraced| &retraced.reading));
    let mut out = String::new();
    writeln!(out, "{} of {} {}", series.metric, series.entity_type, series.entity_id)?;
    in_short.map_or(Ok(()), |sentence| writeln!(out, "in short  {sentence}"))?;
    writeln!(out, "bucket    {} to {}", instant::format(bucket.start), instant::format(bucket.start + width))?;
    if let Some(aggregate) = bucket.aggregate {
        let spread = format!("between {} and {}, stddev {}", number(aggregate.min.0), number(aggregate.max.0), number(aggregate.stddev.0));
        let samples = if aggregate.count == 1 { "sample" } else { "samples" };
        writeln!(out, "seen      {} {samples} {spread}", aggregate.count)?;
        writeln!(out, "mean      {}", number(aggregate.mean.0))?;
    }
    if let Some(score) = verdict.score {
        let (expected, sigma, z_score) = (score.expected.0, score.sigma.0, score.z_score.0);
        // The model in force then, if the store still has it: it alone knows how expected comes about.
        let is_plain = |model: &Model| !matches!(model.method, Method::SeasonalLevel(_));
        let is_of = |model: &Model| is_plain(model) && model.expected(bucket.start).to_bits() == expected.to_bits();
        let parts = model.filter(|trained| reading.is_some() || is_of(&trained.model));
        if let (Some(reading), Some(counted)) = (reading, retraced.and_then(|retraced| retraced.counted)) {
            let (grown, usual) = (number(expected - counted), number(reading.seasonal));
            writeln!(out, "expected  {} = {} before + growth {grown}", number(expected), number(counted))?;
            writeln!(
                out,
                "growth    {} a bucket = level {} + usual for this time of day {usual}; it is a counter",
                number(reading.level + reading.seasonal),
                number(reading.level)
            )?;
        } else if let Some(trained) = parts {
            writeln!(out, "expected  {} = {}", number(expected), origin(trained, reading, bucket.start, expected))?;
        } else {
            writeln!(out, "expected  {}", number(expected))?;
        }
        let mean = bucket.aggregate.map_or(expected, |aggregate| aggregate.mean.0);
        writeln!(out, "residual  {} = mean {} - expected {}", signed(mean - expected), number(mean), number(expected))?;
        if let Some(reading) = reading {
            views(&mut out, reading)?;
        }
        let is_calm = z_score == 0.0 && mean != expected;
        let meaning = match (reading, parts) {
            (Some(_), _) if is_calm => "how far this series usually is from what is expected",
            (Some(_), _) => "the deviation that would come to a z_score of 1, in this series, here and now",
            (None, Some(_)) => "how far this series usually is from what is expected",
            (None, None) => "as it was stored; the model that it was judged by, or what was known of the series then, is no longer kept",
        };
        writeln!(out, "sigma     {}: {meaning}", number(sigma))?;
        let origin = if is_calm { ": no view sees anything out of the ordinary" } else { " = residual / sigma" };
        writeln!(out, "z_score   {z_score:+.2}{origin}; the threshold is {threshold}")?;
        if let Some(trained) = parts {
            let (from, until) = (instant::format(trained.model.trained_from), instant::format(trained.model.trained_until));
            let borrowed =
                trained.provenance.borrowed().map_or_else(String::new, |borrowed| format!("; young, so its profile is {borrowed}"));
            writeln!(
                out,
                "model     {}, trained on {} buckets from {from} to {until}{borrowed}",
                trained.provenance.method, trained.provenance.buckets
            )?;
        }
        if let Some(since) = drifting_since {
            writeln!(out, "drifting  since {}: deviations are larger than the model promised", instant::format(since))?;
        }
    }
    write!(out, "verdict   {}", conclusion(verdict, limits, model))?;
    Ok(out)
}

/// How what is expected comes about.
fn origin(trained: &Trained, reading: Option<&Reading>, start: Time, expected: f64) -> String {
    let day = time_of_day(trained, start);
    if trained.model.method == Method::SeasonalNaive {
        return format!("what it was at {day} of the last day before training ended");
    }
    let level = reading.map_or(trained.model.level, |reading| reading.level);
    let early = if reading.is_some_and(|reading| reading.seasonal.to_bits() != reading.usual.to_bits()) {
        ", where the day jumps, and what is usual may come a bucket early or late"
    } else {
        ""
    };
    format!("level {} + usual for {day} {}{early}", number(level), signed(expected - level))
}

/// Which time of day the profile was asked for.
fn time_of_day(trained: &Trained, start: Time) -> String {
    let calendar = &trained.model.calendar;
    if **calendar == Calendar::default() {
        return "this time of day".into();
    }
    let civil = calendar.civil(start);
    let clock = instant::format(civil - civil.rem_euclid(60_000));
    let holiday = if calendar.holidays.contains(&civil.div_euclid(86_400_000)) { ", a holiday" } else { "" };
    format!("this time of day ({} in {}{holiday})", &clock[11..16], calendar.zone)
}

/// What each view saw, which one speaks, and what an earlier alarm takes away from it.
fn views(out: &mut String, reading: &Reading) -> std::fmt::Result {
    let [spike, shift, drift, stuck] = reading.views().map(number);
    let [spike_weight, shift_weight, drift_weight, stuck_weight] = WEIGHTS;
    let often = |divisor: f64, what: &str| {
        if divisor > 1.0 {
            format!("/ {}, as this series often {what}", number(divisor))
        } else {
            "with nothing taken off: its own peaks are low".into()
        }
    };
    let usual = number(reading.spike);
    match reading.spike {
        0.0 => writeln!(out, "spike     0: it moved towards what is expected, {} {}", signed(reading.jump), since(reading))?,
        _ if reading.is_return => writeln!(
            out,
            "spike     {spike}: it came back, {} {}, and went past what is expected by no more than {usual} usual deviations",
            signed(reading.jump),
            since(reading)
        )?,
        _ => writeln!(
            out,
            "spike     {spike} = {spike_weight} · {usual} usual steps ({} {}{}) {}",
            signed(reading.jump),
            since(reading),
            if reading.overshoots() { format!(", counted as {OVERSHOOT} times what it is off by") } else { String::new() },
            often(reading.spike_divisor, "jumps")
        )?,
    }
    let usual = number(reading.shift);
    match reading.shift {
        0.0 if reading.buckets > 1.0 => writeln!(out, "shift     0: over a gap nobody knows where it was")?,
        0.0 if reading.shifted == 0.0 => writeln!(out, "shift     0: not two buckets in a row are off to one side of where it was")?,
        0.0 => writeln!(out, "shift     0: the bucket before was as loud already, or it leads back to what is expected")?,
        _ => writeln!(
            out,
            "shift     {shift} = {shift_weight} · {usual} usual shifts (both this bucket and the one before are {} or more from where it was) {}",
            signed(reading.shifted),
            often(reading.shift_divisor, "shifts")
        )?,
    }
    let usual = number(reading.drift);
    match reading.drift {
        0.0 => writeln!(out, "drift     0: nothing goes on")?,
        _ => writeln!(
            out,
            "drift     {drift} = {drift_weight} · {usual} usual drifts (the last hour's deviations) {}",
            often(reading.drift_divisor, "drifts")
        )?,
    }
    match reading.run {
        0.0 => writeln!(out, "stuck     0: it moves")?,
        run => writeln!(
            out,
            "stuck     {stuck} = {stuck_weight} · {}, {run} buckets in a row that equalled the one before",
            number(reading.stuck)
        )?,
    }
    let (view, loudest, habituation) = reading.loudest();
    let view = match view {
        View::Spike => "the spike",
        View::Shift => "the shift",
        View::Drift => "the drift",
        View::Stuck => "the standstill",
    };
    let alarm = match habituation {
        1.0 => String::new(),
        alarm => format!(" / {}, as there was a loud deviation of late and more of it is less news", number(alarm)),
    };
    let chances = match reading.chances {
        1.0 => String::new(),
        chances => format!(" / {}, as its entity has other metrics that might be wrong", number(chances)),
    };
    writeln!(out, "speaks    {view}, with {}{alarm}{chances}", number(loudest))
}

/// How long a step took. Over a gap it usually is larger, which is allowed for.
fn since(reading: &Reading) -> String {
    if reading.buckets > 1.0 { format!("in {} buckets", reading.buckets) } else { "since the bucket before".into() }
}

fn signed(value: f64) -> String {
    if value < 0.0 { format!("-{}", number(-value)) } else { format!("+{}", number(value)) }
}

fn conclusion(verdict: &Verdict, limits: &Limits, model: Option<&Trained>) -> String {
    match (verdict.state, verdict.score) {
        (State::Anomalous, Some(score)) => {
            let severity = Severity::of(score.z_score.0, limits.threshold);
            format!("anomalous, severity {}, anomaly_score {:.2}", severity.as_str(), anomaly_score(score.z_score.0))
        }
        (State::Accompanying, _) => {
            "accompanying: past its threshold, and another metric of its entity is further past its own in this bucket, which speaks for both".into()
        }
        (State::Missing, _) => {
            let due = model.and_then(|trained| due::words(&trained.model)).map_or_else(String::new, |due| format!("; its own usually come {due}"));
            format!("missing: no samples, though other series of its partition have some{due}")
        }
        (State::Unscored(Unscored::Reset), _) => {
            "unscored(reset): the counter began anew in this bucket, and what was counted meanwhile is not known".into()
        }
        (State::Unscored(Unscored::Warming), _) => match model.and_then(|trained| trained.model.as_warming()) {
            Some(Warming { seen, needed, as_of }) => {
                format!("unscored(warming: {seen} of {needed} buckets when it was last trained, until {})", instant::format(*as_of))
            }
            None => "unscored(warming): when it was judged, this series had too few buckets for a model".into(),
        },
        (State::Unscored(Unscored::NoModel), _) => {
            "unscored(no_model): when it was judged, no model of this series had ended its training before the bucket".into()
        }
        (state, _) => in_short::untold(verdict, limits)
            .map_or_else(|| state.as_str().into(), |why| format!("{}: past the threshold, though {why}", state.as_str())),
    }
}
