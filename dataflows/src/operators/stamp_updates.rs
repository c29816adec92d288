//! Updates of a collection, each sent in the epoch that it is of.

use super::Epoch;
use differential_dataflow::{Data, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

/// Sends each update in its own epoch: what `reduce` has found for several epochs at once comes in one message, in the oldest of them.
///
/// Within differential dataflow that makes no difference. To whoever makes whole epochs durable it does: an incident of which the episodes, and the names of
/// their metrics, come in the next epoch only would be written without them.
pub fn stamp_updates<'scope, D: Data>(updates: VecCollection<'scope, Epoch, D>) -> StreamVec<'scope, Epoch, (D, Epoch, isize)> {
    updates.inner.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "stamp_updates", |_, _| {
        |input, output| {
            input.for_each(|message, updates| {
                for update in updates.drain(..) {
                    output.session(&message.delayed(&update.1, 0)).give(update);
                }
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use differential_dataflow::AsCollection;
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::core::Inspect;
    use timely::dataflow::operators::{Input, Probe};

    /// Failed without the operator: of two epochs that were retired at once, both came in the first.
    #[test]
    fn each_update_is_sent_in_its_own_epoch_also_when_many_are_retired_at_once() {
        let seen = timely::execute_directly(|worker| {
            let mut input = InputHandle::new();
            let (sender, seen) = std::sync::mpsc::channel();
            let probe = worker.dataflow::<Epoch, _, _>(|scope| {
                let facts = scope.input_from(&mut input).as_collection();
                let counts = facts.map(|key: u64| (key, ())).reduce(|_, found, counts| counts.push((found[0].1, 1)));
                let inspected = stamp_updates(counts).inspect_core(move |event| {
                    if let Ok((stamp, updates)) = event {
                        updates.iter().for_each(|(_, of, _)| sender.send((*stamp.iter().next().unwrap(), *of)).unwrap());
                    }
                });
                inspected.probe().0
            });
            for epoch in 0..40 {
                input.advance_to(epoch);
                input.send((epoch % 7, epoch, 1));
            }
            // Nothing was done before: all epochs are retired in one step.
            input.advance_to(40);
            worker.step_while(|| probe.less_than(&40));
            seen.try_iter().collect::<Vec<_>>()
        });
        assert!(seen.len() >= 40, "{seen:?}");
        assert!(seen.iter().all(|(sent, of)| sent == of), "{seen:?}");
    }
}
