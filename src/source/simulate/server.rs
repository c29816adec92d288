//! What is typical of a server: idle values, gains and noises of its six metrics.

use super::entity::{Channel, Inertia, Load, channel};
use super::hash::Draws;
use super::noise::Profile;
use super::shape;

/// The metrics of a server, in the order of an event.
pub(super) const METRICS: [&str; 6] = [
    "cpu_usage_percent",
    "memory_usage_percent",
    "cpu_temperature_celsius",
    "power_consumption_watts",
    "network_rx_mbps",
    "network_tx_mbps",
];

/// Places of the metrics.
pub(super) const CPU: usize = 0;
/// See [`CPU`].
pub(super) const MEMORY: usize = 1;
/// See [`CPU`].
pub(super) const TEMPERATURE: usize = 2;
/// See [`CPU`].
pub(super) const POWER: usize = 3;
/// See [`CPU`].
pub(super) const RX: usize = 4;
/// See [`CPU`].
pub(super) const TX: usize = 5;

/// One server in five does the night's work.
const BATCH_SHARE: f64 = 0.2;

/// Servers of one kind peak within this many seconds of each other (twenty minutes either way).
const PHASE_SECONDS: f64 = 1200.0;

/// Noise of the load from bucket to bucket: 3 % of its peak, as request rates of a busy balanced fleet vary over five minutes.
const LOAD_NOISE: f64 = 0.03;

/// Degrees that one percent of CPU adds: about 35 °C between idle and full, as of an air-cooled two-socket server.
pub(super) const CELSIUS_PER_PERCENT: f64 = 0.35;

/// Watts that one percent of CPU adds: about 220 W between idle and full.
pub(super) const WATTS_PER_PERCENT: f64 = 2.2;

/// What a server's load is.
pub(super) fn load(draws: &mut Draws) -> Load {
    let curve = if draws.between(0.0, 1.0) < BATCH_SHARE { &shape::BATCH } else { &shape::INTERACTIVE };
    Load { curve, phase: draws.between(-PHASE_SECONDS, PHASE_SECONDS) as i64, noise: LOAD_NOISE, key: draws.next() }
}

/// The metrics of a server.
pub(super) fn channels(draws: &mut Draws) -> Vec<Channel> {
    // Idle daemons take 10 to 15 %; the busiest hour 45 to 65 %, which leaves the headroom that people who run fleets leave.
    let (idle, busy) = (draws.between(10.0, 15.0), draws.between(35.0, 50.0));
    // One sample jumps by 2 %: five seconds of a few dozen cores.
    let cpu = Channel { limit: 100.0, ..channel(idle, busy, 0.6, 2.0, draws.next()) };
    vec![cpu, memory(draws), temperature(draws, idle, busy), power(draws, idle, busy), network(draws), network(draws)]
}

/// Half to two thirds full, a little more in the busy hours, drifting by under a percent.
fn memory(draws: &mut Draws) -> Channel {
    let (base, gain) = (draws.between(45.0, 62.0), draws.between(4.0, 9.0));
    Channel { inertia: Inertia::Slow, profile: Profile::Slow, limit: 100.0, ..channel(base, gain, 0.7, 0.2, draws.next()) }
}

/// Ten to sixteen degrees above air of 20 to 24, and what the CPU adds; the air of a rack drifts by half a degree.
fn temperature(draws: &mut Draws, idle: f64, busy: f64) -> Channel {
    let base = draws.between(20.0, 24.0) + draws.between(10.0, 16.0) + CELSIUS_PER_PERCENT * idle;
    // A server cuts its own power at 105 °C.
    let plain = channel(base, CELSIUS_PER_PERCENT * busy, 0.3, 0.5, draws.next());
    Channel { inertia: Inertia::Thermal, shared: 0.4, limit: 105.0, ..plain }
}

/// 150 to 200 W idle, and what the CPU adds; supplies are read to about one percent.
fn power(draws: &mut Draws, idle: f64, busy: f64) -> Channel {
    let base = draws.between(150.0, 200.0) + WATTS_PER_PERCENT * idle;
    // Two supplies of 750 W.
    Channel { limit: 1500.0, ..channel(base, WATTS_PER_PERCENT * busy, 2.0, 4.0, draws.next()) }
}

/// Up to 100 to 400 Mbit/s with the load above a third of that which never stops (replication, logs, this very monitoring).
fn network(draws: &mut Draws) -> Channel {
    let gain = draws.between(100.0, 400.0);
    // Ten gigabit.
    Channel { limit: 10_000.0, ..channel(0.35 * gain, gain, 0.025 * gain, 0.07 * gain, draws.next()) }
}
