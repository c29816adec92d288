//! The name of a series, as people write it.

use dataflows::{EntityId, MetricId, SeriesId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// In a line for people so many metrics are named.
pub const NAMED: usize = 8;

/// The first names of a list, at most so many, and how many more there are `of` them in all.
pub fn few(names: &[String], most: usize, of: usize) -> String {
    let named = &names[..names.len().min(most)];
    let (named, more) = (named.join(", "), of.saturating_sub(named.len()));
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// A name on one line, whatever a log has put into it.
pub fn on_one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One metric of one entity, by name: `server:srv-001:cpu_usage_percent`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesName {
    /// What kind of thing the entity is: `server`, `application`, or what the configuration says.
    pub entity_type: String,
    /// The thing measured. May contain colons; the other two parts may not.
    pub entity_id: String,
    /// What is measured.
    pub metric: String,
}

impl SeriesName {
    /// The series named by its three parts.
    pub fn new(entity_type: &str, entity_id: &str, metric: &str) -> Self {
        Self { entity_type: entity_type.into(), entity_id: entity_id.into(), metric: metric.into() }
    }

    /// Its identity in the graph and in history.
    pub fn id(&self) -> SeriesId {
        SeriesId::of(self.entity(), MetricId::of(&self.metric))
    }

    /// The identity of its entity.
    pub fn entity(&self) -> EntityId {
        EntityId::of(&self.entity_type, &self.entity_id)
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.entity_type, self.entity_id, self.metric)
    }
}

impl FromStr for SeriesName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once(':')
            .and_then(|(entity_type, rest)| rest.rsplit_once(':').map(|(entity_id, metric)| Self::new(entity_type, entity_id, metric)));
        parts.ok_or_else(|| format!("'{text}' is not a series: write entity_type:entity_id:metric"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_names_a_few_are_written_out() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([3, 2, 1].map(|most| few(&names, most, 3)), ["a, b, c", "a, b and 1 more", "a and 2 more"]);
    }

    #[test]
    fn a_name_survives_its_text_even_with_colons_in_the_entity() {
        let name = SeriesName::new("server", "[::1]:9100", "cpu_usage_percent");
        assert_eq!(name.to_string().parse(), Ok(name));
        assert!("cpu".parse::<SeriesName>().is_err());
    }
}
