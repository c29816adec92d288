//! The edge of the graph: whole epochs, handed to whoever makes them durable, and held open until they are.

use super::{Arrivals, Epoch, Pending, smallest};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Capability, Operator};
use timely::scheduling::Activator;

/// What came, in no more memory than it needs, nearly: a few outputs come in a buffer of kilobytes, and wait for as long as the store is away.
fn packed<T>(data: &mut Vec<T>) -> Vec<T> {
    let mut data = std::mem::take(data);
    if 2 * data.len() < data.capacity() {
        data.shrink_to_fit();
    }
    data
}

/// The queue between the graph and the thread that steps it.
pub struct Epochs<T> {
    complete: VecDeque<(Epoch, Vec<Vec<T>>)>,
    held: BTreeMap<Epoch, Capability<Epoch>>,
    activator: Option<Activator>,
}

impl<T> Epochs<T> {
    /// The oldest epoch whose data is complete and was not taken yet, in the pieces in which it came.
    pub fn take(&mut self) -> Option<(Epoch, Vec<Vec<T>>)> {
        self.complete.pop_front()
    }

    /// Says that everything up to and with `epoch` is durable, which lets the frontier behind the operator pass it.
    pub fn release(&mut self, epoch: Epoch) {
        self.held = self.held.split_off(&(epoch + 1));
        self.activator.iter().for_each(Activator::activate);
    }
}

/// Brings everything to worker 0 and hands it out by whole epochs.
///
/// The stream that is returned carries nothing; its frontier says what is durable: it passes an epoch once [`Epochs::release`] was called for it.
/// On the other workers the queue stays empty.
pub fn collect_epochs<'scope, T: ExchangeData>(
    stream: StreamVec<'scope, Epoch, T>,
) -> (StreamVec<'scope, Epoch, ()>, Rc<RefCell<Epochs<T>>>) {
    let queue = Rc::new(RefCell::new(Epochs { complete: VecDeque::new(), held: BTreeMap::new(), activator: None }));
    let inside = Rc::clone(&queue);
    let scope = stream.scope();
    let durable =
        stream.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Exchange::new(|_| 0), "collect_epochs", move |_, info| {
            inside.borrow_mut().activator = Some(scope.activator_for(info.address));
            let mut pending: Pending<Vec<Vec<T>>> = Pending::new();
            move |(input, frontier), _output| {
                input.for_each(|message, data| pending.at(&message, 1).push(packed(data)));
                let mut queue = inside.borrow_mut();
                while let Some((epoch, Arrivals { mut capabilities, data })) = pending.completed(smallest(&[frontier])) {
                    queue.complete.push_back((epoch, data));
                    queue.held.extend(capabilities.pop().map(|capability| (epoch, capability)));
                }
            }
        });
    (durable, queue)
}
