//! Verdicts as rows of CSV, by time and name, each written once it can change no more.

use crate::history::Change;
use crate::history::incident::NamedIncident;
use crate::run::Observer;
use crate::series::SeriesName;
use crate::source::table::COLUMNS;
use crate::{instant, number};
use dataflows::identity::HashedMap;
use dataflows::{Incident, Policy, Provisional, SeriesId, Severity, State, Time, Verdict, anomaly_score};
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What follows the four columns of the input. `z_score` is what counts, `own_z_score` that of the series alone: they differ where the bucket accompanies one
/// of another metric of its entity.
const SCORES: &str = "expected,z_score,is_anomaly,bucket_start,mean,sigma,state,severity,anomaly_score,own_z_score,count,min,max,stddev";

/// The first line.
pub fn header() -> String {
    format!("{},{SCORES}\n", COLUMNS.join(","))
}

/// The z_score as it counts: that of a bucket which accompanies another ends at its threshold, since only what is past it is an anomaly.
pub fn spoken(verdict: &Verdict, policy: &Policy) -> Option<f64> {
    let (z_score, threshold) = (verdict.score?.z_score.0, policy.limits(verdict.bucket.metric).threshold);
    Some(if verdict.state == State::Accompanying { z_score.clamp(-threshold, threshold) } else { z_score })
}

/// The fields of [`SCORES`], a comma between two; empty where there is no score. `start` is that of the bucket, written out. Nearly all of the time goes
/// to the digits of numbers, so that a z_score is written once.
pub fn scores(text: &mut String, verdict: Option<&Verdict>, start: &str, policy: &Policy) {
    let (score, aggregate) = (verdict.and_then(|verdict| verdict.score), verdict.and_then(|verdict| verdict.bucket.aggregate));
    let z_score = verdict.and_then(|verdict| spoken(verdict, policy));
    let anomalous = verdict.filter(|verdict| verdict.state == State::Anomalous);
    let threshold = |verdict: &Verdict| policy.limits(verdict.bucket.metric).threshold;
    let severity = anomalous.and_then(|verdict| Some(Severity::of(verdict.score?.z_score.0, threshold(verdict)).as_str()));
    field(text, score.map(|score| score.expected.0));
    let spoken = field(text, z_score);
    text.push_str(if anomalous.is_some() { "true," } else { "false," });
    text.push_str(start);
    text.push(',');
    field(text, aggregate.map(|aggregate| aggregate.mean.0));
    field(text, score.map(|score| score.sigma.0));
    let state = verdict.map_or("unscored(refused)", |verdict| verdict.state.as_str());
    [state, ",", severity.unwrap_or_default(), ","].iter().for_each(|part| text.push_str(part));
    field(text, z_score.map(anomaly_score));
    let own = score.map(|score| score.z_score.0);
    if own == z_score {
        text.extend_from_within(spoken);
    } else {
        field(text, own);
    }
    aggregate.iter().for_each(|aggregate| whole(text, aggregate.count));
    text.push(',');
    field(text, aggregate.map(|aggregate| aggregate.min.0));
    field(text, aggregate.map(|aggregate| aggregate.max.0));
    aggregate.iter().for_each(|aggregate| number::plain(text, aggregate.stddev.0));
}

/// A number and a comma; where they stand.
fn field(text: &mut String, number: Option<f64>) -> Range<usize> {
    let start = text.len();
    number.into_iter().for_each(|number| number::plain(text, number));
    text.push(',');
    start..text.len()
}

/// A whole number.
fn whole(text: &mut String, number: u64) {
    if number >= 10 {
        whole(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Words on buckets, each with the place of its series among the names.
type Said = Vec<(usize, Option<Verdict>)>;

/// Rows that may still change.
pub struct Rows {
    policy: Policy,
    from: Time,
    /// What was said of the buckets that start then, the last word last; a bucket that is no more has none.
    said: BTreeMap<Time, Said>,
    /// The same of the buckets of which something was said last: nearly always the next word is of one of them.
    latest: (Time, Said),
    places: HashedMap<SeriesId, usize>,
    names: Vec<SeriesName>,
    /// By place: which of the names in their order it is, and the last bucket that was said of it.
    ranks: Vec<(usize, Time)>,
    /// Entity and metric of all of them as fields, one after the other in the order of names, and where each ends: they are written one after the other.
    fields: (String, Vec<usize>),
    /// Places in `names` that nobody has.
    free: Vec<usize>,
    /// Whether there are names that have no rank yet.
    is_news: bool,
    /// Half the number at which names that were not said for long are let go.
    kept: usize,
    /// Room for the rows of a bucket: their order, and their text.
    room: (Vec<(usize, usize)>, String),
}

/// Where fewer than one of so many names was said, it is quicker to put in order what was said than to go through all names.
const SPARSE: usize = 8;

/// Fewer names are not worth forgetting.
const NAMES_MIN: usize = 10_000;

impl Rows {
    /// Rows for the buckets that start at or after `from`.
    pub fn new(policy: Policy, from: Time) -> Self {
        Self {
            policy,
            from,
            said: BTreeMap::new(),
            latest: (from, Vec::new()),
            places: HashedMap::default(),
            names: Vec::new(),
            ranks: Vec::new(),
            fields: (String::new(), Vec::new()),
            free: Vec::new(),
            is_news: false,
            kept: 0,
            room: (Vec::new(), String::new()),
        }
    }

    /// Takes what holds of a bucket from now on: `new`, or nothing. What has no name is left out.
    pub fn take(&mut self, series: SeriesId, start: Time, new: Option<Verdict>, name: impl FnOnce() -> Option<SeriesName>) {
        if start < self.from {
            return;
        }
        let place = match self.places.entry(series) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let Some(name) = name() else { return };
                self.is_news = true;
                let place = self.free.pop().unwrap_or(self.names.len());
                let taken = place..self.names.len().min(place + 1);
                self.names.splice(taken.clone(), [name]);
                self.ranks.splice(taken, [(0, start)]);
                *vacant.insert(place)
            }
        };
        let last = &mut self.ranks[place].1;
        *last = (*last).max(start);
        // Those of a start that were put to the rest meanwhile are taken up again.
        if self.latest.0 != start || self.latest.1.is_empty() {
            self.file();
            self.latest = (start, self.said.remove(&start).unwrap_or_default());
        }
        self.latest.1.push((place, new));
    }

    /// Puts what was said last to the rest.
    fn file(&mut self) {
        let (start, mut said) = (self.latest.0, std::mem::take(&mut self.latest.1));
        if !said.is_empty() {
            self.said.entry(start).or_default().append(&mut said);
        }
    }

    /// Writes the rows of the buckets that start before `settled`; how many.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, settled: Time, out: &mut dyn Write) -> io::Result<u64> {
        let mut written = 0;
        self.file();
        while let Some(oldest) = self.said.first_entry().filter(|oldest| *oldest.key() < settled) {
            let (start, said) = oldest.remove_entry();
            self.rank();
            let Self { policy, ranks, fields: (fields, ends), room: (order, text), .. } = self;
            let start = instant::format(start);
            text.clear();
            by_rank(&said, ranks, ends.len(), order);
            for (rank, i) in order.iter() {
                let (rank, Some((_, Some(verdict)))) = (*rank, said.get(*i)) else { continue };
                let begin = rank.checked_sub(1).map_or(0, |before| ends[before]);
                [&start, &fields[begin..ends[rank]]].iter().for_each(|part| text.push_str(part));
                field(text, verdict.bucket.aggregate.map(|aggregate| aggregate.mean.0));
                scores(text, Some(verdict), &start, policy);
                text.push('\n');
                written += 1;
            }
            out.write_all(text.as_bytes())?;
        }
        self.forget(self.said.first_key_value().map_or(settled, |oldest| *oldest.0));
        Ok(written)
    }

    /// Lets go of names that no bucket from `first` on was said of, once there are many.
    fn forget(&mut self, first: Time) {
        if self.places.len() <= 2 * self.kept.max(NAMES_MIN) {
            return;
        }
        let Self { places, ranks, free, .. } = self;
        places.retain(|_, place| {
            let is_said = ranks[*place].1 >= first;
            free.extend((!is_said).then_some(*place));
            is_said
        });
        self.kept = self.places.len();
    }

    /// Finds the order of the names, where there are more than the last time.
    fn rank(&mut self) {
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        let mut order: Vec<usize> = self.places.values().copied().collect();
        order.sort_by(|one, other| self.names[*one].cmp(&self.names[*other]));
        let (fields, ends) = &mut self.fields;
        fields.clear();
        ends.clear();
        for (rank, place) in order.into_iter().enumerate() {
            self.ranks[place].0 = rank;
            add_fields(fields, &self.names[place]);
            ends.push(fields.len());
        }
    }
}

/// The last words on series, in the order of their names: each name's rank, and where its word stands. So many names have a rank.
fn by_rank(said: &Said, ranks: &[(usize, Time)], names: usize, order: &mut Vec<(usize, usize)>) {
    order.clear();
    if said.len() * SPARSE < names {
        order.extend(said.iter().enumerate().map(|(i, (place, _))| (ranks[*place].0, i)));
        order.sort_unstable_by_key(|(rank, i)| (*rank, std::cmp::Reverse(*i)));
        order.dedup_by_key(|(rank, _)| *rank);
    } else {
        order.extend((0..names).map(|rank| (rank, usize::MAX)));
        said.iter().enumerate().for_each(|(i, (place, _))| order[ranks[*place].0].1 = i);
    }
}

/// Adds entity and metric between commas, quoted where they must be.
fn add_fields(text: &mut String, name: &SeriesName) {
    let is_plain = |field: &str| !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte));
    if is_plain(&name.entity_id) && is_plain(&name.metric) {
        [",", &name.entity_id, ",", &name.metric, ","].iter().for_each(|part| text.push_str(part));
        return;
    }
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    // Memory takes what is written to it.
    let _ = writer.write_record([&name.entity_id, &name.metric]);
    let record = writer.into_inner().unwrap_or_default();
    [",", String::from_utf8_lossy(&record).trim_end_matches('\n'), ","].iter().for_each(|part| text.push_str(part));
}

/// Writes rows while a run goes on.
pub struct Written<'a> {
    inside: Mutex<(Rows, Box<dyn Write + Send>, io::Result<u64>)>,
    /// Set when nothing more can be written.
    stop: &'a AtomicBool,
}

impl<'a> Written<'a> {
    /// Rows that go to `out`, header first, which sets `stop` if it takes no more.
    pub fn new(rows: Rows, mut out: Box<dyn Write + Send>, stop: &'a AtomicBool) -> Self {
        let outcome = out.write_all(header().as_bytes()).map(|()| 0);
        Self { inside: Mutex::new((rows, out, outcome)), stop }
    }

    /// Writes what is left, if the run has come to its end, or else only what can change no more; the number of rows.
    ///
    /// # Errors
    /// What could not be written, now or before.
    pub fn finish(self, is_whole: bool) -> io::Result<u64> {
        let (mut rows, mut out, outcome) = self.inside.into_inner().expect("no holder panics");
        let until = if is_whole { Time::MAX } else { Time::MIN };
        let count = outcome.and_then(|before| Ok(before + rows.write(until, &mut *out)?))?;
        out.flush()?;
        Ok(count)
    }
}

impl Observer for Written<'_> {
    fn verdict(&self, change: &Change, name: &dyn Fn() -> Option<SeriesName>, _: f64) {
        let Some(Verdict { bucket, .. }) = change.new.or(change.old) else { return };
        self.inside.lock().expect("no holder panics").0.take(bucket.series(), bucket.start, change.new, name);
    }

    fn settled(&self, before: Time) {
        let mut inside = self.inside.lock().expect("no holder panics");
        let (rows, out, outcome) = &mut *inside;
        if let Ok(written) = outcome {
            *outcome = rows.write(before, &mut **out).map(|more| *written + more);
            self.stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
        }
    }

    fn provisional(&self, _: &SeriesName, _: &Provisional, _: f64) {}
    fn provisional_withdrawn(&self, _: &SeriesName, _: Time, _: &str) {}
    fn incident(&self, _: &NamedIncident, _: Option<&Incident>) {}
    fn incident_withdrawn(&self, _: &NamedIncident, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Aggregate, Bucket, Number, Score};

    fn verdict(name: &SeriesName, start: Time, mean: f64) -> Verdict {
        let (mean, zero) = (Number(mean), Number(0.0));
        let aggregate = Some(Aggregate { count: 3, mean, min: mean, max: mean, stddev: zero });
        let bucket = Bucket { entity: name.entity(), metric: dataflows::MetricId::of(&name.metric), start, aggregate };
        Verdict { bucket, score: Some(Score { expected: zero, sigma: Number(1.0), z_score: mean }), state: State::Normal }
    }

    #[test]
    fn a_flood_of_names_is_let_go_of() {
        let (mut rows, mut out) = (Rows::new(Policy::default(), 0), Vec::new());
        let mut written = 0;
        for bucket in 0..100 {
            let start = bucket * 300_000;
            for i in 0..1000 {
                // Half of the pods are new each time.
                let pod = if i < 500 { i } else { i + 1000 * bucket };
                let name = SeriesName::new("pod", &format!("{pod:07}"), "cpu");
                rows.take(name.id(), start, Some(verdict(&name, start, 1.0)), || Some(name.clone()));
            }
            written += rows.write(start, &mut out).unwrap();
        }
        written += rows.write(Time::MAX, &mut out).unwrap();
        assert!(rows.names.len() <= 2 * NAMES_MIN + 1000, "{} names", rows.names.len());
        assert_eq!(written, 100_000);
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().map(|line| line.split(",cpu,").next().unwrap()).is_sorted());
    }

    /// Failed once: what was said of a bucket before a write that did not reach it was lost where the next word was of the same bucket.
    #[test]
    fn words_before_and_after_a_write_are_of_one_bucket() {
        let (mut rows, mut out) = (Rows::new(Policy::default(), 0), Vec::new());
        let names = ["a", "b"].map(|entity| SeriesName::new("server", entity, "cpu"));
        let take = |rows: &mut Rows, place: usize, start: Time, mean: f64| {
            rows.take(names[place].id(), start, Some(verdict(&names[place], start, mean)), || Some(names[place].clone()));
        };
        take(&mut rows, 0, 300_000, 1.0);
        take(&mut rows, 1, 300_000, 2.0);
        assert_eq!(rows.write(300_000, &mut out).unwrap(), 0);
        take(&mut rows, 0, 300_000, 9.0);
        assert_eq!(rows.write(300_000, &mut out).unwrap(), 0);
        take(&mut rows, 0, 600_000, 3.0);
        assert_eq!(rows.write(Time::MAX, &mut out).unwrap(), 3);
        let text = String::from_utf8(out).unwrap();
        let means: Vec<&str> = text.lines().map(|line| line.split(',').nth(3).unwrap()).collect();
        assert_eq!(means, ["9", "2", "3"]);
    }

    #[test]
    fn few_of_many_names_come_in_the_same_order() {
        let (mut rows, mut out) = (Rows::new(Policy::default(), 0), Vec::new());
        let names: Vec<SeriesName> = (0..100).map(|i| SeriesName::new("server", &format!("{:02}", i * 37 % 100), "cpu")).collect();
        let take = |rows: &mut Rows, name: &SeriesName, start: Time, mean: f64| {
            rows.take(name.id(), start, Some(verdict(name, start, mean)), || Some(name.clone()));
        };
        names.iter().for_each(|name| take(&mut rows, name, 0, 1.0));
        names[..9].iter().for_each(|name| take(&mut rows, name, 300_000, 1.0));
        take(&mut rows, &names[0], 300_000, 7.0);
        assert_eq!(rows.write(Time::MAX, &mut out).unwrap(), 109);
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().is_sorted());
        assert!(text.contains("1970-01-01T00:05:00Z,00,cpu,7,") && !text.contains("1970-01-01T00:05:00Z,00,cpu,1,"));
    }

    #[test]
    fn rows_come_by_time_and_name_and_the_last_word_holds() {
        let (mut rows, mut out) = (Rows::new(Policy::default(), 300_000), Vec::new());
        let names = ["b", "a,1"].map(|entity| SeriesName::new("server", entity, "cpu"));
        let mut take = |name: &SeriesName, start: Time, mean: Option<f64>| {
            rows.take(name.id(), start, mean.map(|mean| verdict(name, start, mean)), || Some(name.clone()));
        };
        take(&names[0], 0, Some(9.0));
        take(&names[0], 600_000, Some(1.0));
        take(&names[0], 300_000, Some(1.5));
        take(&names[1], 300_000, Some(2.0));
        take(&names[0], 300_000, Some(2.5));
        take(&names[1], 600_000, Some(1.0));
        take(&names[1], 600_000, None);
        assert_eq!(rows.write(600_000, &mut out).unwrap(), 2);
        assert_eq!(rows.write(600_000, &mut out).unwrap(), 0);
        assert_eq!(rows.write(Time::MAX, &mut out).unwrap(), 1);
        let text = String::from_utf8(out).unwrap();
        let begins: Vec<&str> = text.lines().map(|line| line.split(",0,").next().unwrap()).collect();
        let expected = ["1970-01-01T00:05:00Z,\"a,1\",cpu,2", "1970-01-01T00:05:00Z,b,cpu,2.5", "1970-01-01T00:10:00Z,b,cpu,1"];
        assert_eq!(begins, expected);
        let columns = header().trim_end().split(',').count();
        assert!(text.lines().skip(1).all(|line| line.split(',').count() == columns), "{text}");
    }
}
