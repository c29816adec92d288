//! Labelled stretches and alarms, counted as Hundman et al. do (KDD 2018, "Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic
//! Thresholding"): a labelled stretch is found if any alarm meets it, and an alarm is false if it meets none.
//!
//! What is ours, and what other measurements of this kind mostly do as well: an alarm [`SLACK`] buckets beside a labelled stretch still meets it, labels
//! with no more than [`GAP`] buckets between them are one, flagged buckets likewise one alarm, and one that goes on is told again after [`AGAIN`].

use crate::series::SeriesName;
use dataflows::Time;
use std::collections::BTreeMap;

/// An alarm so many buckets before or after a labelled stretch still meets it.
const SLACK: Time = 2;
/// So many buckets in between do not part labels or flags.
const GAP: Time = 3;
/// An alarm that goes on for so many buckets is another alarm.
const AGAIN: Time = 12;

/// A labelled stretch: the starts of its first and of its last bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// The start of the first bucket.
    pub first: Time,
    /// That of the last.
    pub last: Time,
}

impl Stretch {
    /// Stretches in order, those near one another as one.
    pub fn merged(mut stretches: Vec<Self>, width: Time) -> Vec<Self> {
        stretches.sort_unstable();
        let mut merged: Vec<Self> = Vec::new();
        for stretch in stretches {
            match merged.last_mut() {
                Some(before) if stretch.first - before.last <= (GAP + 1) * width => before.last = before.last.max(stretch.last),
                _ => merged.push(stretch),
            }
        }
        merged
    }

    /// Whether something from the bucket `first` to the bucket `last` meets it.
    pub fn is_met(&self, first: Time, last: Time, width: Time) -> bool {
        first <= self.last + SLACK * width && last >= self.first - SLACK * width
    }
}

/// So many buckets lie between the first and the last of these, both included.
pub fn watched(mut starts: impl DoubleEndedIterator<Item = Time>, width: Time) -> u64 {
    let Some(first) = starts.next() else { return 0 };
    ((starts.next_back().unwrap_or(first) - first) / width).unsigned_abs() + 1
}

/// A series whose buckets were judged, and what is labelled of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Which.
    pub series: SeriesName,
    /// The starts of its buckets with samples, in order, each with |z|: 0 where there is none, or where the deviation is too small to count.
    pub scores: Vec<(Time, f64)>,
    /// Buckets that were flagged, in order.
    pub flagged: Vec<Time>,
    /// Labelled stretches of its own.
    pub labelled: Vec<Stretch>,
    /// Labelled stretches of its entity as a whole.
    pub labelled_of_entity: Vec<Stretch>,
    /// Stretches that need not be found, and may be flagged.
    pub asides: Vec<Stretch>,
    /// Labelled stretches of its own by what they are, as far as somebody said so, each by itself.
    pub kinds: Vec<(String, Stretch)>,
}

/// Labelled stretches and alarms, added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count {
    /// Series that were looked at.
    pub series: u64,
    /// Buckets from the first one with samples to the last, also those in between in which none were due: a day is a day.
    pub buckets: u64,
    /// Labelled stretches that lie where buckets are.
    pub labelled: u64,
    /// Those among them that were found.
    pub found: u64,
    /// From the beginning of each stretch that was found to its first flagged bucket, in milliseconds; 0 where that came before.
    pub delays: Vec<Time>,
    /// Alarms.
    pub alarms: u64,
    /// Those among them that meet no labelled stretch.
    pub false_alarms: u64,
}

impl Count {
    fn add_stretch(&mut self, stretch: &Stretch, hit: Option<Time>) {
        self.labelled += 1;
        self.found += u64::from(hit.is_some());
        self.delays.extend(hit.map(|hit| (hit - stretch.first).max(0)));
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        self.series += other.series;
        self.buckets += other.buckets;
        self.labelled += other.labelled;
        self.found += other.found;
        self.delays.extend(&other.delays);
        self.alarms += other.alarms;
        self.false_alarms += other.false_alarms;
    }
}

/// Counts by metric, with `flagged` as the flags of each series. Labelled stretches of entities as a whole are found if any series of theirs finds them,
/// and are counted under no metric (`None`).
pub fn count<'a>(judged: &[&'a Judged], width: Time, flagged: impl Fn(&'a Judged) -> Vec<Time>) -> BTreeMap<Option<&'a str>, Count> {
    let mut counts: BTreeMap<Option<&str>, Count> = BTreeMap::new();
    let mut entities: BTreeMap<(&str, &str, Stretch), Option<Time>> = BTreeMap::new();
    for series in judged {
        let flags = flagged(series);
        let count = counts.entry(Some(&series.series.metric)).or_default();
        count.series += 1;
        count.buckets += series.buckets(width);
        for stretch in series.labelled.iter().filter(|stretch| series.has_buckets_in(stretch)) {
            count.add_stretch(stretch, first_hit(stretch, &flags, width));
        }
        let labelled = || series.labelled.iter().chain(&series.labelled_of_entity).chain(&series.asides);
        for alarm in alarms(&flags, width) {
            let is_true = alarm.iter().any(|start| labelled().any(|stretch| stretch.is_met(*start, *start, width)));
            count.alarms += 1;
            count.false_alarms += u64::from(!is_true);
        }
        for stretch in series.labelled_of_entity.iter().filter(|stretch| series.has_buckets_in(stretch)) {
            let known = entities.entry((&series.series.entity_type, &series.series.entity_id, *stretch)).or_default();
            *known = known.iter().copied().chain(first_hit(stretch, &flags, width)).min();
        }
    }
    for ((_, _, stretch), hit) in entities {
        counts.entry(None).or_default().add_stretch(&stretch, hit);
    }
    counts
}

/// Labelled stretches by what they are, with `flagged` as the flags of each series; alarms are of no kind.
pub fn count_kinds<'a>(judged: &[&'a Judged], width: Time, flagged: impl Fn(&'a Judged) -> Vec<Time>) -> BTreeMap<&'a str, Count> {
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for series in judged.iter().filter(|series| !series.kinds.is_empty()) {
        let flags = flagged(series);
        for (kind, stretch) in series.kinds.iter().filter(|(_, stretch)| series.has_buckets_in(stretch)) {
            counts.entry(kind).or_default().add_stretch(stretch, first_hit(stretch, &flags, width));
        }
    }
    counts
}

impl Judged {
    /// So many buckets it was watched for.
    fn buckets(&self, width: Time) -> u64 {
        watched(self.scores.iter().map(|score| score.0), width)
    }

    /// Its buckets that score as high, in order.
    pub(super) fn at(&self, threshold: f64) -> Vec<Time> {
        self.scores.iter().filter(|(_, score)| *score >= threshold).map(|(start, _)| *start).collect()
    }

    fn has_buckets_in(&self, stretch: &Stretch) -> bool {
        let from = self.scores.partition_point(|(start, _)| *start < stretch.first);
        self.scores.get(from).is_some_and(|(start, _)| *start <= stretch.last)
    }
}

fn first_hit(stretch: &Stretch, flags: &[Time], width: Time) -> Option<Time> {
    let from = flags.partition_point(|start| *start < stretch.first - SLACK * width);
    flags.get(from).copied().filter(|start| stretch.is_met(*start, *start, width))
}

/// The flagged buckets, alarm by alarm.
fn alarms(flags: &[Time], width: Time) -> Vec<&[Time]> {
    let mut alarms = Vec::new();
    let mut begin = 0;
    for i in 0..flags.len() {
        let goes_on = |next: &Time| next - flags[i] <= (GAP + 1) * width && next - flags[begin] < AGAIN * width;
        if !flags.get(i + 1).is_some_and(goes_on) {
            alarms.push(&flags[begin..=i]);
            begin = i + 1;
        }
    }
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(metric: &str, flagged: &[Time], labelled: &[(Time, Time)], labelled_of_entity: &[(Time, Time)]) -> Judged {
        let stretches = |all: &[(Time, Time)]| all.iter().map(|(first, last)| Stretch { first: *first, last: *last }).collect();
        Judged {
            series: SeriesName::new("server", "a", metric),
            scores: (0..100).map(|start| (start, 0.0)).collect(),
            flagged: flagged.to_vec(),
            labelled: stretches(labelled),
            labelled_of_entity: stretches(labelled_of_entity),
            asides: Vec::new(),
            kinds: Vec::new(),
        }
    }

    fn counted(series: &[Judged]) -> BTreeMap<Option<&str>, Count> {
        count(&series.iter().collect::<Vec<_>>(), 1, |series| series.flagged.clone())
    }

    #[test]
    fn a_series_is_watched_from_its_first_bucket_to_its_last_however_few_lie_between() {
        let mut sparse = judged("cpu", &[], &[], &[]);
        assert_eq!(sparse.buckets(1), 100);
        sparse.scores.retain(|(start, _)| start % 33 == 0);
        assert_eq!((sparse.scores.len(), sparse.buckets(1), sparse.buckets(3)), (4, 100, 34));
        sparse.scores.clear();
        assert_eq!(sparse.buckets(1), 0);
    }

    #[test]
    fn an_alarm_beside_a_stretch_meets_it_and_one_further_off_is_false() {
        let series = [judged("cpu", &[8, 30, 53], &[(10, 12), (40, 41), (50, 50)], &[])];
        let count = &counted(&series)[&Some("cpu")];
        assert_eq!((count.labelled, count.found, count.alarms, count.false_alarms), (3, 1, 3, 2));
        assert_eq!(count.delays, [0]);
    }

    #[test]
    fn flags_near_one_another_are_one_alarm_that_is_told_again_after_an_hour() {
        assert_eq!(alarms(&[1, 5, 9, 14], 1), [&[1, 5, 9][..], &[14]]);
        let lasting: Vec<Time> = (0..30).collect();
        assert_eq!(alarms(&lasting, 1).iter().map(|alarm| alarm.len()).collect::<Vec<_>>(), [12, 12, 6]);
        let series = [judged("cpu", &lasting, &[(20, 20)], &[])];
        let count = &counted(&series)[&Some("cpu")];
        assert_eq!((count.found, count.alarms, count.false_alarms, count.delays[0]), (1, 3, 2, 0));
    }

    #[test]
    fn a_stretch_of_an_entity_is_one_whichever_of_its_metrics_shows_it() {
        let series = [judged("cpu", &[], &[], &[(10, 20)]), judged("fan", &[14], &[], &[(10, 20)])];
        let counts = counted(&series);
        assert_eq!((counts[&None].labelled, counts[&None].found, &counts[&None].delays), (1, 1, &vec![4]));
        assert_eq!((counts[&Some("fan")].labelled, counts[&Some("fan")].false_alarms), (0, 0));
    }

    /// Failed once: a host whose worst metric speaks for the others had found one of fourteen.
    #[test]
    fn what_stands_aside_is_neither_missed_nor_falsely_flagged() {
        let aside = |flagged: &[Time]| Judged { asides: vec![Stretch { first: 10, last: 20 }], ..judged("cpu", flagged, &[(60, 60)], &[]) };
        let count = |series: Judged| counted(&[series])[&Some("cpu")].clone();
        let (quiet, told) = (count(aside(&[])), count(aside(&[14])));
        assert_eq!((quiet.labelled, quiet.found, quiet.false_alarms), (1, 0, 0));
        assert_eq!((told.labelled, told.found, told.alarms, told.false_alarms), (1, 0, 1, 0));
    }

    #[test]
    fn a_stretch_where_nothing_was_measured_does_not_count() {
        let series = [judged("cpu", &[], &[(200, 210)], &[])];
        assert_eq!(counted(&series)[&Some("cpu")].labelled, 0);
    }
}
