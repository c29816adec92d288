//! Limits: how much of anything a log may bring before it is refused, each with a flag and a reason of its own.

use clap::Args;

/// A MiB, in bytes.
const MIB: usize = 1 << 20;

/// What a log may bring. Beyond it, a record is a dead letter with the reason that each limit names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// A longer record is refused as too_large
    #[arg(long, value_name = "BYTES", default_value_t = Self::default().record_bytes_max, value_parser = record_bytes)]
    pub record_bytes_max: usize,
    /// A record whose arrays and objects are nested deeper is refused as too_deep
    #[arg(long, value_name = "N", default_value_t = Self::default().depth_max, value_parser = depth)]
    pub depth_max: usize,
    /// A record with more fields is refused as too_many_fields
    #[arg(long, value_name = "N", default_value_t = Self::default().fields_max, value_parser = count)]
    pub fields_max: usize,
    /// A longer name of an entity or a metric is refused as name_too_long
    #[arg(long, value_name = "BYTES", default_value_t = Self::default().name_bytes_max, value_parser = count)]
    pub name_bytes_max: usize,
    /// A record with more labels is refused as too_many_labels
    #[arg(long, value_name = "N", default_value_t = Self::default().labels_max, value_parser = count)]
    pub labels_max: usize,
    /// A longer value of a label is refused as label_too_long
    #[arg(long, value_name = "BYTES", default_value_t = Self::default().label_bytes_max, value_parser = count)]
    pub label_bytes_max: usize,
    /// A new entity beyond so many of its partition is refused as too_many_entities, until one of them was silent for longer than --forget
    #[arg(long, value_name = "N", default_value_t = Self::default().entities_max, value_parser = count)]
    pub entities_max: usize,
    /// A new metric beyond so many of its entity is refused as too_many_metrics, likewise
    #[arg(long, value_name = "N", default_value_t = Self::default().metrics_max, value_parser = count)]
    pub metrics_max: usize,
    /// A new series beyond so many of its partition is refused as too_many_series, likewise
    #[arg(long, value_name = "N", default_value_t = Self::default().series_max, value_parser = count)]
    pub series_max: usize,
    /// Dead letters of one partition, reason and hour that are kept with their bytes; more are only counted
    #[arg(long, value_name = "N", default_value_t = Self::default().dead_letters_max)]
    pub dead_letters_max: u64,
    /// A worker that holds more than this for the next commits stops reading until they are done
    #[arg(long, value_name = "BYTES", default_value_t = Self::default().in_flight_bytes_max, value_parser = count)]
    pub in_flight_bytes_max: usize,
}

impl Default for Limits {
    /// Room for ten thousand hosts of ten metrics on one partition: a hundred thousand series took 750 MB where a log was read as fast as it goes.
    fn default() -> Self {
        Self {
            record_bytes_max: 64 * 1024,
            depth_max: 32,
            fields_max: 256,
            name_bytes_max: 256,
            labels_max: 32,
            label_bytes_max: 256,
            entities_max: 10_000,
            metrics_max: 256,
            series_max: 100_000,
            dead_letters_max: 1000,
            in_flight_bytes_max: 128 * MIB,
        }
    }
}

fn count(text: &str) -> Result<usize, String> {
    within(text, 1, usize::MAX)
}

/// A record is held as a whole, so that its size is memory.
fn record_bytes(text: &str) -> Result<usize, String> {
    within(text, 1, 16 * MIB)
}

/// The parser itself descends no deeper than 128.
fn depth(text: &str) -> Result<usize, String> {
    within(text, 1, 100)
}

fn within(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        if most == usize::MAX { format!("must be a number from {least}") } else { format!("{text} is not in {least}..={most}") }
    })
}
