//! Kinds: which field of somebody's JSON is the entity, which the time, which are labels, which are metrics.

use dataflows::silence::fits;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// How the events of one type are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What the `type` field of the record says.
    pub name: String,
    /// What the entity is called in series names: `server`.
    pub entity_type: String,
    /// The field that names the entity: `server_id`. One inside of an object is named by the way there, here and in what follows: `tags.host`.
    pub entity: String,
    /// The field that holds the event time: RFC 3339 text, or a number of seconds or milliseconds since 1970.
    pub time: String,
    /// Fields that are labels of the entity: `rack_id`.
    pub labels: Vec<String>,
    /// Which of the labels is the rack; `None`: entities have none.
    pub rack: Option<String>,
    /// Which of the labels is the zone; `None`: entities have none.
    pub zone: Option<String>,
    /// Fields that are metrics, with `*` and `?` as in a shell; `None`: every number of the record itself that is nothing else.
    pub metrics: Option<Vec<String>>,
    /// Fields whose texts stand before the names of all metrics, with a point behind each: what one record measures another does not.
    pub prefix: Vec<String>,
    /// What the names of metrics have not of the fields they come from, where these begin with it: `fields.`; mostly empty.
    pub strip: String,
}

/// A `[kinds.NAME]` table of the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindTable {
    entity: String,
    entity_type: Option<String>,
    #[serde(default = "default_time")]
    time: String,
    #[serde(default)]
    labels: Vec<String>,
    rack: Option<String>,
    zone: Option<String>,
    metrics: Option<Vec<String>>,
    #[serde(default)]
    prefix: Vec<String>,
    #[serde(default)]
    strip: String,
}

/// What a rack and a zone are usually called.
const RACKS: [&str; 2] = ["rack_id", "rack"];
const ZONES: [&str; 4] = ["zone_id", "zone", "availability_zone", "az"];

/// The label that a table names, or the first that goes by a usual name; where none does, one that does inside of an object.
fn label_named(named: Option<String>, usual: &[&str], labels: &[String]) -> Option<String> {
    let first = |is: &dyn Fn(&str, &str) -> bool| usual.iter().find_map(|usual| labels.iter().find(|label| is(label, usual)).cloned());
    named.or_else(|| first(&|label, usual| label == usual)).or_else(|| first(&|label, usual| label.rsplit('.').next() == Some(usual)))
}

impl Kind {
    /// Whether a number of this name is a metric. One inside of an object is only where the kind names it by the way there.
    pub fn is_metric(&self, name: &str, is_inside: bool) -> bool {
        match &self.metrics {
            None => !is_inside,
            Some(metrics) => metrics.iter().any(|wanted| (!is_inside || wanted.contains('.')) && is_named(wanted, name)),
        }
    }

    /// What the metric of a field is called, but for what stands before it. A field is not stripped of all it has.
    pub fn called<'a>(&self, field: &'a str) -> &'a str {
        field.strip_prefix(&*self.strip).filter(|rest| !rest.is_empty()).unwrap_or(field)
    }

    /// Whether it names this metric itself, not by a pattern: its number may be written as a text.
    pub fn names_metric(&self, name: &str) -> bool {
        self.metrics.iter().flatten().any(|wanted| wanted == name)
    }

    /// Whether some of its metrics are inside of objects.
    pub fn looks_inside(&self) -> bool {
        self.metrics.iter().flatten().any(|wanted| wanted.contains('.'))
    }

    /// Whether it names what goes by this name inside of an object.
    pub fn names_inside(&self, name: &str) -> bool {
        self.ways().any(|way| is_named(way, name))
    }

    /// Whether there is anything of that.
    pub fn names_something_inside(&self) -> bool {
        self.ways().next().is_some()
    }

    /// What it names that none of these metrics and labels of its entities comes from. Of fields that stand before the names of metrics it can be told where
    /// none of them stands before any.
    pub fn unseen(&self, metrics: &BTreeSet<&str>, labels: &BTreeSet<&str>) -> Vec<&str> {
        // As the field that it comes from may be called.
        let is_of = |wanted: &str, metric: &str| is_named(wanted, metric) || is_named(wanted, &format!("{}{metric}", self.strip));
        // Behind whatever stands before it.
        let ends = |metric: &str, wanted: &str| metric.match_indices('.').any(|(point, _)| is_of(wanted, &metric[point + 1..]));
        let is_there = |wanted: &str| metrics.iter().any(|metric| is_of(wanted, metric) || !self.prefix.is_empty() && ends(metric, wanted));
        let named = || self.metrics.iter().flatten().map(String::as_str);
        // Of what is stripped a pattern may leave anything.
        let is_whole =
            |wanted: &str, metric: &str| if self.strip.is_empty() { is_named(wanted, metric) } else { self.called(wanted) == metric };
        let is_bare = self.metrics.is_some() && metrics.iter().all(|metric| named().any(|wanted| is_whole(wanted, metric)));
        let before = self.prefix.iter().filter(|_| is_bare).map(String::as_str);
        let labels = self.labels.iter().map(String::as_str).filter(|label| !labels.contains(label));
        named().filter(|wanted| !is_there(wanted)).chain(labels).chain(before).collect()
    }

    /// What it names, as far as that may stand inside of an object.
    fn ways(&self) -> impl Iterator<Item = &String> {
        let named = [&self.entity, &self.time].into_iter().chain(&self.labels).chain(&self.prefix).chain(self.metrics.iter().flatten());
        named.filter(|name| name.contains('.'))
    }
}

/// What kinds name inside of objects, by the way there: `tags.host`, `fields.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways(Vec<String>);

impl Ways {
    /// Whether one of them leads into an object that is called so. Through a pattern, none that is longer than a name may be: it would be copied for all that
    /// is inside, and come to nothing.
    pub fn lead_inside(&self, object: &str, name_bytes_max: usize) -> bool {
        self.0.iter().any(|way| {
            let plain = way.split(['*', '?']).next().unwrap_or_default();
            let goes_on = |whole: &str, part: &str| whole.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'));
            goes_on(plain, object) || plain.len() < way.len() && object.len() <= name_bytes_max && object.starts_with(plain)
        })
    }

    /// Whether one of them is, or fits, this name.
    pub fn name(&self, name: &str) -> bool {
        self.0.iter().any(|way| is_named(way, name))
    }
}

/// Whether a name, or a pattern with `*` and `?`, means this one.
fn is_named(wanted: &str, name: &str) -> bool {
    wanted == name || wanted.contains(['*', '?']) && fits(wanted, name)
}

fn default_time() -> String {
    "timestamp".into()
}

/// All kinds that are watched. The order decides where a record says nothing of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds {
    kinds: Vec<Kind>,
    ways: Ways,
}

impl Default for Kinds {
    /// The two built-in kinds.
    fn default() -> Self {
        let kind = |name: &str, entity_type: &str, entity: &str, labels: &[&str]| {
            let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
            Kind {
                name: name.into(),
                entity_type: entity_type.into(),
                entity: entity.into(),
                time: default_time(),
                rack: label_named(None, &RACKS, &labels),
                zone: label_named(None, &ZONES, &labels),
                labels,
                metrics: None,
                prefix: Vec::new(),
                strip: String::new(),
            }
        };
        let kinds = vec![
            kind("server_metric", "server", "server_id", &["rack_id", "zone_id"]),
            kind("application_metric", "application", "service_name", &["zone_id"]),
        ];
        Self { kinds, ways: Ways::default() }
    }
}

impl Kinds {
    /// The built-in kinds, and those of the configuration; one of the same name replaces a built-in.
    ///
    /// # Errors
    /// A kind that no record could be of, in words.
    pub fn with(tables: BTreeMap<String, KindTable>) -> Result<Self, String> {
        let mut kinds = Self::default();
        for (name, table) in tables {
            if let Some(metric) = table.metrics.iter().flatten().find(|metric| metric.is_empty() || metric.contains([':', '\0'])) {
                return Err(format!("kind '{name}': '{metric}' is no metric: its name must have at least one letter and no colon"));
            }
            if table.entity == table.time {
                return Err(format!("kind '{name}': '{}' cannot be the entity and the time", table.entity));
            }
            if let Some(field) = table.prefix.iter().find(|field| field.is_empty() || field.contains(['*', '?'])) {
                return Err(format!("kind '{name}': '{field}' in prefix is no name of a field"));
            }
            let named = table.entity_type.as_ref().unwrap_or(&name);
            if named.contains([':', '\0']) {
                return Err(format!(
                    "kind '{name}': the entity_type '{named}' stands before the colon in the names of series, and can hold none"
                ));
            }
            if let Some(field) = table.prefix.iter().find(|field| [&table.entity, &table.time].contains(field)) {
                return Err(format!("kind '{name}': '{field}' is the entity or the time, and cannot stand before the names of metrics"));
            }
            kinds.kinds.retain(|kind| kind.name != name);
            let entity_type = table.entity_type.unwrap_or_else(|| name.clone());
            let mut labels = table.labels;
            // What is named as rack or zone is a label, whether or not the list of labels says so.
            for named in [&table.rack, &table.zone].into_iter().flatten() {
                if !labels.contains(named) {
                    labels.push(named.clone());
                }
            }
            let (rack, zone) = (label_named(table.rack, &RACKS, &labels), label_named(table.zone, &ZONES, &labels));
            kinds.kinds.push(Kind {
                name,
                entity_type,
                entity: table.entity,
                time: table.time,
                labels,
                rack,
                zone,
                metrics: table.metrics,
                prefix: table.prefix,
                strip: table.strip,
            });
        }
        kinds.ways = Ways(kinds.kinds.iter().flat_map(Kind::ways).cloned().collect());
        Ok(kinds)
    }

    /// The one kind of a table's rows: the built-in one of servers, whatever replaces it, but for what its entities are called then.
    #[must_use]
    pub fn of_table(&self) -> Self {
        let mut kinds = Self::default();
        kinds.kinds.truncate(1);
        let servers = &mut kinds.kinds[0];
        if let Some(configured) = self.kinds.iter().find(|kind| kind.name == servers.name) {
            servers.entity_type.clone_from(&configured.entity_type);
        }
        kinds
    }

    /// Those of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &Kind> {
        let built_in = Self::default();
        self.kinds.iter().filter(move |kind| !built_in.kinds.contains(kind))
    }

    /// What they name inside of objects.
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// All kinds.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter()
    }

    /// The kind of a record: the one that its `type` names, or, where it has none, the first whose entity field is there.
    pub fn of<'a>(&'a self, named: Option<&str>, has: impl Fn(&str) -> bool) -> Option<(usize, &'a Kind)> {
        self.kinds.iter().enumerate().find(|(_, kind)| match named {
            Some(name) => kind.name == name,
            None => has(&kind.entity),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_and_nowhere_to_be_found_is_known() {
        let unseen = |table: &str, metrics: &[&str], labels: &[&str]| {
            let kinds = Kinds::with(toml::from_str(table).unwrap()).unwrap();
            let kind = kinds.configured().next().unwrap().clone();
            kind.unseen(&metrics.iter().copied().collect(), &labels.iter().copied().collect()).join(" ")
        };
        let pump = "[pump]\nentity = 'id'\nmetrics = ['flow_lsp', 'pressure_*']\nlabels = ['siet']\nrack = 'pit'";
        assert_eq!(unseen(pump, &["flow_lps", "pressure_bar"], &["site", "pit"]), "flow_lsp siet");
        let telegraf = "[t]\nentity = 'tags.host'\nmetrics = ['fields.used', 'fields.free']\nprefix = ['name', 'tags.cpu']";
        assert_eq!(unseen(telegraf, &["mem.fields.used", "cpu.cpu0.fields.free"], &[]), "");
        assert_eq!(unseen(telegraf, &["fields.used", "mem.fields.free"], &[]), "");
        assert_eq!(unseen(telegraf, &["fields.used"], &[]), "fields.free name tags.cpu");
        let stripped = format!("{telegraf}\nstrip = 'fields.'");
        assert_eq!(unseen(&stripped, &["mem.used", "cpu.cpu0.fre"], &[]), "fields.free");
        assert_eq!(unseen(&stripped, &["used", "free"], &[]), "name tags.cpu");
        let pattern = "[t]\nentity = 'tags.host'\nmetrics = ['fields.*', '*.used']\nprefix = ['name', 'tags.cpu']\nstrip = 'fields.'";
        assert_eq!(unseen(pattern, &["cpu.cpu0.usage_idle", "mem.used"], &[]), "");
        assert_eq!(unseen("[p]\nentity = 'id'\nprefix = ['nmae']", &["flow"], &[]), "", "which part of a name is what is not known");
        assert_eq!(Kinds::default().configured().count(), 0);
    }
}
