//! Episodes and incidents from scratch: what the definitions say, by looking at everything each time.

use super::Relation;
use dataflows::{
    Episode, EpisodeId, Incident, IncidentId, Peak, Placement, Policy, Scope, SeriesId, Severity, Stage, State, Time, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// The episodes and incidents of all verdicts. `heard` is how far event time has come.
pub fn relation(verdicts: BTreeMap<(SeriesId, Time), Verdict>, placements: &[Placement], heard: Time, policy: &Policy) -> Relation {
    let mut by_series: BTreeMap<SeriesId, Vec<Verdict>> = BTreeMap::new();
    verdicts.iter().for_each(|((series, _), verdict)| by_series.entry(*series).or_default().push(*verdict));
    let episodes: BTreeSet<Episode> = by_series.values().flat_map(|verdicts| episodes(verdicts, heard, policy)).collect();
    let incidents = incidents(&episodes, placements, policy);
    Relation { verdicts: spoken(verdicts), episodes, incidents }
}

/// Of the anomalous verdicts on one entity in one bucket the loudest stays, the first metric of several; to all others it is evidence of something else.
fn spoken(mut verdicts: BTreeMap<(SeriesId, Time), Verdict>) -> BTreeMap<(SeriesId, Time), Verdict> {
    let all: Vec<Verdict> = verdicts.values().filter(|one| one.state == State::Anomalous).copied().collect();
    for verdict in verdicts.values_mut().filter(|one| one.state == State::Anomalous) {
        let (bucket, loud) = (verdict.bucket, |one: &Verdict| one.score.unwrap().z_score.0.abs());
        let is_louder = |one: &Verdict| loud(one) > loud(verdict) || (loud(one) == loud(verdict) && one.bucket.metric < bucket.metric);
        let beside = all.iter().filter(|one| (one.bucket.entity, one.bucket.start) == (bucket.entity, bucket.start));
        if beside.into_iter().any(is_louder) {
            verdict.state = State::Accompanying;
        }
    }
    verdicts
}

fn is_evidence(verdict: &Verdict) -> bool {
    matches!(verdict.state, State::Anomalous | State::Missing)
}

fn severity(verdict: &Verdict) -> Severity {
    verdict.score.filter(|_| verdict.state == State::Anomalous).map_or(Severity::High, |score| Severity::of(score.z_score.0, 3.0))
}

/// Walks along the buckets of one series and cuts it where the definitions say.
fn episodes(verdicts: &[Verdict], heard: Time, policy: &Policy) -> Vec<Episode> {
    let window = Time::from(policy.episode.window) * policy.bucket_width;
    let (mut found, mut place, mut free_from) = (Vec::new(), 0, Time::MIN);
    while place < verdicts.len() {
        let now = &verdicts[place];
        let start = now.bucket.start;
        let recent: Vec<&Verdict> =
            evidence_before(verdicts, place, free_from, window).into_iter().chain(Some(now).filter(|now| is_evidence(now))).collect();
        let goes_on = |n: usize| goes_on(&verdicts[n], &evidence_before(verdicts, n, free_from, window));
        let lasting =
            (0..=place).filter(|n| recent.first().is_some_and(|first| verdicts[*n].bucket.start > first.bucket.start) && goes_on(*n));
        let is_enough = recent.len() + lasting.count() / 2 >= policy.episode.evidence_min as usize;
        let opens = if is_evidence(now) { is_enough || severity(now) == Severity::Critical } else { is_enough && goes_on(place) };
        if !opens {
            place += 1;
            continue;
        }
        let (end, next, stage, last) = end(verdicts, place, &recent, policy);
        let evidence: Vec<&Verdict> =
            recent.iter().copied().chain(verdicts[place + 1..end].iter().filter(|one| is_evidence(one))).collect();
        let latest = verdicts[..end].last().map_or(start, |one| one.bucket.start);
        // What only fell silent may go on until no sample can come that is near enough; what was calm, until the bucket that ended it is sure.
        let is_sure = |start: Time| start + policy.retention() <= heard;
        let is_settled = match stage {
            Stage::Open => is_sure(latest + policy.settling() + 1),
            _ => is_sure(latest) && last + policy.bucket_width + policy.settling() <= heard,
        };
        let stage = match stage {
            _ if is_settled => Stage::Settled,
            Stage::Open if end < verdicts.len() => Stage::Closed,
            stage => stage,
        };
        found.push(Episode { confirmed: start, last, ..episode(&evidence, &verdicts[behind(verdicts, place)..end], stage) });
        free_from = verdicts[end - 1].bucket.start;
        place = next;
    }
    found
}

/// The evidence among the verdicts before number `n` that counts with the last of them, or would.
fn evidence_before(verdicts: &[Verdict], n: usize, free_from: Time, window: Time) -> Vec<&Verdict> {
    let at = verdicts[n].bucket.start;
    verdicts[..n].iter().filter(|one| is_evidence(one) && one.bucket.start > at - window && one.bucket.start > free_from).collect()
}

/// Whether a bucket that is no evidence is off much as the latest of what came before it.
fn goes_on(verdict: &Verdict, before: &[&Verdict]) -> bool {
    let latest = before.last().filter(|one| one.state == State::Anomalous);
    let (State::Normal, Some(_), Some(_), Some(latest)) = (verdict.state, verdict.score, verdict.bucket.aggregate, latest) else {
        return false;
    };
    let (now, then) = (residual(verdict), residual(latest));
    then != 0.0 && now / then >= 0.5 && (now / latest.score.unwrap().sigma.0).abs() > 3.0
}

/// Where what came after the evidence begins: the bucket with which an episode opened may be none.
fn behind(verdicts: &[Verdict], place: usize) -> usize {
    place + usize::from(is_evidence(&verdicts[place]))
}

/// Where the episode that opens at `place` ends: behind its last bucket, where to go on, whether it was seen to be over, and the last
/// bucket that was off.
fn end(verdicts: &[Verdict], place: usize, recent: &[&Verdict], policy: &Policy) -> (usize, usize, Stage, Time) {
    let (mut calm, mut off) = (0, verdicts[place].bucket.start);
    for (n, verdict) in verdicts.iter().enumerate().skip(place + 1) {
        if verdict.bucket.start - verdicts[n - 1].bucket.start > policy.settling() {
            return (n, n, Stage::Open, off);
        }
        let almost = 3.0 * policy.episode.calm_share;
        let evidence: Vec<&Verdict> = recent.iter().copied().chain(verdicts[place + 1..n].iter().filter(|one| is_evidence(one))).collect();
        let sigma = evidence.iter().filter_map(|one| one.score).map(|score| score.sigma.0).fold(0.0, f64::max);
        let deviation = |one: &Verdict| Some(one.bucket.aggregate?.mean.0 - one.score?.expected.0);
        let side = episode(&evidence, &verdicts[behind(verdicts, place)..n], Stage::Open)
            .peak
            .map_or(0.0, |peak| peak.mean.0 - peak.score.expected.0);
        let lasts =
            deviation(verdict).is_some_and(|deviation| side != 0.0 && deviation / side >= 0.5 && (deviation / sigma).abs() > almost);
        let loud = lasts || verdict.score.is_some_and(|score| score.z_score.0.abs() > almost);
        match verdict.state {
            State::Unscored(_) if evidence.iter().any(|one| one.state == State::Anomalous) => {}
            State::Unscored(_) => calm += 1,
            State::Anomalous | State::Missing => (calm, off) = (0, verdict.bucket.start),
            State::Normal if loud => (calm, off) = (0, verdict.bucket.start),
            State::Normal | State::Silenced => calm += 1,
            State::Accompanying | State::NotDue => unreachable!("series are judged one by one, and what is not said is not here"),
        }
        if calm == policy.episode.calm_min {
            return (n + 1, n + 1, Stage::Closed, off);
        }
    }
    (verdicts.len(), verdicts.len(), Stage::Open, off)
}

/// What the evidence comes to, and what came `after` it was enough.
fn episode(evidence: &[&Verdict], after: &[Verdict], stage: Stage) -> Episode {
    let first = evidence[0].bucket;
    let mut peak: Option<Peak> = None;
    let mut worst = Severity::Low;
    for verdict in evidence {
        if verdict.state != State::Anomalous {
            worst = worst.max(severity(verdict));
            continue;
        }
        let (score, mean) = (verdict.score.unwrap(), verdict.bucket.aggregate.unwrap().mean);
        // A bucket on the way back is part of it, and no more.
        let (now, far) = (residual(verdict), peak.map_or(0.0, |peak| peak.mean.0 - peak.score.expected.0));
        if now * far < 0.0 && now.abs() < reached(far, verdict, evidence, after) {
            continue;
        }
        worst = worst.max(severity(verdict));
        if peak.is_none_or(|peak| score.z_score.0.abs() > peak.score.z_score.0.abs()) {
            peak = Some(Peak { start: verdict.bucket.start, mean, score });
        }
    }
    let missing = evidence.iter().filter(|verdict| verdict.state == State::Missing).count() as u32;
    Episode {
        id: EpisodeId { opened: first.start, entity: first.entity, metric: first.metric },
        confirmed: first.start,
        last: evidence[evidence.len() - 1].bucket.start,
        stage,
        anomalous: evidence.len() as u32 - missing,
        missing,
        severity: worst,
        peak,
    }
}

fn residual(verdict: &Verdict) -> f64 {
    verdict.bucket.aggregate.unwrap().mean.0 - verdict.score.unwrap().expected.0
}

/// The furthest that a series has been off to the side of `far` before a bucket, since its episode began.
fn reached(far: f64, verdict: &Verdict, evidence: &[&Verdict], after: &[Verdict]) -> f64 {
    let is_seen = |one: &&Verdict| matches!(one.state, State::Normal | State::Anomalous) && one.bucket.start < verdict.bucket.start;
    let seen = evidence.iter().copied().chain(after).filter(is_seen).filter(|one| one.score.is_some());
    seen.map(|one| residual(one) * far.signum()).fold(0.0, f64::max)
}

/// Sets of episodes that are merged until nothing fits together any more: within entities, then racks, zones and kinds.
fn incidents(episodes: &BTreeSet<Episode>, placements: &[Placement], policy: &Policy) -> BTreeSet<Incident> {
    let width = policy.bucket_width;
    let mut sets: Vec<(Scope, u32, Vec<Episode>)> = episodes.iter().map(|episode| (Scope::Entity, 1, vec![*episode])).collect();
    let gap = Time::from(policy.incident.gap) * width;
    merge_while(&mut sets, |one, other| {
        let (early, late) = if opened(one) <= opened(other) { (one, other) } else { (other, one) };
        let last = early.iter().map(|episode| episode.last).max().unwrap();
        early[0].id.entity == late[0].id.entity && (early.iter().any(|episode| episode.stage == Stage::Open) || opened(late) - last <= gap)
    });
    for scope in [Scope::Rack, Scope::Zone, Scope::Kind] {
        let places: BTreeSet<(String, String)> = placements.iter().map(|placement| place(scope, placement)).collect();
        for place_of in &places {
            roll_up(scope, place_of, &mut sets, placements, policy);
        }
    }
    sets.into_iter().map(|(scope, peers, set)| incident(scope, peers, &set, placements)).collect()
}

fn opened(set: &[Episode]) -> Time {
    set.iter().map(|episode| episode.id.opened).min().unwrap()
}

fn merge_while(sets: &mut Vec<(Scope, u32, Vec<Episode>)>, fit: impl Fn(&[Episode], &[Episode]) -> bool) {
    loop {
        let pairs = (0..sets.len()).flat_map(|one| (one + 1..sets.len()).map(move |other| (one, other)));
        let Some((one, other)) = pairs.into_iter().find(|(one, other)| fit(&sets[*one].2, &sets[*other].2)) else { return };
        let absorbed = sets.remove(other);
        sets[one].2.extend(absorbed.2);
    }
}

fn place(scope: Scope, placement: &Placement) -> (String, String) {
    match scope {
        Scope::Entity | Scope::Kind => (String::new(), String::new()),
        Scope::Zone => (placement.zone.clone(), String::new()),
        Scope::Rack => (placement.zone.clone(), placement.rack.clone()),
    }
}

/// The first that anybody heard of.
fn first(set: &[Episode]) -> &Episode {
    set.iter().min_by_key(|episode| (episode.confirmed, episode.id)).unwrap()
}

fn placement_of<'a>(set: &[Episode], placements: &'a [Placement]) -> &'a Placement {
    let first = first(set);
    placements.iter().find(|placement| placement.entity == first.id.entity).unwrap()
}

fn entities(set: &[Episode]) -> BTreeSet<u64> {
    set.iter().map(|episode| episode.id.entity.0).collect()
}

fn roll_up(scope: Scope, at: &(String, String), sets: &mut Vec<(Scope, u32, Vec<Episode>)>, placements: &[Placement], policy: &Policy) {
    let window = Time::from(policy.incident.onset_window) * policy.bucket_width;
    let peers = placements.iter().filter(|placement| place(scope, placement) == *at).count() as u32;
    let (mut mine, others): (Vec<_>, Vec<_>) = sets.drain(..).partition(|set| place(scope, placement_of(&set.2, placements)) == *at);
    *sets = others;
    mine.sort_by_key(|set| (opened(&set.2), set.2.iter().map(|episode| episode.id).min()));
    let seeds: BTreeSet<usize> = (0..mine.len())
        .flat_map(|first| {
            let until = opened(&mine[first].2) + window;
            let group: Vec<usize> = (first..mine.len()).filter(|n| opened(&mine[*n].2) <= until).collect();
            let hit: u32 = group.iter().map(|n| entities(&mine[*n].2).len() as u32).sum();
            let parts: BTreeSet<String> = group
                .iter()
                .map(|n| placement_of(&mine[*n].2, placements))
                .map(|placement| match scope {
                    Scope::Zone => placement.rack.clone(),
                    _ => placement.zone.clone(),
                })
                .collect();
            let spread = scope == Scope::Rack || parts.len() > 1;
            let enough = hit >= policy.incident.entities_min && f64::from(hit) >= policy.incident.share * f64::from(peers);
            if spread && enough { group } else { Vec::new() }
        })
        .collect();
    let close = |whole: Vec<Episode>| (scope, peers.max(entities(&whole).len() as u32), whole);
    let mut group: Option<(Time, Vec<Episode>)> = None;
    for (n, (old, count, set)) in mine.into_iter().enumerate() {
        let from = opened(&set);
        if let Some((latest, whole)) = group.as_mut().filter(|group| from <= group.0 + window) {
            *latest = from;
            whole.extend(set);
        } else if seeds.contains(&n) {
            sets.extend(group.take().map(|(_, whole)| close(whole)));
            group = Some((from, set));
        } else {
            sets.push((old, count, set));
        }
    }
    sets.extend(group.map(|(_, whole)| close(whole)));
}

fn incident(scope: Scope, peers: u32, set: &[Episode], placements: &[Placement]) -> Incident {
    let mut set = set.to_vec();
    set.sort();
    let mut peaks: Vec<_> = set.iter().filter_map(|episode| Some((episode.id.entity, episode.id.metric, episode.peak?))).collect();
    peaks.sort_by_key(|(entity, metric, peak)| (peak.start, *entity, *metric));
    let highest = peaks.iter().map(|(_, _, peak)| peak.score.z_score.0.abs()).fold(0.0, f64::max);
    let peak = peaks.into_iter().find(|(_, _, peak)| peak.score.z_score.0.abs() >= highest);
    let metrics: BTreeSet<_> = set.iter().map(|episode| episode.id.metric).collect();
    Incident {
        id: IncidentId::of(&first(&set).id),
        first: (first(&set).confirmed, first(&set).id),
        scope,
        place: placement_of(&set, placements).clone(),
        opened: opened(&set),
        last: set.iter().map(|episode| episode.last).max().unwrap(),
        stage: set.iter().map(|episode| episode.stage).min().unwrap(),
        severity: set.iter().map(|episode| episode.severity).max().unwrap(),
        peak,
        entities: entities(&set).len() as u32,
        peers,
        metrics: metrics.into_iter().collect(),
        anomalous: set.iter().map(|episode| episode.anomalous).sum(),
        missing: set.iter().map(|episode| episode.missing).sum(),
        episodes: set.iter().map(|episode| episode.id).collect(),
    }
}
