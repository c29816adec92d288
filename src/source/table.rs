//! `file:` a CSV of samples, `timestamp,entity,metric,value`; every row becomes one event of a server, so that it goes the way of all records.

pub use super::row::COLUMNS;
use super::row::{Row, render, text};
use super::{Partition, Poll, Reader, Record, Source, SourceError};
use crate::instant;
use crate::line::Lines;
use csv::{ByteRecord, Position};
use dataflows::Time;
use std::fs::File;
use std::io::BufReader;

/// A CSV file as a log of one partition whose offsets are byte positions.
pub struct Table {
    path: String,
    sorted: bool,
}

impl Table {
    /// The file at `path`, whose header has been looked at.
    ///
    /// # Errors
    /// A file that is not there, is empty, or lacks a column.
    pub fn open(path: &str) -> Result<Self, SourceError> {
        // A file has one name, under which progress is kept, from whatever folder it is looked at.
        let absolute = std::fs::canonicalize(path).map_or_else(|_| path.into(), |absolute| absolute.display().to_string());
        let table = Self { path: absolute, sorted: false };
        table.columns(&mut table.reader()?)?;
        Ok(table)
    }

    /// The same file as if its rows had come in the order of time, whatever their order is. It is held in memory.
    ///
    /// # Errors
    /// See [`Table::open`].
    pub fn sorted(path: &str) -> Result<Self, SourceError> {
        Ok(Self { sorted: true, ..Self::open(path)? })
    }

    fn fail(&self, problem: impl std::fmt::Display) -> SourceError {
        SourceError::File { path: self.path.clone(), cause: std::io::Error::other(problem.to_string()) }
    }

    fn reader(&self) -> Result<csv::Reader<BufReader<File>>, SourceError> {
        let file = File::open(&self.path).map_err(|cause| SourceError::File { path: self.path.clone(), cause })?;
        // A row that is too short or too long is refused as a record, not as a file.
        Ok(csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::with_capacity(1 << 20, file)))
    }

    /// Where the four columns are.
    fn columns(&self, reader: &mut csv::Reader<BufReader<File>>) -> Result<[usize; 4], SourceError> {
        let header = reader.headers().map_err(|error| self.fail(error))?.clone();
        if header.is_empty() {
            return Err(self.fail(format!("is empty: its first line must name {}", COLUMNS.join(","))));
        }
        let mut places = [0; 4];
        for (place, wanted) in places.iter_mut().zip(COLUMNS) {
            let found = header.iter().position(|name| name.trim().trim_start_matches('\u{feff}') == wanted);
            let header: Vec<&str> = header.iter().collect();
            *place = found.ok_or_else(|| {
                self.fail(format!("has no column '{wanted}': the header is '{}', it must name {}", header.join(","), COLUMNS.join(",")))
            })?;
        }
        Ok(places)
    }

    /// Hands over every row as its four texts, in the order of the file.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn rows(&self, take: &mut dyn FnMut([&str; 4]) -> std::io::Result<()>) -> Result<(), SourceError> {
        let mut reader = self.reader()?;
        let columns = self.columns(&mut reader)?;
        let mut row = ByteRecord::new();
        while reader.read_byte_record(&mut row).map_err(|error| self.fail(error))? {
            let texts = columns.map(|column| text(&row, column));
            take(texts.each_ref().map(|text| &**text)).map_err(|cause| SourceError::File { path: "output".into(), cause })?;
        }
        Ok(())
    }
}

impl Source for Table {
    fn identity(&self) -> String {
        format!("file:{}", self.path)
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        Ok(vec![Partition { id: 0, name: self.path.clone() }])
    }

    fn open(&self, partitions: &[(Partition, Option<i64>)]) -> Result<Box<dyn Reader>, SourceError> {
        let table = Self { path: self.path.clone(), sorted: self.sorted };
        let mut rows = Rows { table, open: None, lines: None, sorted: None, row: (ByteRecord::new(), 0), json: Vec::new() };
        for (partition, offset) in partitions {
            rows.add(partition, *offset)?;
        }
        Ok(Box::new(rows))
    }

    fn now(&self) -> Time {
        crate::instant::now()
    }
}

/// The fields of a row, and the line in which it begins.
type Fields = (ByteRecord, u64);

/// The rows of a table, on the worker that owns its only partition.
struct Rows {
    table: Table,
    open: Option<(csv::Reader<BufReader<File>>, [usize; 4])>,
    lines: Option<Lines<File>>,
    /// All rows that are still to come, by time, each with its place among all.
    sorted: Option<(std::vec::IntoIter<Fields>, i64)>,
    row: Fields,
    json: Vec<u8>,
}

impl Reader for Rows {
    fn poll(&mut self, _: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
        let mut count = 0;
        while count < most
            && let Some((offset, next_offset)) = self.next()?
        {
            let Self { open: Some((_, columns)), row: (row, line), json, .. } = self else { break };
            json.clear();
            render(row, *columns, json);
            let origin = Row { fields: row, columns: *columns, line: *line };
            take(Record { offset, next_offset, bytes: json, arrived_at: None, origin: Some(&origin) });
            count += 1;
        }
        Ok(if count > 0 { Poll::Read(count) } else { Poll::Ended })
    }

    fn add(&mut self, _: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        let fail = |cause| SourceError::File { path: self.table.path.clone(), cause };
        self.lines = Some(Lines::of(File::open(&self.table.path).map_err(fail)?));
        let mut reader = self.table.reader()?;
        let columns = self.table.columns(&mut reader)?;
        if !self.table.sorted
            && let Some(offset) = offset.and_then(|offset| u64::try_from(offset).ok()).filter(|offset| *offset > 0)
        {
            let mut position = Position::new();
            position.set_byte(offset);
            reader.seek(position).map_err(|error| self.table.fail(error))?;
        }
        self.open = Some((reader, columns));
        if self.table.sorted {
            self.sorted = Some((self.by_time(columns)?.into_iter(), 0));
        }
        Ok(())
    }
}

impl Rows {
    /// Reads the next row into `row`; its offset and the next one, or `None` at the end.
    fn next(&mut self) -> Result<Option<(i64, i64)>, SourceError> {
        let Some((rows, place)) = &mut self.sorted else { return self.read() };
        let Some(next) = rows.next() else { return Ok(None) };
        self.row = next;
        *place += 1;
        Ok(Some((*place - 1, *place)))
    }

    /// Reads the next row of the file into `row`; where it begins and where the next one does, or `None` at the end.
    fn read(&mut self) -> Result<Option<(i64, i64)>, SourceError> {
        let Self { table, open: Some((reader, _)), lines: Some(lines), row: (row, line), .. } = self else { return Ok(None) };
        if !reader.read_byte_record(row).map_err(|error| table.fail(error))? {
            return Ok(None);
        }
        let begin = row.position().map_or(0, Position::byte);
        *line = lines.at(begin).map_err(|error| table.fail(error))?;
        #[allow(clippy::cast_possible_wrap)] // positions in a file
        Ok(Some((begin as i64, reader.position().byte() as i64)))
    }

    /// All rows in the order of time, those of one time in the order of the file. What has no time comes first, to be refused.
    fn by_time(&mut self, columns: [usize; 4]) -> Result<Vec<Fields>, SourceError> {
        let mut rows = Vec::new();
        while self.read()?.is_some() {
            // Not a clone, which would be as large as the largest row so far.
            rows.push((self.row.0.iter().collect(), self.row.1));
        }
        rows.sort_by_cached_key(|(row, _)| instant::parse(text(row, columns[0]).trim()));
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> (tempfile::NamedTempFile, Result<Table, SourceError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let table = Table::open(file.path().to_str().unwrap());
        (file, table)
    }

    #[test]
    fn a_row_becomes_the_event_of_a_server() {
        let (_file, table) = table("entity,timestamp,metric,value,label\n\"a \"\"b\"\"\",2026-01-24T12:34:56Z,cpu,0.1,0\nc,x,cpu,nan,0\n");
        let table = table.unwrap();
        let partition = table.partitions().unwrap().remove(0);
        let mut lines = Vec::new();
        let read = |record: Record<'_>| {
            let origin = record.origin.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (record.offset, text(record.bytes), origin.problem("no_metrics", ""), text(&origin.text()))
        };
        let mut collect = |record: Record<'_>| lines.push(read(record));
        table.open(&[(partition.clone(), None)]).unwrap().poll(0, 9, &mut collect).unwrap();
        assert_eq!(lines[0].1, r#"{"type":"server_metric","timestamp":"2026-01-24T12:34:56Z","server_id":"a \"b\"","cpu":0.1}"#);
        assert_eq!(lines[1].1, r#"{"type":"server_metric","timestamp":"x","server_id":"c","cpu":"nan"}"#);
        assert_eq!((&*lines[1].2, &*lines[1].3), ("line 3: 'value' is 'nan', which is no finite number like 85.2", "c,x,cpu,nan,0"));
        let mut rest = Vec::new();
        let mut collect = |record: Record<'_>| rest.push(read(record));
        Source::open(&table, &[(partition, Some(lines[1].0))]).unwrap().poll(0, 9, &mut collect).unwrap();
        assert_eq!(rest, lines[1..]);
    }

    /// Failed once: of a file with line ends of two bytes every line was one too small, and after blank lines it was that of the first of them.
    #[test]
    fn a_row_is_in_the_line_that_an_editor_shows() {
        for end in ["\n", "\r\n", "\r"] {
            let rows = ["timestamp,entity,metric,value", "x,a,cpu,1", "", "", "x,b,cpu", "x,\"c\nd\",cpu,1", "x,e,cpu,1"];
            let (_file, table) = table(&rows.join(end));
            for table in [Table { path: table.as_ref().unwrap().path.clone(), sorted: true }, table.unwrap()] {
                let partition = table.partitions().unwrap().remove(0);
                let mut told = Vec::new();
                let mut tell = |record: Record<'_>| told.push(record.origin.unwrap().problem("future", "x"));
                Source::open(&table, &[(partition, None)]).unwrap().poll(0, 9, &mut tell).unwrap();
                let expected = [
                    "line 2: x",
                    "line 5: it ends before its 'value', with 3 of its fields",
                    "lines 6 to 7, a text in quotation marks goes on so long: x",
                    "line 8: x",
                ];
                assert_eq!(told, expected, "{end:?}");
            }
        }
    }

    /// Failed once: of a row whose metric nobody watches it was said that its value is no number.
    #[test]
    fn a_row_is_told_what_is_wrong_with_it_and_nothing_else() {
        let (_file, table) = table("timestamp,entity,metric,value\nx,a,rack_id,5\nx,a,cpu,5 %\n");
        let table = table.unwrap();
        let mut told = Vec::new();
        let mut tell = |record: Record<'_>| told.push(record.origin.unwrap().problem("no_metrics", ""));
        let partition = table.partitions().unwrap().remove(0);
        Source::open(&table, &[(partition, None)]).unwrap().poll(0, 9, &mut tell).unwrap();
        let expected = [
            "line 2: 'metric' is 'rack_id', which its kind does not watch",
            "line 3: 'value' is '5 %', which is no finite number like 85.2",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_table_without_its_columns_is_refused_by_name() {
        let message = |text| table(text).1.err().unwrap().to_string() + &table(text).1.err().map(|e| format!("{e:?}")).unwrap();
        assert!(message("timestamp,entity,value\n").contains("no column 'metric'"));
        assert!(message("").contains("is empty: its first line must name timestamp"));
    }
}
