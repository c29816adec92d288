//! Rows as Parquet: what notebooks and databases read without guessing, in a fraction of the time that digits take.

use super::{Row, Said, Sheet};
use bytes::Bytes;
use dataflows::Policy;
use parquet::basic::{Encoding, Type};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use std::io::{self, Write};
use std::sync::Arc;

/// A row group: a column of it fits into a processor's cache.
const GROUP_ROWS: usize = 1 << 16;

/// A page of a column: what it is gathered in, 32 KiB of numbers, is at hand again for the next.
const PAGE_ROWS: usize = 1 << 12;

/// The columns of CSV, by the same names. Times are milliseconds since the epoch.
const SCHEMA: &str = "message verdicts {
    REQUIRED INT64 timestamp (TIMESTAMP(MILLIS, true));
    REQUIRED BYTE_ARRAY entity (STRING);
    REQUIRED BYTE_ARRAY metric (STRING);
    OPTIONAL DOUBLE value;
    OPTIONAL DOUBLE expected;
    OPTIONAL DOUBLE z_score;
    REQUIRED BOOLEAN is_anomaly;
    OPTIONAL INT64 bucket_start (TIMESTAMP(MILLIS, true));
    OPTIONAL DOUBLE mean;
    OPTIONAL DOUBLE sigma;
    REQUIRED BYTE_ARRAY state (STRING);
    OPTIONAL BYTE_ARRAY severity (STRING);
    OPTIONAL DOUBLE anomaly_score;
    OPTIONAL DOUBLE own_z_score;
    OPTIONAL INT64 count;
    OPTIONAL DOUBLE min;
    OPTIONAL DOUBLE max;
    OPTIONAL DOUBLE stddev;
}";

/// A file of Parquet.
pub struct Parquet {
    writer: SerializedFileWriter<Box<dyn Write + Send>>,
    policy: Policy,
    /// What is not written yet.
    columns: Columns,
}

impl Parquet {
    /// No rows yet.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: Box<dyn Write + Send>, policy: Policy) -> io::Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
        let properties =
            WriterProperties::builder().set_statistics_enabled(EnabledStatistics::Chunk).set_data_page_row_count_limit(PAGE_ROWS);
        let properties = schema.get_fields().iter().fold(properties, |properties, field| {
            let column = || ColumnPath::from(field.name());
            match field.get_physical_type() {
                // Hardly ever is there one twice.
                Type::DOUBLE => properties.set_column_dictionary_enabled(column(), false),
                // Those of a bucket have one time, and nearly one count.
                Type::INT64 => {
                    properties.set_column_dictionary_enabled(column(), false).set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED)
                }
                // Whoever reads a part of the file does so by time or by numbers; to compare all texts would take as long as to write them.
                Type::BYTE_ARRAY => properties.set_column_statistics_enabled(column(), EnabledStatistics::None),
                _ => properties,
            }
        });
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties.build())).map_err(failed)?;
        Ok(Self { writer, policy, columns: Columns::default() })
    }

    fn write(&mut self) -> io::Result<()> {
        if self.columns.timestamp.values.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(failed)?;
        self.columns.write(&mut group).and_then(|()| group.close()).map_err(failed)?;
        Ok(())
    }
}

impl Sheet for Parquet {
    fn add(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.columns.add(row, &self.policy);
        if self.columns.timestamp.values.len() >= GROUP_ROWS { self.write() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()?;
        self.writer.finish().map_err(failed)?;
        self.writer.inner_mut().flush()
    }
}

/// What a writer said, if it was that.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => cause.downcast::<io::Error>().map_or_else(io::Error::other, |cause| *cause),
        other => io::Error::other(other),
    }
}

/// The rows of a group, column by column.
#[derive(Default)]
struct Columns {
    timestamp: Column<i64>,
    entity: Texts,
    metric: Texts,
    value: Column<f64>,
    expected: Column<f64>,
    z_score: Column<f64>,
    is_anomaly: Column<bool>,
    bucket_start: Column<i64>,
    mean: Column<f64>,
    sigma: Column<f64>,
    state: Column<ByteArray>,
    severity: Column<ByteArray>,
    anomaly_score: Column<f64>,
    own_z_score: Column<f64>,
    count: Column<i64>,
    min: Column<f64>,
    max: Column<f64>,
    stddev: Column<f64>,
}

impl Columns {
    fn add(&mut self, row: &Row<'_>, policy: &Policy) {
        let said = row.verdict.map_or(Said::REFUSED, |(verdict, _)| Said::of(verdict, policy));
        let Said { score, aggregate, .. } = &said;
        let mean = aggregate.map(|aggregate| aggregate.mean.0);
        self.timestamp.add(Some(row.time.0));
        self.entity.add(row.name.entity);
        self.metric.add(row.name.metric);
        self.value.add(row.value.map_or(mean, |value| value.trim().parse().ok().filter(|number: &f64| number.is_finite())));
        self.expected.add(score.map(|score| score.expected.0));
        self.z_score.add(said.z_score);
        self.is_anomaly.add(Some(said.is_anomaly));
        self.bucket_start.add(row.verdict.map(|(verdict, _)| verdict.bucket.start));
        self.mean.add(mean);
        self.sigma.add(score.map(|score| score.sigma.0));
        self.state.add(Some(word(said.state)));
        self.severity.add(said.severity.map(word));
        self.anomaly_score.add(said.anomaly_score);
        self.own_z_score.add(score.map(|score| score.z_score.0));
        self.count.add(aggregate.map(|aggregate| aggregate.count.cast_signed()));
        self.min.add(aggregate.map(|aggregate| aggregate.min.0));
        self.max.add(aggregate.map(|aggregate| aggregate.max.0));
        self.stddev.add(aggregate.map(|aggregate| aggregate.stddev.0));
    }

    /// Writes all of it, in the order of the schema.
    fn write<W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        self.timestamp.write::<Int64Type, W>(group)?;
        self.entity.write(group)?;
        self.metric.write(group)?;
        self.value.write::<DoubleType, W>(group)?;
        self.expected.write::<DoubleType, W>(group)?;
        self.z_score.write::<DoubleType, W>(group)?;
        self.is_anomaly.write::<BoolType, W>(group)?;
        self.bucket_start.write::<Int64Type, W>(group)?;
        self.mean.write::<DoubleType, W>(group)?;
        self.sigma.write::<DoubleType, W>(group)?;
        self.state.write::<ByteArrayType, W>(group)?;
        self.severity.write::<ByteArrayType, W>(group)?;
        self.anomaly_score.write::<DoubleType, W>(group)?;
        self.own_z_score.write::<DoubleType, W>(group)?;
        self.count.write::<Int64Type, W>(group)?;
        self.min.write::<DoubleType, W>(group)?;
        self.max.write::<DoubleType, W>(group)?;
        self.stddev.write::<DoubleType, W>(group)
    }
}

/// A word of a few, which is neither copied nor counted.
fn word(text: &'static str) -> ByteArray {
    Bytes::from_static(text.as_bytes()).into()
}

/// The values of a column, and which rows have none.
struct Column<T> {
    values: Vec<T>,
    absent: Vec<usize>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), absent: Vec::new() }
    }
}

impl<T> Column<T> {
    fn add(&mut self, value: Option<T>) {
        match value {
            Some(value) => self.values.push(value),
            None => self.absent.push(self.values.len() + self.absent.len()),
        }
    }

    fn write<D: DataType<T = T>, W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let mut column = group.next_column()?.ok_or_else(|| ParquetError::General("there are more columns than in the schema".into()))?;
        // Of a column that is required, levels are not looked at.
        let mut levels = vec![1; self.values.len() + self.absent.len()];
        self.absent.drain(..).for_each(|row| levels[row] = 0);
        column.typed::<D>().write_batch(&self.values, Some(&levels), None)?;
        self.values.clear();
        column.close()
    }
}

/// A column of texts, one after another.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn add(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len());
    }

    fn write<W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let room = self.bytes.len();
        let bytes = ByteArray::from(std::mem::replace(&mut self.bytes, Vec::with_capacity(room)));
        let mut start = 0;
        let text = |end| {
            let from = std::mem::replace(&mut start, end);
            bytes.slice(from, end - from)
        };
        Column { values: self.ends.drain(..).map(text).collect(), absent: Vec::new() }.write::<ByteArrayType, W>(group)
    }
}
