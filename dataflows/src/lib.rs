//! The graphs of Tidewatch: pure functions of streams.
//!
//! ```text
//!  events ───────exchange by entity──► ┌────────────────┐  buckets ±1  ┌───────────────┐  verdicts ±1
//!  reports ──────broadcast───────────► │ bucket_samples │ ───────────► │ score_buckets │ ──────────────────────────► collect_epochs ─► history
//!  acquaintances exchange by entity──► └────────────────┘ ── opens ──► └─▲───┬─────┬───┘  provisionals                 ▲
//!                                                            horizons    │   │     └──────────────────────────────────┤
//!  models, silences, … exchange by entity ───────────────────────────────┘   │ episodes ±1  ┌────────────────┐          │
//!  placements ───exchange by entity──────────────────────────────────────────┴────────────► │ group_episodes │ ─────────┘
//!                                                                                           └────────────────┘ incidents ±1
//! ```
//!
//! A timely timestamp is an *epoch*, one step of the log's progress; event time is data.
//!
//! **Invariant.** The final relation of verdicts is a function of the records per partition, the models and the policy.
//!
//! **Invariant.** No graph opens, logs, sleeps, or looks at a clock.
//!
//! **Invariant.** Late, missing and unscored are outputs, not errors.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod accumulator;
pub mod buckets;
pub mod cadence;
pub mod calendar;
pub mod calibration;
mod cells;
pub mod chorus;
pub mod clock;
pub mod digest;
pub mod episode;
pub mod event;
pub mod followed;
mod group_episodes;
pub mod identity;
pub mod incident;
mod intervals;
pub mod judge;
pub mod model;
pub mod number;
pub mod operators;
pub mod peaks;
pub mod policy;
pub mod provisional;
mod reach;
pub mod reading;
mod roll;
pub mod scorer;
mod season;
pub mod shift;
pub mod silence;
mod span;
pub mod step;
pub mod tracking;
pub mod turn;
pub mod verdict;
pub mod wire;

pub use cadence::Cadence;
pub use calendar::Calendar;
pub use calibration::{Promise, Tally, Watch};
pub use clock::{Activity, Admission, PartitionClock, Report, Timing};
pub use digest::Digest;
pub use episode::{Episode, EpisodeId, Peak, Stage};
pub use event::{EVENT_WIDTH, Event, Time};
pub use followed::{Past, Settled};
pub use group_episodes::group_episodes;
pub use identity::{EntityId, MetricId, SeriesId};
pub use incident::{Incident, IncidentId, Placement, Scope};
pub use judge::track_after;
pub use model::{Method, MetricType, Model, Seasonal, Warming};
pub use number::Number;
pub use operators::{BucketSamples, Epoch, Epochs, Fact, Horizon, ScoreBuckets, bucket_samples, collect_epochs, score_buckets};
pub use peaks::Calibration;
pub use policy::{AnomaliesPer, Direction, EpisodePolicy, IncidentPolicy, Limits, Missed, Policy};
pub use provisional::{Open, Provisional};

pub use season::Season;
pub use silence::Silence;
pub use span::Acquaintance;
pub use tracking::{Track, Tracker};
pub use verdict::{Aggregate, Bucket, Score, Severity, State, Unscored, Verdict, anomaly_score};
pub use wire::Plain;
