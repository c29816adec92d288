//! SQL that both stores understand, for the tables that few rows go through: parameters are `$1`, `$2`, … in the order of their values.

use dataflows::Time;

/// A parameter or a column of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// BIGINT; `None` is NULL, as below.
    Integer(Option<i64>),
    /// DOUBLE PRECISION.
    Number(Option<f64>),
    /// TIMESTAMPTZ; milliseconds in SQLite.
    Time(Option<Time>),
    /// TEXT.
    Text(Option<String>),
    /// BOOLEAN; 0 or 1 in SQLite.
    Flag(Option<bool>),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// See [`Value::Integer`].
    Integer,
    /// See [`Value::Number`].
    Number,
    /// See [`Value::Time`].
    Time,
    /// See [`Value::Text`].
    Text,
    /// See [`Value::Flag`].
    Flag,
}

/// One statement and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The text; the same for every set of values, so that it is prepared once.
    pub sql: &'static str,
    /// The parameters, in order.
    pub values: Vec<Value>,
}

/// One row of an answer, read column by column.
#[derive(Clone, Debug)]
pub struct Columns(pub std::vec::IntoIter<Value>);

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(Some(i64::from(value)))
    }
}

impl From<Option<f64>> for Value {
    fn from(value: Option<f64>) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(super::row::text(value).into_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        value.map_or(Self::Text(None), Self::from)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(Some(value))
    }
}

impl Value {
    /// A time, which as a number would be an integer.
    pub fn time(time: Time) -> Self {
        Self::Time(Some(time))
    }

    /// A time that may be absent.
    pub fn some_time(time: Option<Time>) -> Self {
        Self::Time(time)
    }
}

/// Columns are read in the order of the query; one of another type than asked for, or NULL, is the type's default.
impl Columns {
    /// The next column.
    pub fn integer(&mut self) -> i64 {
        match self.0.next() {
            Some(Value::Integer(Some(value))) => value,
            _ => 0,
        }
    }

    /// The next column, where NULL means that there is none.
    pub fn some_integer(&mut self) -> Option<i64> {
        match self.0.next() {
            Some(Value::Integer(value)) => value,
            _ => None,
        }
    }

    /// The next column, which is never negative nor large.
    pub fn count(&mut self) -> u32 {
        u32::try_from(self.integer()).unwrap_or(u32::MAX)
    }

    /// The next column.
    pub fn number(&mut self) -> Option<f64> {
        match self.0.next() {
            Some(Value::Number(value)) => value,
            _ => None,
        }
    }

    /// The next column.
    pub fn time(&mut self) -> Option<Time> {
        match self.0.next() {
            Some(Value::Time(value)) => value,
            _ => None,
        }
    }

    /// The next column.
    pub fn text(&mut self) -> Option<String> {
        match self.0.next() {
            Some(Value::Text(value)) => value,
            _ => None,
        }
    }

    /// The next column.
    pub fn flag(&mut self) -> bool {
        matches!(self.0.next(), Some(Value::Flag(Some(true))))
    }
}
