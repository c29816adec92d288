//! Events become buckets: the hot path, in timely.

use super::{Arrivals, Epoch, Pending, smallest};
use crate::Time;
use crate::buckets::Buckets;
use crate::clock::{Report, Timing};
use crate::event::Event;
use crate::provisional::Open;
use crate::span::Acquaintance;
use crate::verdict::Bucket;
use crate::wire::Plain;
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ExchangeCore, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{Stream, StreamVec};

/// The operator has three outputs: buckets, horizons and open buckets.
const OUTPUTS: usize = 3;

type Updates<D> = CapacityContainerBuilder<Vec<(D, Epoch, isize)>>;

/// What [`bucket_samples`] makes.
pub struct BucketSamples<'scope> {
    /// Closed buckets and their revisions.
    pub buckets: VecCollection<'scope, Epoch, Bucket>,
    /// The common watermark after each epoch that moved it, on every worker.
    pub horizons: StreamVec<'scope, Epoch, Horizon>,
    /// Buckets as far as they have been seen, every so many epochs.
    pub opens: StreamVec<'scope, Epoch, Open>,
    /// The same watermark, for the readers of this worker to look at.
    pub horizon: Rc<Cell<Time>>,
    /// Events left out because their partition was idle for longer than the lateness, so far, on this worker.
    pub behind: Rc<Cell<u64>>,
}

/// How far event time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// The common watermark; `Time::MAX` once all partitions have ended.
    pub low: Time,
    /// The same, but how far event time really came once all have ended: see [`Buckets::reached`].
    pub reached: Time,
}

/// What arrived for one epoch.
#[derive(Default)]
struct Input {
    events: Vec<Plain<Event>>,
    reports: Vec<Report>,
    acquaintances: Vec<Acquaintance>,
}

/// Aggregates events to buckets, each entity on one worker.
///
/// A bucket is said (`+1`) in the epoch in which the common watermark passes its end; a sample that comes later, but within the lateness, takes
/// the old bucket back (`-1`) and says the new one. `reports` go to all workers, `acquaintances` to the one that owns the entity.
/// `horizon` is the common watermark at the end of an earlier run, `Time::MIN` on a first one. Open buckets are shown every `look_every` epochs, never
/// for 0.
pub fn bucket_samples<'scope>(
    events: Stream<'scope, Epoch, Plain<Event>>,
    reports: StreamVec<'scope, Epoch, Report>,
    acquaintances: StreamVec<'scope, Epoch, Acquaintance>,
    timing: Timing,
    horizon: Time,
    look_every: Epoch,
) -> BucketSamples<'scope> {
    let mut builder = OperatorBuilder::new("bucket_samples".into(), events.scope());
    let mut events =
        builder.new_input(events, ExchangeCore::<CapacityContainerBuilder<Plain<Event>>, _>::new_core(|event: &Event| event.entity));
    let mut reports = builder.new_input(reports.broadcast(), Pipeline);
    let mut acquaintances = builder.new_input(acquaintances, Exchange::new(|known: &Acquaintance| known.entity().0));
    let (buckets_out, bucket_stream) = builder.new_output();
    let (horizons_out, horizons) = builder.new_output();
    let (opens_out, opens) = builder.new_output();
    let mut buckets_out = OutputBuilder::<_, Updates<Bucket>>::from(buckets_out);
    let mut horizons_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Horizon>>>::from(horizons_out);
    let mut opens_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Open>>>::from(opens_out);
    let shown = (Rc::new(Cell::new(horizon)), Rc::new(Cell::new(0)));
    let inside = shown.clone();
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut buckets = Buckets::new(timing, horizon, look_every > 0);
        let mut pending: Pending<Input> = Pending::new();
        // The right to show open buckets in an epoch that is still to come.
        let mut next_look: Option<Capability<Epoch>> = None;
        move |frontiers| {
            events.for_each(|message, data| pending.at(&message, OUTPUTS).events.push(std::mem::take(data)));
            reports.for_each(|message, data| pending.at(&message, OUTPUTS).reports.append(data));
            acquaintances.for_each(|message, data| pending.at(&message, OUTPUTS).acquaintances.append(data));
            let frontier = smallest(&frontiers.iter().collect::<Vec<_>>());
            let (mut bucket_output, mut horizon_output, mut open_output) =
                (buckets_out.activate(), horizons_out.activate(), opens_out.activate());
            while let Some((epoch, Arrivals { capabilities, data })) = pending.completed(frontier) {
                data.acquaintances.iter().for_each(|known| buckets.remember(known));
                data.events.iter().flat_map(|events| &events.0).for_each(|event| buckets.add(event));
                let before = buckets.horizon();
                let mut session = bucket_output.session_with_builder(&capabilities[0]);
                buckets.finish(&data.reports, &mut |bucket, sign| session.give((bucket, epoch, sign)));
                if buckets.horizon() > before {
                    horizon_output.session(&capabilities[1]).give(Horizon { low: buckets.horizon(), reached: buckets.reached() });
                }
                if look_every > 0 && next_look.is_none() && buckets.has_news() {
                    next_look = Some(capabilities[2].delayed(&((epoch / look_every + 1) * look_every)));
                }
                inside.0.set(buckets.horizon());
                inside.1.set(buckets.behind());
            }
            if let Some(capability) = next_look.take_if(|capability| frontier.is_none_or(|frontier| *capability.time() < frontier)) {
                let mut session = open_output.session(&capability);
                buckets.look(&mut |open| session.give(open));
            }
            // Events of the epoch that is under way need not wait: nothing before it can come any more.
            if let Some(current) = frontier.and_then(|epoch| pending.by_epoch.get_mut(&epoch)) {
                current.data.events.drain(..).for_each(|events| events.0.iter().for_each(|event| buckets.add(event)));
            }
        }
    });
    BucketSamples { buckets: bucket_stream.as_collection(), horizons, opens, horizon: shown.0, behind: shown.1 }
}
