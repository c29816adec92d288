//! A simulated server or service: a load, and metrics that follow it.
//!
//! Every metric is linear: `base + gain × load + noise`. So the scale of its five-minute means is known exactly (see [`Entity::scale`]), the
//! mean over a bucket needs no sampling, and the shift that an anomaly makes is the shift that was put in.

use super::noise::Profile;
use super::shape;

/// Milliseconds in a bucket of the simulator: what the detector aggregates to, and what one backfill record stands for.
pub(super) const BUCKET_MS: i64 = 300_000;

/// Metrics an entity has at most.
pub(super) const WIDTH: usize = 6;

/// How much of the load of this bucket and of the three before it a temperature follows: metal warms over some ten minutes.
const THERMAL: [f64; 4] = [0.4, 0.3, 0.2, 0.1];

/// Buckets between the four loads whose mean memory follows: caches and heaps fill over hours.
const SLOW_STRIDE: i64 = 12;

/// The mean over a bucket of what moves in a straight line between its ends, as weights of its end and its beginning.
const MEAN: [f64; 2] = [0.5, 0.5];

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntityType {
    /// Measured by `server_metric` events.
    Server,
    /// Measured by `application_metric` events.
    Service,
}

impl EntityType {
    /// Its name in a series and in the truth.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Service => "application",
        }
    }

    /// Its metrics, in the order of an event.
    pub(super) fn metrics(self) -> &'static [&'static str] {
        match self {
            Self::Server => &super::server::METRICS,
            Self::Service => &super::service::METRICS,
        }
    }
}

/// How a metric follows the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inertia {
    /// At once.
    None,
    /// As metal warms.
    Thermal,
    /// As memory fills; only the shape of the day, without its noise.
    Slow,
}

/// One metric of one entity.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// The value at no load.
    pub(super) base: f64,
    /// What a load of 1 adds.
    pub(super) gain: f64,
    /// How it follows the load.
    pub(super) inertia: Inertia,
    /// The memory of its own noise.
    pub(super) profile: Profile,
    /// The standard deviation of its own noise from bucket to bucket.
    pub(super) noise: f64,
    /// The standard deviation of the noise it shares with its rack.
    pub(super) shared: f64,
    /// The standard deviation of one sample around its bucket.
    pub(super) sample: f64,
    /// The physical upper limit.
    pub(super) limit: f64,
    /// Hashed for its own noise.
    pub(super) key: u64,
}

/// What drives the metrics of an entity.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// The shape of its day.
    pub(super) curve: &'static [f64; 24],
    /// How much earlier than the curve it lives, in seconds.
    pub(super) phase: i64,
    /// The standard deviation of its noise.
    pub(super) noise: f64,
    /// Hashed for its noise.
    pub(super) key: u64,
}

/// A server or a service.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    /// What it is.
    pub(super) entity_type: EntityType,
    /// Its name.
    pub(super) id: String,
    /// The rack of a server.
    pub(super) rack: Option<String>,
    /// Its zone.
    pub(super) zone: String,
    /// What drives it.
    pub(super) load: Load,
    /// Its metrics, in the order of its type.
    pub(super) channels: Vec<Channel>,
    /// The servers a service runs on, or the services that run on a server: indices in the fleet.
    pub(super) neighbours: Vec<usize>,
    /// Hashed for the noise it shares with its rack.
    pub(super) rack_key: u64,
    /// Hashed for its anomalies.
    pub(super) anomaly_key: u64,
}

/// The state of an entity at the start of a bucket; between two such states everything moves in a straight line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knot {
    bucket: i64,
    loads: [f64; THERMAL.len()],
    /// The metrics, without sample noise and anomalies.
    pub(super) values: [f64; WIDTH],
}

impl Entity {
    /// The state at the start of a bucket; `before` spares some work when it is the bucket just before, and changes nothing else.
    pub(super) fn knot(&self, bucket: i64, before: Option<&Knot>) -> Knot {
        let loads = match before {
            Some(knot) if knot.bucket + 1 == bucket => [self.load(bucket), knot.loads[0], knot.loads[1], knot.loads[2]],
            _ => [0, 1, 2, 3].map(|lag| self.load(bucket - lag)),
        };
        let thermal = loads.iter().zip(THERMAL).map(|(load, weight)| load * weight).sum::<f64>();
        let mut slow = None;
        let mut values = [0.0; WIDTH];
        for (value, channel) in values.iter_mut().zip(&self.channels) {
            let load = match channel.inertia {
                Inertia::None => loads[0],
                Inertia::Thermal => thermal,
                Inertia::Slow => *slow.get_or_insert_with(|| self.slow(bucket)),
            };
            *value = channel.base + channel.gain * load + channel.noise * channel.profile.at(channel.key, bucket);
            if channel.shared > 0.0 {
                *value += channel.shared * Profile::Slow.at(self.rack_key, bucket);
            }
        }
        Knot { bucket, loads, values }
    }

    fn load(&self, bucket: i64) -> f64 {
        self.shape(bucket) + self.load.noise * Profile::Fast.at(self.load.key, bucket)
    }

    fn shape(&self, bucket: i64) -> f64 {
        shape::load(self.load.curve, bucket * (BUCKET_MS / 1000) + self.load.phase)
    }

    fn slow(&self, bucket: i64) -> f64 {
        (0..4).map(|step| self.shape(bucket - step * SLOW_STRIDE)).sum::<f64>() / 4.0
    }

    /// The standard deviation of a metric's five-minute means around their daily and weekly shape, of `samples` samples each.
    ///
    /// It is known, not measured: noises are independent, so their variances add up. The noise of the load comes in through the metric's
    /// gain and inertia, its own and its rack's directly, each averaged over the bucket; the noise of single samples shrinks by `√samples`.
    pub(super) fn scale(&self, channel: usize, samples: f64) -> f64 {
        let channel = &self.channels[channel];
        let driven = match channel.inertia {
            Inertia::None => Profile::Fast.variance(&MEAN),
            Inertia::Thermal => Profile::Fast.variance(&mean_of_thermal()),
            Inertia::Slow => 0.0,
        };
        let square = |value: f64| value * value;
        let variance = square(channel.gain * self.load.noise) * driven
            + square(channel.noise) * channel.profile.variance(&MEAN)
            + square(channel.shared) * Profile::Slow.variance(&MEAN)
            + square(channel.sample) / samples;
        variance.sqrt()
    }

    /// How much an anomaly may add to a metric without meeting its limit even in the busiest hour.
    pub(super) fn room(&self, channel: usize) -> f64 {
        // Four sigma of noise and two of samples above the busiest hour: clipping would make the true shift smaller than the one stated.
        let Channel { base, gain, sample, limit, .. } = self.channels[channel];
        (limit - base - gain - 4.0 * self.scale(channel, f64::INFINITY) - 2.0 * sample).max(0.0)
    }
}

/// [`THERMAL`] averaged over a bucket.
fn mean_of_thermal() -> [f64; THERMAL.len() + 1] {
    let mut taps = [0.0; THERMAL.len() + 1];
    for (i, weight) in THERMAL.iter().enumerate() {
        taps[i] += MEAN[0] * weight;
        taps[i + 1] += MEAN[1] * weight;
    }
    taps
}

/// A channel that follows the load at once, with fast noise and no upper limit that an anomaly could meet.
pub(super) fn channel(base: f64, gain: f64, noise: f64, sample: f64, key: u64) -> Channel {
    let (inertia, profile) = (Inertia::None, Profile::Fast);
    Channel { base, gain, inertia, profile, noise, shared: 0.0, sample, limit: f64::INFINITY, key }
}
