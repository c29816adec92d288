//! Verdicts as rows, by time and name, each written once it can change no more.

use super::sheet::{Row, Sheet};
use crate::history::Change;
use crate::history::incident::NamedIncident;
use crate::instant;
use crate::run::Observer;
use crate::series::SeriesName;
use dataflows::identity::HashedMap;
use dataflows::{Bucket, Incident, Policy, Provisional, SeriesId, Time, Verdict};
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Words on buckets, each with the place of its series among the names.
type Said = Vec<(usize, Option<Verdict>)>;

/// Rows that may still change.
pub struct Rows {
    from: Time,
    /// What was said of the buckets that start then, the last word last; a bucket that is no more has none.
    said: BTreeMap<Time, Said>,
    /// The same of the buckets of which something was said last: nearly always the next word is of one of them.
    latest: (Time, Said),
    places: HashedMap<SeriesId, usize>,
    names: Vec<SeriesName>,
    /// By place: which of the names in their order it is, and the last bucket that was said of it.
    ranks: Vec<(usize, Time)>,
    ranked: Ranked,
    /// Places in `names` that nobody has.
    free: Vec<usize>,
    /// Whether there are names that have no rank yet.
    is_news: bool,
    /// Half the number at which names that were not said for long are let go.
    kept: usize,
    /// Room for the order of the rows of a bucket, and for what is said of the next ones: to ask the system for it anew costs as much as to fill it.
    room: (Vec<(usize, usize)>, Vec<Said>),
}

/// Where fewer than one of so many names was said, it is quicker to put in order what was said than to go through all names.
const SPARSE: usize = 8;

/// The buckets of one commit, as many as a file is read in.
const ROOMS_MAX: usize = 8;

/// Fewer names are not worth forgetting.
const NAMES_MIN: usize = 10_000;

impl Rows {
    /// Rows for the buckets that start at or after `from`.
    pub fn new(from: Time) -> Self {
        Self {
            from,
            said: BTreeMap::new(),
            latest: (from, Vec::new()),
            places: HashedMap::default(),
            names: Vec::new(),
            ranks: Vec::new(),
            ranked: Ranked::default(),
            free: Vec::new(),
            is_news: false,
            kept: 0,
            room: (Vec::new(), Vec::new()),
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
            self.latest = (start, self.said.remove(&start).or_else(|| self.room.1.pop()).unwrap_or_default());
        }
        self.latest.1.push((place, new));
    }

    /// Puts what was said last to the rest.
    fn file(&mut self) {
        let (start, said) = (self.latest.0, std::mem::take(&mut self.latest.1));
        match self.said.get_mut(&start) {
            Some(before) => before.extend(said),
            None if said.is_empty() => {}
            None => _ = self.said.insert(start, said),
        }
    }

    /// Adds the rows of the buckets that start before `settled` to a sheet; how many.
    ///
    /// # Errors
    /// Those of the sheet.
    pub fn write(&mut self, settled: Time, sheet: &mut dyn Sheet) -> io::Result<u64> {
        let mut written = 0;
        self.file();
        while let Some(oldest) = self.said.first_entry().filter(|oldest| *oldest.key() < settled) {
            let (start, mut said) = oldest.remove_entry();
            self.rank();
            let Self { ranks, ranked, room: (order, rooms), .. } = self;
            let text = instant::format(start);
            by_rank(&said, ranks, ranked.places.len(), order);
            for (rank, i) in order.iter() {
                let Some((_, Some(verdict))) = said.get(*i) else { continue };
                let (entity, metric) = ranked.name(*rank);
                sheet.add(&Row { time: (start, &text), entity, metric, value: None, verdict: Some((verdict, &text)) })?;
                written += 1;
            }
            // Room of which half was not needed is given back.
            let is_large = said.capacity() > 2 * said.len();
            said.clear();
            if rooms.len() < ROOMS_MAX && !is_large {
                rooms.push(said);
            }
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
        self.ranked.clear();
        for (rank, place) in order.into_iter().enumerate() {
            self.ranks[place].0 = rank;
            self.ranked.add(&self.names[place]);
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

/// The names in their order, one after the other: so they are written.
#[derive(Default)]
struct Ranked {
    text: String,
    /// Of each name: where the entity begins, where the metric does, and where that ends.
    places: Vec<[usize; 3]>,
}

impl Ranked {
    fn clear(&mut self) {
        self.text.clear();
        self.places.clear();
    }

    fn add(&mut self, SeriesName { entity_id, metric, .. }: &SeriesName) {
        let entity = self.text.len();
        self.text.push_str(entity_id);
        let middle = self.text.len();
        self.text.push_str(metric);
        self.places.push([entity, middle, self.text.len()]);
    }

    /// An entity and a metric.
    fn name(&self, rank: usize) -> (&str, &str) {
        let [entity, metric, end] = self.places[rank];
        (&self.text[entity..metric], &self.text[metric..end])
    }
}

/// Writes rows while a run goes on.
pub struct Written<'a> {
    inside: Mutex<(Rows, Box<dyn Sheet>, io::Result<u64>)>,
    /// Set when nothing more can be written.
    stop: &'a AtomicBool,
}

impl<'a> Written<'a> {
    /// Rows that go to `sheet`, which sets `stop` if it takes no more.
    pub fn new(rows: Rows, sheet: Box<dyn Sheet>, stop: &'a AtomicBool) -> Self {
        Self { inside: Mutex::new((rows, sheet, Ok(0))), stop }
    }

    /// Writes what is left of the buckets that start before `until`; the number of all rows.
    ///
    /// # Errors
    /// What could not be written, now or before.
    pub fn finish(self, until: Time) -> io::Result<u64> {
        let (mut rows, mut sheet, outcome) = self.inside.into_inner().expect("no holder panics");
        let count = outcome.and_then(|before| Ok(before + rows.write(until, &mut *sheet)?))?;
        sheet.finish()?;
        Ok(count)
    }
}

impl Observer for Written<'_> {
    fn verdicts<'a>(&self, changes: &mut dyn Iterator<Item = &'a Change>, name: &dyn Fn(&Bucket) -> Option<SeriesName>, _: &Policy) {
        let rows = &mut self.inside.lock().expect("no holder panics").0;
        for change in changes {
            if let Some(Verdict { bucket, .. }) = change.latest() {
                rows.take(bucket.series(), bucket.start, change.new, || name(bucket));
            }
        }
    }

    fn settled(&self, before: Time) {
        let mut inside = self.inside.lock().expect("no holder panics");
        let (rows, sheet, outcome) = &mut *inside;
        if let Ok(written) = outcome {
            *outcome = rows.write(before, &mut **sheet).map(|more| *written + more);
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
    use super::super::sheet::{Column, Csv};
    use super::*;
    use dataflows::{Aggregate, Number, Score, State};
    use std::io::Write;
    use std::sync::Arc;

    /// Memory that a sheet writes to.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn sheet(&self) -> Csv {
            Csv::new(Box::new(self.clone()), Column::all(), Policy::default()).unwrap()
        }

        /// The lines behind the header.
        fn text(&self, mut sheet: Csv) -> String {
            sheet.finish().unwrap();
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.split_once('\n').unwrap().1.into()
        }
    }

    fn verdict(name: &SeriesName, start: Time, mean: f64) -> Verdict {
        let (mean, zero) = (Number(mean), Number(0.0));
        let aggregate = Some(Aggregate { count: 3, mean, min: mean, max: mean, stddev: zero });
        let bucket = Bucket { entity: name.entity(), metric: dataflows::MetricId::of(&name.metric), start, aggregate };
        Verdict { bucket, score: Some(Score { expected: zero, sigma: Number(1.0), z_score: mean }), state: State::Normal }
    }

    #[test]
    fn a_flood_of_names_is_let_go_of() {
        let (mut rows, paper) = (Rows::new(0), Paper::default());
        let mut sheet = paper.sheet();
        let mut written = 0;
        for bucket in 0..100 {
            let start = bucket * 300_000;
            for i in 0..1000 {
                // Half of the pods are new each time.
                let pod = if i < 500 { i } else { i + 1000 * bucket };
                let name = SeriesName::new("pod", &format!("{pod:07}"), "cpu");
                rows.take(name.id(), start, Some(verdict(&name, start, 1.0)), || Some(name.clone()));
            }
            written += rows.write(start, &mut sheet).unwrap();
        }
        written += rows.write(Time::MAX, &mut sheet).unwrap();
        assert!(rows.names.len() <= 2 * NAMES_MIN + 1000, "{} names", rows.names.len());
        assert_eq!(written, 100_000);
        let text = paper.text(sheet);
        assert!(text.lines().map(|line| line.split(",cpu,").next().unwrap()).is_sorted());
    }

    /// Failed once: what was said of a bucket before a write that did not reach it was lost where the next word was of the same bucket.
    #[test]
    fn words_before_and_after_a_write_are_of_one_bucket() {
        let (mut rows, paper) = (Rows::new(0), Paper::default());
        let mut sheet = paper.sheet();
        let names = ["a", "b"].map(|entity| SeriesName::new("server", entity, "cpu"));
        let take = |rows: &mut Rows, place: usize, start: Time, mean: f64| {
            rows.take(names[place].id(), start, Some(verdict(&names[place], start, mean)), || Some(names[place].clone()));
        };
        take(&mut rows, 0, 300_000, 1.0);
        take(&mut rows, 1, 300_000, 2.0);
        assert_eq!(rows.write(300_000, &mut sheet).unwrap(), 0);
        take(&mut rows, 0, 300_000, 9.0);
        assert_eq!(rows.write(300_000, &mut sheet).unwrap(), 0);
        take(&mut rows, 0, 600_000, 3.0);
        assert_eq!(rows.write(Time::MAX, &mut sheet).unwrap(), 3);
        let text = paper.text(sheet);
        let means: Vec<&str> = text.lines().map(|line| line.split(',').nth(3).unwrap()).collect();
        assert_eq!(means, ["9", "2", "3"]);
    }

    #[test]
    fn few_of_many_names_come_in_the_same_order() {
        let (mut rows, paper) = (Rows::new(0), Paper::default());
        let mut sheet = paper.sheet();
        let names: Vec<SeriesName> = (0..100).map(|i| SeriesName::new("server", &format!("{:02}", i * 37 % 100), "cpu")).collect();
        let take = |rows: &mut Rows, name: &SeriesName, start: Time, mean: f64| {
            rows.take(name.id(), start, Some(verdict(name, start, mean)), || Some(name.clone()));
        };
        names.iter().for_each(|name| take(&mut rows, name, 0, 1.0));
        names[..9].iter().for_each(|name| take(&mut rows, name, 300_000, 1.0));
        take(&mut rows, &names[0], 300_000, 7.0);
        assert_eq!(rows.write(Time::MAX, &mut sheet).unwrap(), 109);
        let text = paper.text(sheet);
        assert!(text.lines().is_sorted());
        assert!(text.contains("1970-01-01T00:05:00Z,00,cpu,7,") && !text.contains("1970-01-01T00:05:00Z,00,cpu,1,"));
    }

    #[test]
    fn rows_come_by_time_and_name_and_the_last_word_holds() {
        let (mut rows, paper) = (Rows::new(300_000), Paper::default());
        let mut sheet = paper.sheet();
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
        assert_eq!(rows.write(600_000, &mut sheet).unwrap(), 2);
        assert_eq!(rows.write(600_000, &mut sheet).unwrap(), 0);
        assert_eq!(rows.write(Time::MAX, &mut sheet).unwrap(), 1);
        let text = paper.text(sheet);
        let begins: Vec<&str> = text.lines().map(|line| line.split(",0,").next().unwrap()).collect();
        let expected = ["1970-01-01T00:05:00Z,\"a,1\",cpu,2", "1970-01-01T00:05:00Z,b,cpu,2.5", "1970-01-01T00:10:00Z,b,cpu,1"];
        assert_eq!(begins, expected);
        assert!(text.lines().skip(1).all(|line| line.split(',').count() == Column::all().len()), "{text}");
    }
}
