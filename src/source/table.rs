//! `file:` a CSV of samples, `timestamp,entity,metric,value`; every row becomes one event of a server, so that it goes the way of all records.

use super::file::{beginning, found};
pub use super::row::COLUMNS;
use super::row::text;
use super::rows::{Found, Place, Rows};
use super::{Partition, Poll, Reader, Record, Source, SourceError};
use crate::instant;
use dataflows::Time;
use std::vec::IntoIter;

/// A CSV file as a log of one partition whose offsets are byte positions or, where it is read in the order of time, numbers of rows.
#[derive(Clone)]
pub struct Table {
    path: String,
    record_bytes_max: usize,
    is_sorted: bool,
}

impl Table {
    /// Whether a path is that of a table, by its ending: everything else is JSON lines.
    pub fn is_at(path: &str) -> bool {
        std::path::Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
    }

    /// The file at `path`, whose header has been looked at. A row that is longer than `record_bytes_max` is refused without being read as a whole.
    ///
    /// # Errors
    /// A file that is not there, is a pipe, is empty, or lacks a column.
    pub fn open(path: &str, record_bytes_max: usize) -> Result<Self, SourceError> {
        if path.contains(',') && !std::path::Path::new(path).exists() {
            let cause = std::io::Error::other("is no file; a table is one file, while JSON lines may be several behind commas");
            return Err(SourceError::File { path: path.into(), cause });
        }
        let table = Self { path: found(path, "write the table to a file")?, record_bytes_max, is_sorted: false };
        table.read(None)?;
        Ok(table)
    }

    /// The same file as if its rows had come in the order of time, whatever their order is. It is held in memory.
    #[must_use]
    pub fn sorted(self) -> Self {
        Self { is_sorted: true, ..self }
    }

    /// What progress is stored under, in the order of the file and in that of time. What was read in one cannot be gone on with in the other.
    pub fn identities(&self) -> [String; 2] {
        [format!("file:{}", self.path), format!("file:{} in the order of time", self.path)]
    }

    /// Hands over every row as its four texts, in the order of the file, and whether it says a value.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn rows(&self, take: &mut dyn FnMut([&str; 4], bool) -> std::io::Result<()>) -> Result<(), SourceError> {
        let mut rows = self.read(None)?;
        while rows.next()?.is_some() {
            let row = rows.row(&rows.found);
            let texts = row.columns.places.map(|column| text(row.fields, column));
            take(texts.each_ref().map(|text| &**text), row.is_sample())
                .map_err(|cause| SourceError::File { path: "output".into(), cause })?;
        }
        Ok(())
    }

    fn read(&self, offset: Option<i64>) -> Result<Rows, SourceError> {
        Rows::open(&self.path, offset, self.record_bytes_max)
    }
}

impl Source for Table {
    fn identity(&self) -> String {
        self.identities()[usize::from(self.is_sorted)].clone()
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        Ok(vec![Partition { id: 0, name: self.path.clone() }])
    }

    fn open(&self, partitions: &[(Partition, Option<i64>)]) -> Result<Box<dyn Reader>, SourceError> {
        let mut share = Share { table: self.clone(), rows: None, sorted: None, json: Vec::new() };
        for (partition, offset) in partitions {
            share.add(partition, *offset)?;
        }
        Ok(Box::new(share))
    }

    /// In the order of time it is read as a whole, or not at all.
    fn beginning(&self, partition: &Partition, bytes: i64) -> Option<String> {
        (!self.is_sorted).then(|| beginning(&partition.name, bytes))?
    }

    fn now(&self) -> Time {
        instant::now()
    }
}

/// The rows of a table, on the worker that owns its only partition.
struct Share {
    table: Table,
    rows: Option<Rows>,
    /// All rows that are still to come, by time, and how many came.
    sorted: Option<(IntoIter<Found>, i64)>,
    json: Vec<u8>,
}

impl Reader for Share {
    fn poll(&mut self, _: u32, most: usize, take: &mut dyn FnMut(Record<'_>)) -> Result<Poll, SourceError> {
        let mut count = 0;
        while count < most
            && let Some((offset, next_offset)) = self.next()?
        {
            let Self { rows: Some(rows), json, .. } = self else { break };
            let row = rows.row(&rows.found);
            json.clear();
            row.render(json);
            take(Record { offset, next_offset, bytes: json, arrived_at: None, origin: Some(&row) });
            count += 1;
        }
        Ok(if count > 0 { Poll::Read(count) } else { Poll::Ended })
    }

    fn add(&mut self, _: &Partition, offset: Option<i64>) -> Result<(), SourceError> {
        let mut rows = self.table.read(offset.filter(|_| !self.table.is_sorted))?;
        if self.table.is_sorted {
            self.sorted = Some((by_time(&mut rows)?.into_iter(), 0));
        }
        self.rows = Some(rows);
        Ok(())
    }
}

impl Share {
    /// Comes to the next row; its offset and the next one, or `None` at the end.
    fn next(&mut self) -> Result<Option<Place>, SourceError> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let Some((sorted, place)) = &mut self.sorted else { return rows.next() };
        let Some(next) = sorted.next() else { return Ok(None) };
        rows.found = next;
        *place += 1;
        Ok(Some((*place - 1, *place)))
    }
}

/// All rows in the order of time, those of one time in the order of the file. What has no time comes first, to be refused.
fn by_time(rows: &mut Rows) -> Result<Vec<Found>, SourceError> {
    let mut all = Vec::new();
    while rows.next()?.is_some() {
        all.push(rows.found.compact());
    }
    all.sort_by_cached_key(|found| {
        let row = rows.row(found);
        instant::parse(text(row.fields, row.columns.places[0]).trim())
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1024;

    /// What is told of each row, with whether it was cut; all of them refused.
    fn told(table: &Table) -> Vec<(usize, String)> {
        let mut told = Vec::new();
        let mut tell =
            |record: Record<'_>| told.push((record.bytes.len(), record.origin.unwrap().problem(record.offset, "no_metrics", "")));
        let partition = table.partitions().unwrap().remove(0);
        Source::open(table, &[(partition, None)]).unwrap().poll(0, 99, &mut tell).unwrap();
        told
    }

    fn table(text: impl AsRef<[u8]>) -> (tempfile::NamedTempFile, Result<Table, SourceError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let table = Table::open(file.path().to_str().unwrap(), LIMIT);
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
            (record.offset, text(record.bytes), origin.problem(record.offset, "no_metrics", ""), text(&origin.text().unwrap()))
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
        for end in ["\n", "\r\n"] {
            let rows = ["timestamp,entity,metric,value", "x,a,cpu,1", "", "", "x,b,cpu", "x,\"c,cpu,1", "x,e,cpu,1"];
            let (_file, table) = table(rows.join(end));
            for table in [table.as_ref().unwrap().clone().sorted(), table.unwrap()] {
                let expected = [
                    "line 2: 'metric' is 'cpu', which its kind does not watch",
                    "line 5: it ends before its 'value', with 3 of its fields",
                    "line 6: it ends before its 'metric', with 2 of its fields; a quotation mark is not closed in it",
                    "line 7: 'metric' is 'cpu', which its kind does not watch",
                ];
                assert_eq!(told(&table).into_iter().map(|told| told.1).collect::<Vec<_>>(), expected, "{end:?}");
            }
        }
        assert!(table("timestamp,entity,metric,value\rx,a,cpu,1\r").1.err().unwrap().to_string().contains("carriage returns alone"));
    }

    /// Failed once: of a row whose metric nobody watches it was said that its value is no number.
    #[test]
    fn a_row_is_told_what_is_wrong_with_it_and_nothing_else() {
        let header = b"timestamp,entity,metric,value\n".as_slice();
        let rows = [header, b"x,a,rack_id,5\nx,a,cpu,5 %\nx,a,cpu,1,5\nx,a,cpu,5,,\nx,m\xfcller,cpu,5\n"].concat();
        let (_file, table) = table(&rows);
        let told: Vec<String> = told(&table.unwrap()).into_iter().map(|told| told.1).collect();
        let expected = [
            "line 2: 'metric' is 'rack_id', which its kind does not watch",
            "line 3: 'value' is '5 %', which is no finite number like 85.2",
            "line 4: it has 5 fields where the header names 4: a value with a comma in it stands in quotation marks",
            "line 5: 'metric' is 'cpu', which its kind does not watch",
            "line 6: 'entity' is 'm\u{fffd}ller', which is no UTF-8: save the table as that",
        ];
        assert_eq!(told, expected);
    }

    /// Failed once: what was behind a quotation mark that nobody closed was read as one row, however large, and then refused with all that was in it.
    #[test]
    fn a_row_without_end_is_one_line_and_those_behind_it_are_read() {
        let rows = format!("timestamp,entity,metric,value\nx,a,cpu,1\nx,\"b,cpu,1\nx,{},cpu,1\nx,c,cpu,1\n", "x".repeat(1 << 20));
        let (_file, rows) = table(&rows);
        for table in [rows.as_ref().unwrap().clone(), rows.unwrap().sorted()] {
            let told = told(&table);
            assert_eq!(told.len(), 4);
            assert_eq!((told[2].0, told[2].1.as_str()), (LIMIT + 1, "line 4: it is longer than --record-bytes-max, 1024 bytes"));
            assert!(told[1].1.ends_with("a quotation mark is not closed in it") && told[3].1.starts_with("line 5: "), "{told:?}");
        }
        // Failed once: a row that was cut at a space was taken for one that ends there.
        let (_file, cut) = table(format!("timestamp,entity,metric,value\nx,{},cpu,1 {}\n", "x".repeat(LIMIT - 8), "2".repeat(99)));
        assert!(told(&cut.unwrap())[0].0 > LIMIT);
        assert!(table("x".repeat(1 << 20)).1.err().unwrap().to_string().contains("first line is longer than"));
    }

    proptest! {
        /// Failed once: what a row was depended on what had been read ahead of it, so that a run that went on read other rows than one from the beginning.
        #[test]
        fn from_whatever_row_one_goes_on_the_others_are_the_same(lines in prop::collection::vec("[a,\"\r ]{0,8}", 1..20)) {
            let (_file, table) = table(format!("timestamp,entity,metric,value\n{}", lines.join("\n")));
            let table = table.unwrap();
            let partition = table.partitions().unwrap().remove(0);
            let from = |offset: Option<i64>| {
                let mut rows = Vec::new();
                let mut take = |record: Record<'_>| {
                    rows.push((record.offset, record.bytes.to_vec(), record.origin.unwrap().problem(record.offset, "no_metrics", "")));
                };
                Source::open(&table, &[(partition.clone(), offset)]).unwrap().poll(0, 99, &mut take).unwrap();
                rows
            };
            let all = from(None);
            for (place, row) in all.iter().enumerate() {
                prop_assert_eq!(&from(Some(row.0)), &all[place..]);
            }
        }
    }

    #[test]
    fn a_table_without_its_columns_is_refused_by_name() {
        let message = |text: &str| table(text).1.err().unwrap().to_string() + &table(text).1.err().map(|e| format!("{e:?}")).unwrap();
        assert!(message("timestamp,entity,value\n").contains("no column 'metric'"));
        assert!(message("").contains("is empty: its first line must name timestamp"));
        assert!(message("timestamp,entity,metric,value,value\n").contains("has the column 'value' twice: the header is 'timestamp,entity"));
    }
}
