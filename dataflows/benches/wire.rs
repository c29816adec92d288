//! What an event costs between processes: the bytes of `Plain<Event>`, which abomonation writes, beside timely's own answer for a `Vec`, bincode.
//!
//! `cargo bench -p dataflows` measures; `cargo test` runs the same on a little input, to see that it works. The run of two processes is one of
//! two thread groups in one process, joined by TCP over the loopback device as two processes would be, so that one clock counts the CPU time
//! of both.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a measurement looks at clocks and files

use dataflows::{EVENT_WIDTH, EntityId, Event, MetricId, Plain};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use timely::bytes::arc::BytesMut;
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::container::{Accountable, CapacityContainerBuilder, DrainContainer, PushInto, SizableContainer};
use timely::dataflow::InputHandle;
use timely::dataflow::channels::ContainerBytes;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::{Input, Operator};

/// Records of one message, and messages of one measurement.
const RECORDS: usize = (32 << 10) / size_of::<Event>();
/// Ticks of the kernel's clock in a second (`USER_HZ`, which Linux never changes).
const TICKS: f64 = 100.0;
/// Measurements of which the best counts: other work on the machine only ever adds.
const TRIES: u64 = 5;
/// A batch of records between two looks at the network.
const BATCH: u64 = 10_000;

/// An event as timely would carry it: the same fields, for serde.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Fields {
    entity: u64,
    time: i64,
    metrics: [u32; EVENT_WIDTH],
    count: u32,
    partition: u32,
    values: [f64; EVENT_WIDTH],
}

fn event(number: u64) -> Event {
    let mut event = Event::empty(EntityId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), i64::try_from(number).unwrap_or(0), 3);
    for metric in 0..EVENT_WIDTH {
        event.push(MetricId(u32::try_from(metric).unwrap_or(0)), 0.1 * f64::from(u32::try_from(number % 1000).unwrap_or(0)));
    }
    event
}

fn fields(number: u64) -> Fields {
    let Event { entity, time, metrics, count, partition, values } = event(number);
    Fields { entity, time, metrics, count, partition, values }
}

/// Nanoseconds an event takes.
fn per_event(spent: Duration, events: u64) -> f64 {
    spent.as_secs_f64() * 1e9 / events as f64
}

/// The time of the best of some tries.
fn best(mut measure: impl FnMut()) -> Duration {
    let tries = (0..TRIES).map(|_| {
        let since = Instant::now();
        measure();
        since.elapsed()
    });
    tries.min().unwrap_or_default()
}

/// Encodes and decodes one message again and again.
fn codec<C: ContainerBytes>(name: &str, records: &C, rounds: u64) -> String {
    let events = rounds * RECORDS as u64;
    let mut written = Vec::with_capacity(records.length_in_bytes());
    let encoding = best(|| {
        for _ in 0..rounds {
            written.clear();
            black_box(records).into_bytes(&mut written);
        }
    });
    let length = written.len();
    let mut received = BytesMut::from(written);
    let bytes = received.extract_to(length);
    let decoding = best(|| {
        for _ in 0..rounds {
            black_box(C::from_bytes(bytes.clone()));
        }
    });
    let (encoding, decoding) = (per_event(encoding, events), per_event(decoding, events));
    let size = length as f64 / RECORDS as f64;
    format!("{name:<22} {size:>6.1} bytes   encode {encoding:>6.1} ns   decode {decoding:>6.1} ns")
}

/// CPU seconds of this process so far, in user and kernel.
fn cpu_seconds() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = status.rsplit_once(')').map_or("", |parts| parts.1);
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// Sends events to the process that owns their entity, half of them over the wire; the number that arrived here.
fn exchange<C, D>(
    workers: Vec<AllocatorBuilder>,
    connections: Box<dyn std::any::Any + Send>,
    make: fn(u64) -> D,
    key: fn(&D) -> u64,
    count: u64,
) -> u64
where
    D: Copy + 'static,
    C: Accountable + SizableContainer + ContainerBytes + DrainContainer + PushInto<D> + Clone + Default + Send + 'static,
    for<'a> C: DrainContainer<Item<'a> = D>,
    CapacityContainerBuilder<C>: PushInto<D>,
{
    let guards = timely::execute::execute_from(workers, connections, timely::WorkerConfig::default(), move |worker| {
        let arrived = std::rc::Rc::new(std::cell::Cell::new(0));
        let inside = std::rc::Rc::clone(&arrived);
        let mut input = InputHandle::<u64, CapacityContainerBuilder<C>>::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let stream = scope.input_from(&mut input);
            let pact = ExchangeCore::<CapacityContainerBuilder<C>, _>::new_core(move |record: &D| key(record));
            stream.sink(pact, "count", move |(input, _)| {
                input.for_each(|_, data| inside.set(inside.get() + data.drain().count() as u64));
            });
        });
        for number in 0..count {
            input.send(make(number));
            if number % BATCH == BATCH - 1 {
                input.advance_to(number);
                worker.step();
            }
        }
        drop(input);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        arrived.get()
    });
    guards.expect("workers start").join().into_iter().map(|arrived| arrived.expect("no worker panics")).sum()
}

/// The connections of two processes with one another: the place of each in the list of the other is empty for itself.
fn connect() -> std::io::Result<[Vec<Option<TcpStream>>; 2]> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let second = TcpStream::connect(listener.local_addr()?)?;
    let first = listener.accept()?.0;
    first.set_nodelay(true)?;
    second.set_nodelay(true)?;
    Ok([vec![None, Some(first)], vec![Some(second), None]])
}

/// CPU nanoseconds that an event costs when two processes send one another half of what they have.
fn two_processes(
    count: u64,
    run: impl Fn(Vec<AllocatorBuilder>, Box<dyn std::any::Any + Send>, u64) -> u64 + Sync,
) -> std::io::Result<f64> {
    let before = cpu_seconds();
    let sockets = connect()?;
    let arrived: u64 = std::thread::scope(|scope| -> std::io::Result<u64> {
        let mut processes = Vec::new();
        for (process, sockets) in sockets.into_iter().enumerate() {
            let hooks = Hooks::default();
            let workers = ProcessBuilder::new_typed_vector(1, hooks.refill.clone(), None);
            let (builders, guard) = initialize_networking_from_sockets(workers, sockets, process, 1, hooks)?;
            let run = &run;
            processes.push(scope.spawn(move || run(builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard), count / 2)));
        }
        Ok(processes.into_iter().map(|process| process.join().expect("no process panics")).sum())
    })?;
    assert_eq!(arrived, count / 2 * 2, "every event arrives once");
    Ok(per_event(Duration::from_secs_f64(cpu_seconds() - before), count))
}

fn main() -> std::io::Result<()> {
    // Cargo says `--bench` when it measures; otherwise it tests.
    let (rounds, count) = if std::env::args().any(|argument| argument == "--bench") { (20_000, 5_000_000) } else { (3, 20_000) };
    let numbers = 0..RECORDS as u64;
    let (plain, default): (Plain<Event>, Vec<Fields>) = (Plain(numbers.clone().map(event).collect()), numbers.map(fields).collect());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", codec("Plain<Event>", &plain, rounds))?;
    writeln!(out, "{}", codec("Vec, timely's default", &default, rounds))?;
    let (mut plain, mut default) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..TRIES {
        let plainly = |workers, guard, count| exchange::<Plain<Event>, Event>(workers, guard, event, |event| event.entity, count);
        plain = plain.min(two_processes(count, plainly)?);
        let by_default = |workers, guard, count| exchange::<Vec<Fields>, Fields>(workers, guard, fields, |event| event.entity, count);
        default = default.min(two_processes(count, by_default)?);
    }
    writeln!(
        out,
        "two processes, {count} events, half of them sent across: {plain:.0} ns of CPU an event, with timely's default {default:.0} ns"
    )
}
