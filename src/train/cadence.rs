//! When a series usually has samples, from the buckets in which it had some: see [`dataflows::Cadence`].
//!
//! A phase is *due* where most days, or nearly all, had samples in it: a job has a plan, such as each hour, each night or each working day. A plan counts if
//! most samples came by it and it would have missed the series on few days only. A series without one comes now and then, and is late once it has been
//! silent for twice as long as is usual.

use super::grid::Grid;
use dataflows::cadence::{Phases, early, is_overdue};
use dataflows::{Cadence, Time};

/// With fewer days everything that came once looks like a plan.
const DAYS_MIN: usize = 3;

/// Days of rest have a plan of their own where there were so many of them, and of the others.
const KIND_DAYS_MIN: usize = 2;

/// A phase is due in nearly all days though it was missed on one of so many, or on one of at least four: an outage, or a holiday.
const MISSED: (usize, usize) = (10, 4);

/// By a plan, so many buckets with samples come at least, and so many of a hundred...
const PLANNED: (usize, usize) = (5, 50);

/// ...and it would not have missed the series more often than once in so many days.
const MISS_DAYS: usize = 5;

/// Of a series without a plan, once in so many days, on average, a silence may be longer than is usual: those are outages, and no habit.
const OUTAGE_DAYS: usize = 3;

/// ...and no more often than each so many times that it comes.
const OUTAGE_SAMPLES: usize = 100;

/// It misses a series that is silent for so many buckets when some were due; fewer are the odd one.
const MISS_MIN: usize = 2;

/// From fewer distances nobody can tell what is usual.
const DISTANCES_MIN: usize = 20;

/// ...but one that came in more buckets than this in a row, and never was silent, is taken for one that is always there: a host that dies young is missed. A job that
/// runs for an hour at most is not, though nobody knows yet how often it comes.
const UNBROKEN_MIN: usize = 12;

/// What comes now and then is late after so many times its usual distance.
const PATIENCE: u32 = 2;

/// A bucket of the history: whether its day is one of rest, its phase, and whether there were samples.
struct Slot {
    kind: usize,
    phase: usize,
    is_seen: bool,
}

/// What is usual of a series that is too young for a model, and for a plan.
pub(super) fn of_young(grid: &Grid) -> Cadence {
    by_distance(&slots(grid), 0)
}

/// What is usual of a series.
pub(super) fn cadence(grid: &Grid) -> Cadence {
    if grid.observed() == grid.values.len() && grid.values.len() > DISTANCES_MIN {
        return Cadence::Steady;
    }
    let slots = slots(grid);
    let once_in = |days: usize| slots.len() / (days * grid.period.max(1));
    by_phase(&slots, (grid.period, grid.width), once_in(MISS_DAYS)).unwrap_or_else(|| by_distance(&slots, once_in(OUTAGE_DAYS)))
}

fn slots(grid: &Grid) -> Vec<Slot> {
    let slot = |i: usize| Slot {
        kind: usize::from(grid.calendar.is_rest(grid.time(i))),
        phase: grid.phase(i),
        is_seen: grid.values[i].is_finite(),
    };
    (0..grid.values.len()).map(slot).collect()
}

/// The plan of a series, if it has one.
fn by_phase(slots: &[Slot], (period, width): (usize, Time), misses_max: usize) -> Option<Cadence> {
    let mut kinds = [vec![(0, 0); period], vec![(0, 0); period]];
    for slot in slots {
        let (days, seen) = &mut kinds[slot.kind][slot.phase];
        *days += 1;
        *seen += usize::from(slot.is_seen);
    }
    let days = kinds.each_ref().map(|phases| phases.iter().map(|phase| phase.0).min().unwrap_or(0));
    if days.iter().sum::<usize>() < DAYS_MIN {
        return None;
    }
    if days.iter().any(|days| *days < KIND_DAYS_MIN) {
        let all: Vec<_> = kinds[0].iter().zip(&kinds[1]).map(|(one, other)| (one.0 + other.0, one.1 + other.1)).collect();
        kinds = [all.clone(), all];
    }
    // What most days had may be all of it, outages apart; if not, what nearly all had.
    // Two Sundays without the Saturday before are most days of rest, and no plan.
    let most = |(days, seen): (usize, usize)| 2 * seen > days && seen >= days.min(DAYS_MIN);
    let nearly_all = |(days, seen): (usize, usize)| {
        let missed_max = if days < MISSED.1 { 0 } else { (days / MISSED.0).max(1) };
        days > 0 && days - seen <= missed_max
    };
    let of = |is_due: &dyn Fn((usize, usize)) -> bool| kinds.each_ref().map(|phases| phases.iter().map(|phase| is_due(*phase)).collect());
    let plans = [of(&most), of(&nearly_all)].into_iter().map(|plan| (longest(&plan), plan));
    let mut fitting = plans.filter(|(longest, plan)| is_plan(plan, slots, early(*longest as usize, width), misses_max));
    fitting.next().map(|(longest, plan)| {
        let [weekday, weekend] = plan.each_ref().map(|due| stretches(due));
        let is_steady = plan.iter().flatten().all(|is_due| *is_due);
        if is_steady { Cadence::Steady } else { Cadence::Phases { weekday, weekend, longest } }
    })
}

/// Whether a series came by a plan, which says of each kind of day which phases are due.
fn is_plan(plan: &[Vec<bool>; 2], slots: &[Slot], early: usize, misses_max: usize) -> bool {
    let is_due = |slot: &Slot| plan[slot.kind][slot.phase];
    let seen = || slots.iter().filter(|slot| slot.is_seen);
    let planned = seen().filter(|slot| is_due(slot)).count();
    planned >= PLANNED.0 && 100 * planned >= PLANNED.1 * seen().count() && misses(slots, early, is_due) <= misses_max
}

/// The most buckets from one that is due to the next, in a week that goes round.
fn longest([weekday, weekend]: &[Vec<bool>; 2]) -> u32 {
    let week = || [weekday; 5].into_iter().chain([weekend; 2]).flatten();
    let due: Vec<usize> = week().chain(week()).enumerate().filter(|(_, is_due)| **is_due).map(|(place, _)| place).collect();
    due.windows(2).map(|pair| pair[1] - pair[0]).max().and_then(|longest| u32::try_from(longest).ok()).unwrap_or(0)
}

/// How often a series was silent for a while though samples were due.
fn misses(slots: &[Slot], early: usize, is_due: impl Fn(&Slot) -> bool) -> usize {
    let seen = (0..slots.len()).filter(|i| slots[*i].is_seen);
    let missed = |heard: usize, silence: usize| {
        let is_due = |after: usize| slots.get(heard + after).is_some_and(&is_due);
        (1..=silence).filter(|silent| is_overdue(*silent, early, is_due)).take(MISS_MIN).count()
    };
    let silences =
        seen.clone().zip(seen.skip(1)).map(|(heard, next)| (heard, next - heard - 1)).filter(|(_, silence)| *silence >= MISS_MIN);
    silences.filter(|(heard, silence)| missed(*heard, *silence) == MISS_MIN).count()
}

/// Of a series that comes now and then.
fn by_distance(slots: &[Slot], outages_max: usize) -> Cadence {
    let seen: Vec<usize> = (0..slots.len()).filter(|i| slots[*i].is_seen).collect();
    let mut distances: Vec<usize> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if distances.len() < DISTANCES_MIN {
        let is_steady = distances.len() >= UNBROKEN_MIN && distances.iter().all(|distance| *distance == 1);
        return if is_steady { Cadence::Steady } else { Cadence::Unknown };
    }
    distances.sort_unstable_by(|one, other| other.cmp(one));
    // Who never comes on days of rest is no longer silent than usual on those.
    let rests = || slots.iter().filter(|slot| slot.kind == 1);
    let is_idle_at_rest = rests().count() > 0 && rests().all(|slot| !slot.is_seen);
    let usual = if is_idle_at_rest { distances[0] } else { distances[outages_max.min(distances.len() / OUTAGE_SAMPLES)] };
    match u32::try_from(usual) {
        Ok(1) => Cadence::Steady,
        Ok(usual) => Cadence::Within(usual.saturating_mul(PATIENCE)),
        Err(_) => Cadence::Unknown,
    }
}

/// The stretches of phases that are due.
fn stretches(due: &[bool]) -> Phases {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut end = 0;
    let stretches = due.chunk_by(|one, next| one == next).map(|stretch| {
        end += stretch.len();
        (stretch[0], (count(end - stretch.len()), count(end)))
    });
    stretches.filter(|(is_due, _)| *is_due).map(|(_, stretch)| stretch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::{Calendar, SeriesId};
    use std::sync::Arc;

    const PERIOD: usize = 288;
    const HOUR: usize = 12;
    /// 2026-01-05T00:00:00Z, a Monday.
    const MONDAY: Time = 1_767_571_200_000;

    /// A history of so many days, from Monday on, that has samples in buckets by day and phase.
    fn of(days: usize, has: impl Fn(usize, usize) -> bool) -> Cadence {
        let values: Vec<f64> = (0..days * PERIOD).map(|i| if has(i / PERIOD, i % PERIOD) { 1.0 } else { f64::NAN }).collect();
        let [first, last] = [values.iter().position(|value| value.is_finite()), values.iter().rposition(|value| value.is_finite())];
        let (first, last) = (first.unwrap(), last.unwrap());
        let grid = Grid {
            series: SeriesId(1),
            start: MONDAY + 300_000 * Time::try_from(first).unwrap(),
            width: 300_000,
            period: PERIOD,
            calendar: Arc::new(Calendar::default()),
            anomalous: vec![false; last + 1 - first],
            values: values[first..=last].to_vec(),
            not_finite: false,
            metrics: 1,
            metric_type: None,
            broken_at: None,
            input_hash: 0,
        };
        cadence(&grid)
    }

    fn daily(phases: &[(u32, u32)]) -> Cadence {
        let (first, last) = (phases[0].0, phases[phases.len() - 1].1);
        let gaps = phases.windows(2).map(|pair| pair[1].0 + 1 - pair[0].1).chain([289 + first - last]);
        Cadence::Phases { weekday: phases.to_vec(), weekend: phases.to_vec(), longest: gaps.max().unwrap() }
    }

    /// A number that looks like chance, in 0..100.
    fn chance(day: usize, phase: usize) -> usize {
        let mixed = (day * PERIOD + phase + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) % 10_007 % 100
    }

    #[test]
    fn a_series_that_is_nearly_always_there_is_steady_outages_or_not() {
        assert_eq!(of(14, |_, _| true), Cadence::Steady);
        assert_eq!(of(2, |_, _| true), Cadence::Steady);
        assert_eq!(of(14, |day, phase| chance(day, phase) > 0), Cadence::Steady, "one bucket of a hundred is not there");
        assert_eq!(of(14, |day, phase| !(day % 4 == 1 && phase / HOUR == 3 * day)), Cadence::Steady, "three outages of an hour");
        assert_eq!(of(14, |day, _| day != 5 && day != 9), Cadence::Steady, "two days without");
    }

    #[test]
    fn a_plan_is_found_by_the_hour_by_night_and_by_working_days() {
        let hours: Vec<(u32, u32)> = (0..24).map(|hour| (12 * hour + 1, 12 * hour + 2)).collect();
        assert_eq!(of(14, |_, phase| phase % HOUR == 1), daily(&hours));
        assert_eq!(of(14, |day, phase| phase % HOUR == 1 && (day, phase) != (6, 121)), daily(&hours), "missed once");
        assert_eq!(of(14, |_, phase| (24..48).contains(&phase)), daily(&[(24, 48)]));
        let until = |day: usize| 48 + 2 * (day % 3);
        assert_eq!(of(14, |day, phase| (24..until(day)).contains(&phase)), daily(&[(24, 48)]), "it takes longer now and then");
        assert_eq!(of(14, |day, phase| phase == 30 && day != 8), daily(&[(30, 31)]), "once a night");
        let working = Cadence::Phases { weekday: vec![(96, 216)], weekend: vec![], longest: 62 * 12 + 1 };
        assert_eq!(of(14, |day, phase| day % 7 < 5 && (96..216).contains(&phase)), working);
        assert_eq!(of(14, |_, phase| phase / 3 != 12), daily(&[(0, 36), (39, 288)]), "a restart each night");
    }

    #[test]
    fn what_comes_now_and_then_is_late_after_twice_its_usual_distance() {
        let Cadence::Within(buckets) = of(14, |day, phase| chance(day, phase) < 60) else { panic!("by chance, and often") };
        assert!((8..=24).contains(&buckets), "{buckets}");
        assert_eq!(of(14, |day, phase| (day * PERIOD + phase).is_multiple_of(7)), Cadence::Within(14), "each thirty-five minutes");
        let office = of(14, |day, phase| day % 7 < 5 && (96..216).contains(&phase) && chance(day, phase) < 30);
        assert!(matches!(office, Cadence::Within(1_400..1_600)), "by chance, on working days: {office:?}");
        assert_eq!(of(2, |_, phase| phase % HOUR == 1), Cadence::Within(24), "each hour, of which there were two days");
        assert_eq!(of(14, |day, phase| phase == 3 && day % 7 == 6), Cadence::Unknown, "on two Sundays");
        let unbroken = |buckets: usize| of(1, |_, phase| phase < buckets);
        assert_eq!((unbroken(12), unbroken(13)), (Cadence::Unknown, Cadence::Steady), "that a host died young does not excuse it");
        assert_eq!(of(1, |_, phase| phase < 18 && phase != 5), Cadence::Unknown);
        assert!(matches!(of(2, |_, phase| (24..48).contains(&phase)), Cadence::Within(500..)), "at night, of which there were two");
    }
}
