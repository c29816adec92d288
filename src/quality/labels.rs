//! Labelled anomalies: stretches of time in which, as a person says, something was wrong.

use super::counts::{Judged, Stretch};
use crate::instant;
use crate::line::Lines;
use crate::series::SeriesName;
use csv::StringRecord;
use dataflows::Time;
use serde::Deserialize;
use std::path::Path;

/// The columns of a file of labels; others are left alone, ...
const COLUMNS: [&str; 3] = ["entity", "start", "end"];
/// ...but for these, which need not be there.
const METRIC: &str = "metric";
const KIND: &str = "kind";

/// The kind of what an injection moves besides.
const SIDE_EFFECT: &str = "side_effect";
/// Kinds of what nobody has to find, and nobody is wrong to flag: a host's other metrics, for which one speaks, and that it says nothing, which is no
/// deviation.
const ASIDES: [&str; 2] = [SIDE_EFFECT, "outage"];

/// What a line looks like, for messages.
const EXAMPLE: &str = "srv-001,cpu_usage_percent,2026-01-19T03:10:00Z,2026-01-19T04:00:00Z";

/// One labelled anomaly.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The entity, as `srv-001` or `server:srv-001`.
    pub entity: String,
    /// The metric; `None`: the entity as a whole, so that any of its metrics may show it.
    pub metric: Option<String>,
    /// The first moment.
    pub start: Time,
    /// The end, exclusive.
    pub end: Time,
    /// What happened, in a word of whoever labelled it; by this word it is reported, too.
    pub kind: Option<String>,
}

/// Labels, in no order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels(pub Vec<Label>);

/// Why labels cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file cannot be opened or read.
    #[error("labels '{path}' cannot be read: {problem}")]
    File {
        /// The path.
        path: String,
        /// The system's word.
        problem: String,
    },
    /// The header lacks a column.
    #[error("labels '{path}' have no column '{column}': the first line must name entity,metric,start,end")]
    Column {
        /// The path.
        path: String,
        /// What is missing.
        column: &'static str,
    },
    /// A line is no label.
    #[error("labels '{path}', line {line}: {problem}; write it like {EXAMPLE}, without a metric for all metrics of the entity")]
    Line {
        /// The path.
        path: String,
        /// From 1, the header included.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A line of JSON is no injection.
    #[error("labels '{path}', line {line}: {problem}; it is no line of `tidewatch generate --truth`")]
    Injection {
        /// The path.
        path: String,
        /// From 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The simulation was too short.
    #[error("labels '{path}' hold no injection: simulate for longer")]
    Quiet {
        /// The path.
        path: String,
    },
    /// There is nothing but a header.
    #[error("labels '{path}' hold no label: write one a line, like {EXAMPLE}")]
    Empty {
        /// The path.
        path: String,
    },
}

impl Label {
    /// Whether it is about a series, or its entity as a whole.
    fn is_about(&self, series: &SeriesName) -> bool {
        self.is_of(series) && self.metric.as_ref().is_none_or(|metric| *metric == series.metric)
    }

    /// Whether it need not be found.
    fn is_aside(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| ASIDES.contains(&kind))
    }

    /// Whether it is about an entity.
    fn is_of(&self, series: &SeriesName) -> bool {
        let of_type = self.entity.strip_prefix(&series.entity_type).and_then(|rest| rest.strip_prefix(':'));
        self.entity == series.entity_id || of_type == Some(&series.entity_id)
    }
}

impl Labels {
    /// Reads a CSV with the columns `entity,metric,start,end`, or, from a file that ends in `.jsonl`, what `tidewatch generate --truth` writes.
    ///
    /// # Errors
    /// See [`LabelsError`].
    pub fn read(path: &Path) -> Result<Self, LabelsError> {
        let is_truth = path.extension().is_some_and(|ending| ending == "jsonl");
        Ok(Self(if is_truth { Self::of_truth(path)? } else { Self::of_csv(path)? }))
    }

    fn of_truth(path: &Path) -> Result<Vec<Label>, LabelsError> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| LabelsError::File { path: place.clone(), problem: error.to_string() })?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let read = |line: &str| serde_json::from_str(line).map_err(|error| error.to_string()).and_then(|one| injected(&one));
        let mut labels = Vec::new();
        for (line, text) in lines {
            labels.extend(read(text).map_err(|problem| LabelsError::Injection { path: place.clone(), line, problem })?);
        }
        if labels.is_empty() { Err(LabelsError::Quiet { path: place }) } else { Ok(labels) }
    }

    fn of_csv(path: &Path) -> Result<Vec<Label>, LabelsError> {
        let place = path.display().to_string();
        let fail = |problem: csv::Error| LabelsError::File { path: place.clone(), problem: problem.to_string() };
        let unread = |error: std::io::Error| LabelsError::File { path: place.clone(), problem: error.to_string() };
        // Once: what is read of a pipe is gone.
        let text = std::fs::read(path).map_err(unread)?;
        let mut lines = Lines::of(&text[..]);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&text[..]);
        let header = reader.headers().map_err(fail)?.clone();
        let place_of = |column: &str| header.iter().position(|name| name.trim().trim_start_matches('\u{feff}') == column);
        let (mut columns, metric, kind) = ([0; 3], place_of(METRIC), place_of(KIND));
        // One that is there by nearly that name would say something else if it were left alone.
        if metric.is_none() && header.iter().any(|name| name.trim().trim_start_matches('\u{feff}').eq_ignore_ascii_case(METRIC)) {
            return Err(LabelsError::Column { path: place, column: METRIC });
        }
        for (found, column) in columns.iter_mut().zip(COLUMNS) {
            *found = place_of(column).ok_or_else(|| LabelsError::Column { path: place.clone(), column })?;
        }
        let mut labels = Vec::new();
        for record in reader.records() {
            let record = record.map_err(fail)?;
            let line = lines.at(record.position().map_or(0, csv::Position::byte)).map_err(unread)?;
            labels.push(label(&record, columns, metric, kind).map_err(|problem| LabelsError::Line {
                path: place.clone(),
                line,
                problem,
            })?);
        }
        if labels.is_empty() { Err(LabelsError::Empty { path: place }) } else { Ok(labels) }
    }

    /// The labelled stretches of a series in buckets of this width, in order: those that name its metric.
    pub fn of(&self, series: &SeriesName, width: Time) -> Vec<Stretch> {
        self.stretches(width, |label| !label.is_aside() && label.is_of(series) && label.metric.as_ref() == Some(&series.metric))
    }

    /// Those of the entity of a series as a whole.
    pub fn of_entity(&self, series: &SeriesName, width: Time) -> Vec<Stretch> {
        self.stretches(width, |label| !label.is_aside() && label.is_of(series) && label.metric.is_none())
    }

    /// Those of either sort.
    pub fn of_all(&self, series: &SeriesName, width: Time) -> Vec<Stretch> {
        self.stretches(width, |label| !label.is_aside() && label.is_about(series))
    }

    /// What need not be found of a series, and may be flagged.
    pub fn asides(&self, series: &SeriesName, width: Time) -> Vec<Stretch> {
        self.stretches(width, |label| label.is_aside() && label.is_about(series))
    }

    /// Those that are about none of some series: slips of the pen, mostly.
    pub fn strangers<'a>(&'a self, series: &[SeriesName]) -> Vec<&'a Label> {
        self.0.iter().filter(|label| !series.iter().any(|series| label.is_about(series))).collect()
    }

    /// The labels of a series that name its metric and a kind, each by itself.
    pub fn kinds_of(&self, series: &SeriesName, width: Time) -> Vec<(String, Stretch)> {
        let own = self.0.iter().filter(|label| label.is_of(series) && label.metric.as_ref() == Some(&series.metric));
        own.filter_map(|label| Some((label.kind.clone()?, stretch(label, width)))).collect()
    }

    /// Those from `from` on that are to be found and meet no bucket that was judged.
    pub fn unmet(&self, from: Time, width: Time, judged: &[Judged]) -> Vec<&Label> {
        let is_met = |label: &Label| {
            let Stretch { first, last } = stretch(label, width);
            let of_label = judged.iter().filter(|one| label.is_about(&one.series)).map(|one| &one.scores);
            of_label
                .map(|scores| scores.get(scores.partition_point(|score| score.0 < first)))
                .any(|next| next.is_some_and(|next| next.0 <= last))
        };
        self.0.iter().filter(|label| label.end > from && !label.is_aside() && !is_met(label)).collect()
    }

    fn stretches(&self, width: Time, includes: impl Fn(&Label) -> bool) -> Vec<Stretch> {
        Stretch::merged(self.0.iter().filter(|label| includes(label)).map(|label| stretch(label, width)).collect(), width)
    }
}

/// The buckets that a label touches.
fn stretch(label: &Label, width: Time) -> Stretch {
    let bucket = |time: Time| time.div_euclid(width) * width;
    Stretch { first: bucket(label.start), last: bucket(label.end - 1) }
}

/// One line of a truth, as far as it is a label.
#[derive(Deserialize)]
struct Injected {
    kind: String,
    entity_type: String,
    entity_id: String,
    metric: String,
    start: String,
    end: String,
    side_effects: Vec<String>,
}

/// What an injection moves besides is labelled, too, as a kind of its own: an alarm there is not false, and none is not missed.
fn injected(one: &Injected) -> Result<Vec<Label>, String> {
    let (start, end) = span(&one.start, &one.end)?;
    let entity = format!("{}:{}", one.entity_type, one.entity_id);
    let of = |entity: &str, metric: &str, kind: &str| Label {
        entity: entity.into(),
        metric: Some(metric.into()),
        start,
        end,
        kind: Some(kind.into()),
    };
    let effects = one.side_effects.iter().map(|effect| match effect.rsplit_once(':') {
        Some((elsewhere, metric)) => of(elsewhere, metric, SIDE_EFFECT),
        None => of(&entity, effect, SIDE_EFFECT),
    });
    Ok(std::iter::once(of(&entity, &one.metric, &one.kind)).chain(effects).collect())
}

fn span(start: &str, end: &str) -> Result<(Time, Time), String> {
    let time = |text: &str| instant::parse(text).ok_or_else(|| format!("'{text}' is not a time"));
    let (start, end) = (time(start)?, time(end)?);
    if end <= start { Err("the end must be after the start".into()) } else { Ok((start, end)) }
}

fn label(record: &StringRecord, columns: [usize; 3], metric: Option<usize>, kind: Option<usize>) -> Result<Label, String> {
    let [entity, start, end] = columns.map(|column| record.get(column).unwrap_or("").trim());
    if entity.is_empty() {
        return Err("the entity is missing".into());
    }
    let (start, end) = span(start, end)?;
    let text = |column: Option<usize>| record.get(column?).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Ok(Label { entity: entity.into(), metric: text(metric), start, end, kind: text(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Labels, LabelsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Labels::read(file.path())
    }

    #[test]
    fn a_label_is_of_one_metric_or_of_the_whole_entity_and_touching_ones_are_one() {
        let labels = read(
            "metric,entity,start,end,by\ncpu,server:a,1970-01-01T00:02:00Z,1970-01-01T00:05:00Z,me\n,a,1970-01-01T01:00:00Z,1970-01-01T01:05:01Z,\n\
             cpu,a,1970-01-01T00:25:00Z,1970-01-01T00:30:00Z,\ncpu,b,1970-01-01T00:00:00Z,1970-01-01T09:00:00Z,\n",
        );
        let (labels, cpu) = (labels.unwrap(), SeriesName::new("server", "a", "cpu"));
        let minutes = |first: Time, last: Time| Stretch { first: first * 60_000, last: last * 60_000 };
        assert_eq!(labels.of(&cpu, 300_000), [minutes(0, 0), minutes(25, 25)], "four buckets lie in between");
        assert_eq!(labels.of_entity(&cpu, 300_000), [minutes(60, 65)]);
        assert_eq!(labels.of_all(&SeriesName::new("server", "a", "fan"), 300_000), [minutes(60, 65)]);
        assert_eq!(labels.of_all(&SeriesName::new("application", "b", "fan"), 300_000), []);
        assert_eq!(labels.kinds_of(&cpu, 300_000), [], "nobody said what it was");
        let strangers = labels.strangers(std::slice::from_ref(&cpu));
        assert_eq!(strangers.iter().map(|label| label.entity.as_str()).collect::<Vec<_>>(), ["b"]);
        let whole = read("entity,start,end\na,1970-01-01T00:00:00Z,1970-01-01T00:05:00Z\n").unwrap();
        assert_eq!(whole.of_entity(&cpu, 300_000), [minutes(0, 0)]);
        let labels = read("entity,metric,start,end,kind\na,cpu,1970-01-01T00:02:00Z,1970-01-01T00:05:00Z,leak\n").unwrap();
        assert_eq!(labels.kinds_of(&cpu, 300_000), [("leak".into(), minutes(0, 0))]);
    }

    #[test]
    fn the_truth_of_a_simulation_is_labels_and_so_is_what_an_injection_moves_besides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.jsonl");
        let line = r#"{"kind":"cpu_spike","entity_type":"server","entity_id":"a","metric":"cpu","start":"1970-01-01T00:02:00Z",
            "end":"1970-01-01T00:05:00Z","magnitude":1,"sigmas":9,"side_effects":["fan","application:b:latency"]}"#;
        std::fs::write(&path, line.replace('\n', "") + "\n\n").unwrap();
        let labels = Labels::read(&path).unwrap();
        let kinds = |entity_type: &str, entity: &str, metric: &str| {
            let of = labels.kinds_of(&SeriesName::new(entity_type, entity, metric), 300_000);
            of.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("server", "a", "cpu"), ["cpu_spike"]);
        let (cpu, fan) = (SeriesName::new("server", "a", "cpu"), SeriesName::new("server", "a", "fan"));
        assert_eq!([&cpu, &fan].map(|series| (labels.of(series, 300_000).len(), labels.asides(series, 300_000).len())), [(1, 0), (0, 1)]);
        assert_eq!([&cpu, &fan].map(|series| labels.of_all(series, 300_000).len()), [1, 0]);
        assert_eq!(
            (kinds("server", "a", "fan"), kinds("application", "b", "latency")),
            (vec![SIDE_EFFECT.into()], vec![SIDE_EFFECT.into()])
        );
        std::fs::write(&path, "{}").unwrap();
        let refused = Labels::read(&path).unwrap_err().to_string();
        assert!(refused.contains("line 1") && refused.contains("generate --truth"), "{refused}");
    }

    #[test]
    fn what_is_no_label_is_named_with_its_line_and_the_fix() {
        for (text, parts) in [
            ("entity,metric,end\n", ["no column 'start'", "entity,metric,start,end"]),
            ("entity,metric,start,end\n", ["hold no label", EXAMPLE]),
            ("entity,metric,start,end\na,cpu,yesterday,2026-01-19T00:00:00Z\n", ["line 2", "'yesterday' is not a time"]),
            ("entity,metric,start,end\n,cpu,2026-01-18T00:00:00Z,2026-01-19T00:00:00Z\n", ["line 2", "the entity is missing"]),
            ("entity,metric,start,end\na,,2026-01-19T00:00:00Z,2026-01-19T00:00:00Z\n", ["line 2", "after the start"]),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        assert!(Labels::read(Path::new("nowhere.csv")).unwrap_err().to_string().contains("'nowhere.csv' cannot be read"));
    }
}
