//! Buckets become verdicts.

use super::{Arrivals, Epoch, Pending, smallest};
use crate::identity::SeriesId;
use crate::model::Model;
use crate::scorer::{Policy, Scorer};
use crate::verdict::{Bucket, Verdict};
use differential_dataflow::{AsCollection, VecCollection};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

/// What arrived for one epoch.
#[derive(Default)]
struct Input {
    buckets: Vec<(Bucket, Epoch, isize)>,
    models: Vec<(u64, SeriesId, Arc<Model>)>,
}

/// Scores buckets against the newest model whose training ended before them.
///
/// `buckets` are where their entity is owned already. `models` are triples of entity, series and model, and go to the worker that owns
/// the entity. A model that comes later than a bucket that it would have scored revises the verdict, as long as the bucket is within the lateness.
pub fn score_buckets<'scope>(
    buckets: VecCollection<'scope, Epoch, Bucket>,
    models: StreamVec<'scope, Epoch, (u64, SeriesId, Arc<Model>)>,
    policy: Policy,
) -> VecCollection<'scope, Epoch, Verdict> {
    let by_entity = Exchange::new(|model: &(u64, SeriesId, Arc<Model>)| model.0);
    buckets
        .inner
        .binary_frontier::<_, CapacityContainerBuilder<Vec<(Verdict, Epoch, isize)>>, _, _, _, _>(
            models,
            Pipeline,
            by_entity,
            "score_buckets",
            |_, _| {
                let mut scorer = Scorer::new(policy);
                let mut pending: Pending<Input> = Pending::new();
                move |(buckets, buckets_frontier), (models, models_frontier), output| {
                    buckets.for_each(|message, data| pending.at(&message, 1).buckets.append(data));
                    models.for_each(|message, data| pending.at(&message, 1).models.append(data));
                    let frontier = smallest(&[buckets_frontier, models_frontier]);
                    while let Some((epoch, Arrivals { capabilities, data })) = pending.completed(frontier) {
                        let mut session = output.session(&capabilities[0]);
                        let mut say = |verdict, sign| session.give((verdict, epoch, sign));
                        data.models.into_iter().for_each(|(_, series, model)| scorer.learn(series, model, &mut say));
                        // What is taken back goes first, so that a bucket is never there twice.
                        data.buckets.iter().filter(|update| update.2 < 0).for_each(|update| scorer.withdraw(&update.0, &mut say));
                        data.buckets.iter().filter(|update| update.2 > 0).for_each(|update| scorer.score(update.0, &mut say));
                    }
                }
            },
        )
        .as_collection()
}
