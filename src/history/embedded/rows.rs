//! Many rows with one statement: SQLite begins and ends a statement in the time that it takes to insert two rows.

use super::Fault;
use rusqlite::{Connection, Statement, ToSql};

/// Rows of one statement. 20 make a row two fifths cheaper than one does, and 100 no more than that.
const TOGETHER: usize = 32;

/// The parameters of a row, one after another.
pub(super) struct Row<'a, 'b> {
    statement: &'a mut Statement<'b>,
    next: usize,
}

impl Row<'_, '_> {
    /// Gives the next parameter its value.
    pub(super) fn bind(&mut self, value: &impl ToSql) -> rusqlite::Result<()> {
        self.next += 1;
        self.statement.raw_bind_parameter(self.next, value)
    }
}

/// Runs `sql`, which ends where the values of a row of so many columns are to begin, for all rows; `bind` gives a row its values.
pub(super) fn insert<T>(
    connection: &Connection,
    sql: &str,
    columns: usize,
    rows: impl Iterator<Item = T>,
    mut bind: impl FnMut(&mut Row<'_, '_>, &T) -> rusqlite::Result<()>,
) -> Result<(), Fault> {
    let row = format!("({})", vec!["?"; columns].join(", "));
    let prepare = |count: usize| connection.prepare_cached(&format!("{sql} {}", vec![row.as_str(); count].join(", ")));
    let (mut together, mut rows, mut some) = (None, rows.peekable(), Vec::with_capacity(TOGETHER));
    while rows.peek().is_some() {
        some.clear();
        some.extend(rows.by_ref().take(TOGETHER));
        if some.len() == TOGETHER {
            let statement = match &mut together {
                Some(statement) => statement,
                None => together.insert(prepare(TOGETHER)?),
            };
            let mut parameters = Row { statement, next: 0 };
            some.iter().try_for_each(|row| bind(&mut parameters, row))?;
            statement.raw_execute()?;
            continue;
        }
        // What is left over goes one by one: a statement for every number of rows would be prepared again and again.
        let mut statement = prepare(1)?;
        for row in &some {
            bind(&mut Row { statement: &mut statement, next: 0 }, row)?;
            statement.raw_execute()?;
        }
    }
    Ok(())
}
