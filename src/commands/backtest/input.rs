//! What a backtest runs over: a table of samples, or a log of events.

use crate::kind::Kinds;
use crate::source::Source;
use crate::source::file::{Files, count_lines};
use crate::source::table::Table;
use anyhow::Result;
use std::io::IsTerminal;
use std::sync::Arc;

/// A file to run over.
pub(super) enum Input {
    /// With what its entities are called.
    Table(Arc<Table>, String),
    Events(Arc<Files>),
}

impl Input {
    /// Opens it: a table by its name's ending, else a log.
    ///
    /// # Errors
    /// A file that cannot be read, or is no such table.
    pub(super) fn open(path: &str, record_bytes_max: usize, kinds: &Kinds) -> Result<Self> {
        if !Table::is_at(path) {
            return Ok(Self::Events(Arc::new(Files::open(path, record_bytes_max)?)));
        }
        let entity_type = kinds.of_table().iter().map(|kind| kind.entity_type.clone()).collect();
        Ok(Self::Table(Arc::new(Table::open(path, record_bytes_max)?.sorted()), entity_type))
    }

    /// The kinds that its records are of.
    pub(super) fn kinds(&self, configured: &Kinds) -> Kinds {
        match self {
            Self::Table(..) => configured.of_table(),
            Self::Events(_) => configured.clone(),
        }
    }

    /// What a history that holds it already, by a run or a backtest, calls it.
    pub(super) fn identities(&self) -> Vec<String> {
        match self {
            Self::Table(table, _) => table.identities().into(),
            Self::Events(files) => vec![files.identity()],
        }
    }

    /// Its records.
    pub(super) fn source(&self) -> Arc<dyn Source> {
        match self {
            Self::Table(table, _) => Arc::clone(table) as Arc<dyn Source>,
            Self::Events(files) => Arc::clone(files) as Arc<dyn Source>,
        }
    }

    /// How many records there are, for a progress bar; `None` where nobody sees one.
    pub(super) fn records(&self) -> Option<u64> {
        let partitions = self.source().partitions().ok().filter(|_| std::io::stderr().is_terminal())?;
        let header = u64::from(matches!(self, Self::Table(..)));
        let lines = partitions.iter().map(|partition| count_lines(&partition.name).ok());
        lines.sum::<Option<u64>>().map(|lines| lines.saturating_sub(header))
    }
}
