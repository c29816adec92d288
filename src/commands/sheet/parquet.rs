//! Rows as Parquet: what notebooks and databases read without guessing, in a fraction of the time that digits take.

use super::column::{is_anomaly, severity, state};
use super::{Column, Row, Sheet};
use bytes::Bytes;
use dataflows::{Policy, Time, Verdict};
use parquet::basic::{Encoding, Type};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use std::io::{self, Write};
use std::sync::Arc;

/// A row group: a column of it fits into a processor's cache.
const GROUP_ROWS: usize = 1 << 16;

/// A page of a column: what it is gathered in, 32 KiB of numbers, is at hand again for the next.
const PAGE_ROWS: usize = 1 << 12;

/// Rows are parted into columns so many at once, while they are in a processor's cache.
const BLOCK_ROWS: usize = 1 << 10;

/// A column as a schema declares it, by the name that it has in CSV. Times are milliseconds since the epoch.
fn declared(column: Column) -> String {
    let name = column.name();
    match column {
        Column::Timestamp => format!("REQUIRED INT64 {name} (TIMESTAMP(MILLIS, true));"),
        Column::BucketStart => format!("OPTIONAL INT64 {name} (TIMESTAMP(MILLIS, true));"),
        Column::Count => format!("OPTIONAL INT64 {name};"),
        Column::Entity | Column::Metric | Column::State => format!("REQUIRED BYTE_ARRAY {name} (STRING);"),
        Column::Severity => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
        Column::IsAnomaly => format!("REQUIRED BOOLEAN {name};"),
        _ => format!("OPTIONAL DOUBLE {name};"),
    }
}

/// A file of Parquet.
pub struct Parquet {
    writer: SerializedFileWriter<Box<dyn Write + Send>>,
    policy: Policy,
    /// Rows that are not parted into columns yet.
    block: Vec<Line>,
    /// What is not written yet, in the order of the schema.
    columns: Vec<(Column, Values)>,
    rows: usize,
}

/// A row without its texts.
struct Line {
    time: Time,
    /// What the input gave, if it did; a text that is no number is none.
    given: Option<Option<f64>>,
    verdict: Option<Verdict>,
}

impl Parquet {
    /// No rows yet.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: Box<dyn Write + Send>, columns: &[Column], policy: Policy) -> io::Result<Self> {
        let declared: Vec<String> = columns.iter().map(|column| declared(*column)).collect();
        let schema = parse_message_type(&format!("message verdicts {{ {} }}", declared.join(" "))).map_err(failed)?;
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
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties.build())).map_err(failed)?;
        let columns = columns.iter().map(|column| (*column, Values::of(*column))).collect();
        Ok(Self { writer, policy, block: Vec::with_capacity(BLOCK_ROWS), columns, rows: 0 })
    }

    /// Parts the rows of a block into columns.
    fn part(&mut self) {
        let Self { policy, block, columns, .. } = self;
        columns.iter_mut().for_each(|(column, values)| values.add(*column, block, policy));
        self.rows += block.len();
        block.clear();
    }

    fn write(&mut self) -> io::Result<()> {
        self.part();
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(failed)?;
        self.columns.iter_mut().try_for_each(|(_, values)| values.write(&mut group)).and_then(|()| group.close()).map_err(failed)?;
        Ok(())
    }
}

impl Sheet for Parquet {
    fn add(&mut self, row: &Row<'_>) -> io::Result<()> {
        for (column, values) in &mut self.columns {
            if let Values::Texts(texts) = values {
                texts.add(if *column == Column::Entity { row.entity } else { row.metric });
            }
        }
        let number = |value: &str| value.trim().parse().ok().filter(|number: &f64| number.is_finite());
        self.block.push(Line { time: row.time.0, given: row.value.map(number), verdict: row.verdict.map(|(verdict, _)| *verdict) });
        if self.block.len() == BLOCK_ROWS {
            self.part();
        }
        if self.rows >= GROUP_ROWS { self.write() } else { Ok(()) }
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

/// What a column of a group holds.
enum Values {
    Numbers(Cells<f64>),
    Wholes(Cells<i64>),
    Flags(Cells<bool>),
    Words(Cells<ByteArray>),
    /// Added row by row, since they are borrowed.
    Texts(Texts),
}

impl Values {
    fn of(column: Column) -> Self {
        match column {
            Column::Timestamp | Column::BucketStart | Column::Count => Self::Wholes(Cells::default()),
            Column::Entity | Column::Metric => Self::Texts(Texts::default()),
            Column::IsAnomaly => Self::Flags(Cells::default()),
            Column::State | Column::Severity => Self::Words(Cells::default()),
            _ => Self::Numbers(Cells::default()),
        }
    }

    /// Adds what a column says of the rows of a block.
    fn add(&mut self, column: Column, block: &[Line], policy: &Policy) {
        match self {
            Self::Numbers(cells) => cells.add(block, |line| {
                let given = line.given.filter(|_| column == Column::Value);
                given.unwrap_or_else(|| column.number(line.verdict.as_ref()?, policy))
            }),
            Self::Wholes(cells) => cells.add(block, |line| match column {
                Column::Timestamp => Some(line.time),
                Column::BucketStart => line.verdict.as_ref().map(|verdict| verdict.bucket.start),
                _ => line.verdict.as_ref()?.bucket.aggregate.map(|aggregate| aggregate.count.cast_signed()),
            }),
            Self::Flags(cells) => cells.add(block, |line| Some(is_anomaly(line.verdict.as_ref()))),
            Self::Words(cells) => cells.add(block, |line| match column {
                Column::State => Some(word(state(line.verdict.as_ref()))),
                _ => severity(line.verdict.as_ref()?, policy).map(word),
            }),
            Self::Texts(_) => {}
        }
    }

    fn write<W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        match self {
            Self::Numbers(cells) => cells.write::<DoubleType, W>(group),
            Self::Wholes(cells) => cells.write::<Int64Type, W>(group),
            Self::Flags(cells) => cells.write::<BoolType, W>(group),
            Self::Words(cells) => cells.write::<ByteArrayType, W>(group),
            Self::Texts(texts) => texts.write(group),
        }
    }
}

/// A word of a few, which is neither copied nor counted.
fn word(text: &'static str) -> ByteArray {
    Bytes::from_static(text.as_bytes()).into()
}

/// The values of a column, and which rows have none.
struct Cells<T> {
    values: Vec<T>,
    absent: Vec<usize>,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self { values: Vec::new(), absent: Vec::new() }
    }
}

impl<T> Cells<T> {
    fn add(&mut self, block: &[Line], value: impl Fn(&Line) -> Option<T>) {
        self.values.reserve(block.len());
        for line in block {
            match value(line) {
                Some(value) => self.values.push(value),
                None => self.absent.push(self.values.len() + self.absent.len()),
            }
        }
    }

    fn write<D: DataType<T = T>, W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let mut column = next_column(group)?;
        // Of a column that is required, levels are not looked at.
        let mut levels = vec![1; self.values.len() + self.absent.len()];
        self.absent.drain(..).for_each(|row| levels[row] = 0);
        column.typed::<D>().write_batch(&self.values, Some(&levels), None)?;
        self.values.clear();
        column.close()
    }
}

/// A column of texts. The names of a bucket come in one order, and so do those of the next: a text most often is the one that stands behind the last one's
/// already, and what is there is neither copied nor counted.
#[derive(Default)]
struct Texts {
    known: Vec<ByteArray>,
    /// The place among them of each row's text.
    rows: Vec<usize>,
    /// The place behind that of the last row.
    next: usize,
}

/// So far ahead a text is looked for: a few series of a bucket may be missing.
const AHEAD: usize = 8;

impl Texts {
    fn add(&mut self, text: &str) {
        let is_same = |place: &usize| self.known.get(*place).is_some_and(|known| known.data() == text.as_bytes());
        let place = (self.next..self.next + AHEAD).find(is_same).or_else(|| Some(0).filter(is_same)).unwrap_or_else(|| {
            self.known.push(ByteArray::from(text));
            self.known.len() - 1
        });
        self.rows.push(place);
        self.next = place + 1;
    }

    fn write<W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let mut column = next_column(group)?;
        for run in self.rows.chunk_by(|one, next| one + 1 == *next) {
            column.typed::<ByteArrayType>().write_batch(&self.known[run[0]..run[0] + run.len()], None, None)?;
        }
        self.rows.clear();
        // Where nothing comes again, it is not kept.
        if self.known.len() >= GROUP_ROWS {
            self.known.clear();
        }
        column.close()
    }
}

fn next_column<'a, W: Write + Send>(group: &'a mut SerializedRowGroupWriter<'_, W>) -> Result<SerializedColumnWriter<'a>, ParquetError> {
    group.next_column()?.ok_or_else(|| ParquetError::General("there are more columns than in the schema".into()))
}
