//! One push of models, group by group, and what the series of all groups say of one another.

use super::counter::{Evidence, Votes};
use super::peers::Peers;
use super::request::Request;
use super::{Member, Outcome, Report, TrainError, fit_groups};
use crate::history::History;
use crate::models::{Models, Trained};
use dataflows::MetricType;

/// A push that goes on, and what is to be remembered of it until all series have been looked at.
pub(super) struct Push<'a> {
    models: &'a mut dyn Models,
    is_begun: bool,
    candidates: Vec<Candidate>,
    peers: Peers,
    votes: Votes,
}

/// A series whose model may be another one once all of its peers are known.
struct Candidate {
    member: Member,
    evidence: Option<Evidence>,
    /// As its model has it.
    metric_type: MetricType,
    is_young: bool,
}

impl<'a> Push<'a> {
    /// Nothing yet.
    pub(super) fn new(models: &'a mut dyn Models) -> Self {
        Self { models, is_begun: false, candidates: Vec::new(), peers: Peers::default(), votes: Votes::default() }
    }

    /// Takes the outcomes of a group, one per member.
    pub(super) fn add(&mut self, group: &[Member], outcomes: Vec<Outcome>, report: &mut Report) -> Result<(), TrainError> {
        let mut put = Vec::with_capacity(group.len());
        for (member, outcome) in group.iter().zip(outcomes) {
            match outcome {
                Outcome::Fitted { trained, evidence, is_young, spacing } => {
                    report.space(spacing);
                    if let Some(evidence) = evidence {
                        self.votes.add(&member.name, evidence);
                    }
                    if !is_young {
                        self.peers.add(&member.name, &trained.model);
                    }
                    if is_young || evidence == Some(Evidence::Grows) {
                        let metric_type = trained.model.metric_type;
                        self.candidates.push(Candidate { member: member.clone(), evidence, metric_type, is_young });
                    }
                    put.push(trained);
                    report.trained += 1;
                }
                Outcome::Warming { trained, skipped } => {
                    put.push(trained);
                    report.skip(&member.name, &skipped);
                }
                Outcome::Skipped(skipped) => report.skip(&member.name, &skipped),
            }
        }
        self.put(&put)
    }

    /// Fits anew, now that all of their peers are known, the series that are young and those that only look like counters, and puts these models
    /// in the place of the first ones. Their rows are read again: kept, they would grow with the number of series.
    pub(super) fn fit_among_peers(&mut self, history: &mut dyn History, request: &Request) -> Result<(), TrainError> {
        let (peers, votes) = (std::mem::take(&mut self.peers), std::mem::take(&mut self.votes));
        let due = |Candidate { member, evidence, metric_type, is_young }| {
            let voted = evidence.map_or(metric_type, |evidence| votes.metric_type(&member.name, evidence));
            let borrows = is_young && peers.shape(&member.name, voted).is_some();
            (borrows || voted != metric_type).then_some(Member { metric_type: Some(voted), ..member })
        };
        let due: Vec<Member> = std::mem::take(&mut self.candidates).into_iter().filter_map(due).collect();
        fit_groups(history, &due, request, Some(&peers), &mut |_, outcomes| {
            let fitted = |outcome| if let Outcome::Fitted { trained, .. } = outcome { Some(trained) } else { None };
            self.put(&outcomes.into_iter().filter_map(fitted).collect::<Vec<Trained>>())
        })
    }

    fn put(&mut self, trained: &[Trained]) -> Result<(), TrainError> {
        if !trained.is_empty() {
            self.is_begun = true;
            self.models.put(trained)?;
        }
        Ok(())
    }

    /// The new generation; `None` where there was nothing to push.
    pub(super) fn complete(self) -> Result<Option<u64>, TrainError> {
        Ok(if self.is_begun { Some(self.models.complete()?) } else { None })
    }
}
