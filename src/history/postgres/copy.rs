//! Rows in the binary format of COPY, and times as PostgreSQL counts them.
//!
//! Format: PostgreSQL, reference of COPY, "Binary Format". Written by hand because the library's writer takes one
//! dynamically typed parameter per field; a field here is a length and its bytes.

use crate::history::row;
use crate::history::statement::Value;
use dataflows::Time;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use std::error::Error;

/// 2000-01-01T00:00:00Z in milliseconds since 1970.
const POSTGRES_EPOCH: Time = 946_684_800_000;

/// The times that TIMESTAMPTZ holds, in microseconds since 2000: 4713 BC to 294276 AD (`datatype/timestamp.h`).
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// A time on its way to or from TIMESTAMPTZ. What the type cannot hold becomes -infinity or infinity: `i64::MIN` there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant(pub Time);

impl Instant {
    fn micros(self) -> i64 {
        match self.0.checked_sub(POSTGRES_EPOCH).and_then(|time| time.checked_mul(1000)) {
            Some(micros) if MICROS.contains(&micros) => micros,
            _ if self.0 < 0 => i64::MIN,
            _ => i64::MAX,
        }
    }

    fn from_micros(micros: i64) -> Self {
        match micros {
            i64::MIN | i64::MAX => Self(micros),
            _ => Self(micros.div_euclid(1000) + POSTGRES_EPOCH),
        }
    }
}

impl<'a> FromSql<'a> for Instant {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        i64::from_sql(&Type::INT8, raw).map(Self::from_micros)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

impl ToSql for Instant {
    fn to_sql(&self, _: &Type, out: &mut postgres::types::private::BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.micros().to_sql(&Type::INT8, out)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut postgres::types::private::BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Integer(value) => value.to_sql(kind, out),
            Self::Number(value) => value.to_sql(kind, out),
            Self::Time(value) => value.map(Instant).to_sql(kind, out),
            Self::Text(value) => value.to_sql(kind, out),
            Self::Flag(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::FLOAT8, Type::TIMESTAMPTZ, Type::TEXT, Type::BOOL].contains(kind)
    }

    to_sql_checked!();
}

/// Rows, encoded.
pub(super) struct Rows {
    bytes: Vec<u8>,
    columns: i16,
    count: usize,
}

impl Rows {
    /// No rows yet, of so many columns.
    pub fn new(columns: i16) -> Self {
        let mut bytes = b"PGCOPY\n\xff\r\n\0".to_vec();
        bytes.extend([0; 8]); // no flags, no header extension
        Self { bytes, columns, count: 0 }
    }

    /// Begins a row; as many fields as there are columns follow.
    pub fn row(&mut self) {
        self.bytes.extend(self.columns.to_be_bytes());
        self.count += 1;
    }

    /// Whether no row was begun.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A BIGINT.
    pub fn integer(&mut self, value: i64) {
        self.field(&value.to_be_bytes());
    }

    /// A DOUBLE PRECISION, bit for bit.
    pub fn number(&mut self, value: Option<f64>) {
        match value {
            Some(value) => self.field(&value.to_bits().to_be_bytes()),
            None => self.null(),
        }
    }

    /// A TIMESTAMPTZ.
    pub fn time(&mut self, time: Time) {
        self.integer(Instant(time).micros());
    }

    /// A TEXT.
    pub fn text(&mut self, text: &str) {
        self.field(row::text(text).as_bytes());
    }

    /// A TEXT that may be absent.
    pub fn text_or_null(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// Whatever a statement could take as a parameter.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Integer(Some(value)) => self.integer(*value),
            Value::Number(Some(value)) => self.number(Some(*value)),
            Value::Time(Some(time)) => self.time(*time),
            Value::Text(Some(text)) => self.text(text),
            Value::Flag(Some(flag)) => self.field(&[u8::from(*flag)]),
            _ => self.null(),
        }
    }

    /// A JSONB.
    pub fn json(&mut self, json: &str) {
        self.length(json.len() + 1);
        self.bytes.push(1); // the version of the binary format
        self.bytes.extend(json.as_bytes());
    }

    /// A BYTEA.
    pub fn field(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend(bytes);
    }

    /// What has been encoded and not been cleared.
    pub fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what has been sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The end, and everything before it that has not been cleared.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend((-1i16).to_be_bytes());
        self.bytes
    }

    fn null(&mut self) {
        self.bytes.extend((-1i32).to_be_bytes());
    }

    /// A field beyond 2 GiB is cut by no one here: the server refuses its length.
    fn length(&mut self, length: usize) {
        self.bytes.extend(i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_and_what_has_no_place_is_infinite() {
        for time in [0, -1, 1, POSTGRES_EPOCH, 1_769_257_800_123, -62_135_596_800_000, i64::MIN, i64::MAX] {
            assert_eq!(Instant::from_micros(Instant(time).micros()), Instant(time));
        }
        assert_eq!(Instant(i64::MIN + 1).micros(), i64::MIN);
        assert_eq!(Instant(i64::MAX / 2).micros(), i64::MAX);
    }
}
