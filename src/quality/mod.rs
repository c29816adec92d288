//! How well what was flagged agrees with what people have labelled.

mod counts;
mod labels;
mod report;
mod sweep;

pub use counts::{Count, Judged, Stretch, count, count_kinds, watched};
pub use labels::{Label, Labels, LabelsError};
pub use report::{KindRow, Quality, Row};
