//! What is typical of a service: its name, its hosts, and its five metrics.

use super::entity::{Channel, Load, channel};
use super::hash::Draws;
use super::shape;

/// The metrics of a service, in the order of an event.
pub(super) const METRICS: [&str; 5] = ["request_rate_rps", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "error_rate_percent"];

/// Places of the metrics.
pub(super) const P50: usize = 1;
/// See [`P50`].
pub(super) const P95: usize = 2;
/// See [`P50`].
pub(super) const P99: usize = 3;
/// See [`P50`].
pub(super) const ERRORS: usize = 4;

/// Names of services, as many as the biggest preset has.
pub(super) const NAMES: [&str; 40] = [
    "checkout",
    "catalog",
    "search",
    "cart",
    "payments",
    "accounts",
    "sessions",
    "recommendations",
    "inventory",
    "pricing",
    "shipping",
    "orders",
    "notifications",
    "reviews",
    "images",
    "gateway",
    "billing",
    "invoices",
    "taxes",
    "fraud",
    "loyalty",
    "coupons",
    "wishlist",
    "profiles",
    "addresses",
    "returns",
    "warehouse",
    "suppliers",
    "ratings",
    "chat",
    "email",
    "push",
    "feeds",
    "ads",
    "analytics",
    "experiments",
    "flags",
    "audit",
    "reports",
    "exports",
];

/// A service runs on two to five servers.
pub(super) const HOSTS_MIN: usize = 2;
/// See [`HOSTS_MIN`].
pub(super) const HOSTS_MAX: usize = 5;

/// Services peak within this many seconds of each other (half an hour either way): lunch orders before evening films.
const PHASE_SECONDS: f64 = 1800.0;

/// Noise of the load from bucket to bucket: 3 % of its peak, as for servers.
const LOAD_NOISE: f64 = 0.03;

/// What a service's load is.
pub(super) fn load(draws: &mut Draws) -> Load {
    let phase = draws.between(-PHASE_SECONDS, PHASE_SECONDS) as i64;
    Load { curve: &shape::INTERACTIVE, phase, noise: LOAD_NOISE, key: draws.next() }
}

/// The metrics of a service.
pub(super) fn channels(draws: &mut Draws) -> Vec<Channel> {
    // A few tens to some hundreds of requests a second, a tenth of it around the clock (crawlers, health checks).
    let rate = draws.between(80.0, 900.0);
    // Nearly half slower in the busiest hour; the tail is 2.2 and 4 times the middle, as usual for calls that fan out.
    let middle = draws.between(15.0, 70.0);
    let mut latency = |factor: f64, noise: f64, sample: f64| {
        let base = middle * factor;
        channel(base, 0.4 * base, noise * base, sample * base, draws.next())
    };
    let (p50, p95, p99) = (latency(1.0, 0.02, 0.05), latency(2.2, 0.025, 0.08), latency(4.0, 0.035, 0.10));
    let rate = channel(0.1 * rate, rate, 0.01 * rate, 0.02 * rate, draws.next());
    // Half a percent of calls fail on an ordinary day; far enough from zero that clipping there stays rarer than one sample in 10,000.
    let errors = draws.between(0.45, 0.7);
    let errors = Channel { limit: 100.0, ..channel(errors, 0.1, 0.03, 0.08, draws.next()) };
    vec![rate, p50, p95, p99, errors]
}

/// A tail is not faster than what it is the tail of, which noise alone would now and then claim.
pub(super) fn order_latencies(values: &mut [f64]) {
    values[P95] = values[P95].max(values[P50]);
    values[P99] = values[P99].max(values[P95]);
}
