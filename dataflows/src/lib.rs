//! The graphs of Tidewatch: pure functions of streams.

pub mod event;
pub mod identity;
pub mod model;
pub mod number;
pub mod verdict;

pub use event::{EVENT_WIDTH, Event, Time};
pub use identity::{EntityId, MetricId, SeriesId};
pub use model::{Model, Seasonal};
pub use number::Number;
pub use verdict::{Aggregate, Bucket, Score, Severity, State, Unscored, Verdict};
