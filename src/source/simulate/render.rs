//! Events as JSON, written digit by digit: values have two or three decimals, so integers say them exactly.

use super::entity::{Entity, EntityType};
use crate::instant;
use dataflows::Time;

/// Decimals of most metrics: below the noise of every one of them.
const DECIMALS: u32 = 2;

/// Decimals of the error rate, whose noise is a few hundredths.
const ERROR_DECIMALS: u32 = 3;

/// What is the same in every event of an entity.
#[derive(Clone, Debug)]
pub(super) struct Template {
    head: &'static str,
    labels: String,
    metrics: Vec<(String, u32)>,
}

impl Template {
    /// The template of an entity.
    pub(super) fn new(entity: &Entity) -> Self {
        let head = match entity.entity_type {
            EntityType::Server => r#"{"type":"server_metric","timestamp":""#,
            EntityType::Service => r#"{"type":"application_metric","timestamp":""#,
        };
        let (id, zone) = (&entity.id, &entity.zone);
        let labels = match &entity.rack {
            Some(rack) => format!(r#"","server_id":"{id}","rack_id":"{rack}","zone_id":"{zone}""#),
            None => format!(r#"","service_name":"{id}","zone_id":"{zone}""#),
        };
        let names = entity.entity_type.metrics().iter();
        let metrics = names.map(|name| (format!(r#","{name}":"#), decimals(name))).collect();
        Self { head, labels, metrics }
    }

    /// Writes an event over whatever the buffer held.
    pub(super) fn render(&self, time: &str, values: &[f64], buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(self.head.as_bytes());
        buffer.extend_from_slice(time.as_bytes());
        buffer.extend_from_slice(self.labels.as_bytes());
        for ((label, decimals), value) in self.metrics.iter().zip(values) {
            buffer.extend_from_slice(label.as_bytes());
            push_fixed(*value, *decimals, buffer);
        }
        buffer.push(b'}');
    }
}

fn decimals(metric: &str) -> u32 {
    if metric == "error_rate_percent" { ERROR_DECIMALS } else { DECIMALS }
}

/// Writes a number of 0 or more with a fixed number of decimals, the half rounded up.
fn push_fixed(value: f64, decimals: u32, buffer: &mut Vec<u8>) {
    // As many as a u64 has, and the point.
    let mut text = [0u8; 21];
    let mut place = text.len();
    let mut left = (value * f64::from(10u32.pow(decimals)) + 0.5) as u64;
    for written in 0.. {
        if written > decimals && left == 0 {
            break;
        }
        if written == decimals {
            place -= 1;
            text[place] = b'.';
        }
        place -= 1;
        text[place] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    buffer.extend_from_slice(&text[place..]);
}

/// The text of the last time asked for, as all entities share their ticks.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeText {
    time: Option<Time>,
    text: String,
}

impl TimeText {
    /// The text of a time.
    pub(super) fn of(&mut self, time: Time) -> &str {
        if self.time != Some(time) {
            self.time = Some(time);
            self.text = instant::format(time);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_numbers_are_what_format_writes() {
        for value in [0.0, 0.004, 0.05, 0.5, 9.999, 10.0, 99.99, 123.456, 1e6 + 0.25] {
            for decimals in [2, 3] {
                let mut buffer = Vec::new();
                push_fixed(value, decimals, &mut buffer);
                let text = String::from_utf8(buffer).unwrap();
                assert_eq!(text, format!("{value:.*}", decimals as usize), "{value}");
            }
        }
    }
}
