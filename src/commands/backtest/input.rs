//! What a backtest runs over: a table of samples, or a log of events.

use crate::source::Source;
use crate::source::file::{Files, count_lines};
use crate::source::table::Table;
use anyhow::Result;
use std::io::IsTerminal;
use std::sync::Arc;

/// A file to run over.
pub(super) enum Input {
    Table(Arc<Table>),
    Events(Arc<Files>),
}

impl Input {
    /// Opens it: a table by its name's ending, else a log.
    ///
    /// # Errors
    /// A file that cannot be read, or is no such table.
    pub(super) fn open(path: &str, record_bytes_max: usize) -> Result<Self> {
        let is_table = std::path::Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        Ok(if is_table {
            Self::Table(Arc::new(Table::sorted(path)?))
        } else {
            Self::Events(Arc::new(Files::open(path, record_bytes_max)?))
        })
    }

    /// Its records.
    pub(super) fn source(&self) -> Arc<dyn Source> {
        match self {
            Self::Table(table) => Arc::clone(table) as Arc<dyn Source>,
            Self::Events(files) => Arc::clone(files) as Arc<dyn Source>,
        }
    }

    /// How many records there are, for a progress bar; `None` where nobody sees one.
    pub(super) fn records(&self) -> Option<u64> {
        let partitions = self.source().partitions().ok().filter(|_| std::io::stderr().is_terminal())?;
        let header = u64::from(matches!(self, Self::Table(_)));
        let lines = partitions.iter().map(|partition| count_lines(&partition.name).ok());
        lines.sum::<Option<u64>>().map(|lines| lines.saturating_sub(header))
    }
}
