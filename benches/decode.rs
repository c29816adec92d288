//! What a record costs to decode: by the decoder that expects what it has seen, by the one that expects nothing, and with the file's lines found first.
//!
//! `cargo bench --bench decode` measures; `cargo test` runs the same on a little input, to see that it works.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;
use tidewatch::kind::Kinds;
use tidewatch::limits::Limits;
use tidewatch::source::decode::decode;
use tidewatch::source::decoder::Decoder;

/// Measurements of which the best counts: other work on the machine only ever adds.
const TRIES: usize = 5;

/// Records of a thousand servers, one after the other, of about 265 bytes.
fn records(count: u32) -> Vec<String> {
    let record = |i: u32| {
        let mut text = format!(
            r#"{{"type":"server_metric","timestamp":"2026-01-24T{:02}:{:02}:{:02}Z","server_id":"srv-{:04}","rack_id":"rack-{:02}""#,
            i / 360_000 % 24,
            i / 6_000 % 60,
            i / 100 % 60,
            i % 1_000,
            i % 20
        );
        let names = [
            "cpu_usage_percent",
            "memory_usage_percent",
            "cpu_temperature_celsius",
            "power_consumption_watts",
            "network_rx_mbps",
            "network_tx_mbps",
        ];
        for (place, name) in (0_u32..).zip(names) {
            let value = f64::from((i.wrapping_mul(2_654_435_761) >> place) % 50_000) / 100.0;
            let _ = write!(text, r#","{name}":{value:.2}"#);
        }
        text + "}"
    };
    (0..count).map(record).collect()
}

/// Records of two hundred hosts with five processors, as Telegraf writes them: by turns, with objects inside, and named by a tag.
fn nested(count: u32) -> Vec<String> {
    let names = ["usage_guest", "usage_idle", "usage_iowait", "usage_irq", "usage_system", "usage_user"];
    let record = |i: u32| {
        let value = |place: u32| f64::from((i.wrapping_mul(2_654_435_761) >> place) % 50_000) / 100.0;
        let fields: Vec<String> = (0_u32..).zip(names).map(|(place, name)| format!(r#""{name}":{:.2}"#, value(place))).collect();
        let (processor, host, time) = (i % 5, i / 5 % 200, 1_769_000_000 + i / 100);
        format!(
            r#"{{"fields":{{{}}},"name":"cpu","tags":{{"cpu":"cpu{processor}","dc":"eu","host":"web-{host:03}"}},"timestamp":{time}}}"#,
            fields.join(",")
        )
    };
    (0..count).map(record).collect()
}

const TELEGRAF: &str = "[telegraf]\nentity = 'tags.host'\nlabels = ['tags.dc']\nmetrics = ['fields.*']\nprefix = ['name', 'tags.cpu']";

/// Nanoseconds a record.
fn measure(records: &[String], mut read: impl FnMut(&[u8]) -> usize) -> f64 {
    let once = |read: &mut dyn FnMut(&[u8]) -> usize| {
        let started = Instant::now();
        let metrics: usize = records.iter().map(|record| read(record.as_bytes())).sum();
        assert_eq!(black_box(metrics), 6 * records.len(), "every record is an event");
        started.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(records.len()).unwrap_or(u32::MAX))
    };
    (0..TRIES).map(|_| once(&mut read)).fold(f64::INFINITY, f64::min)
}

fn main() {
    let count = if std::env::args().any(|argument| argument == "--bench") { 200_000 } else { 500 };
    let table = toml::from_str(TELEGRAF).expect("a table of kinds");
    let telegraf = Kinds::with(table).expect("a kind that can be meant");
    for (what, records, kinds) in [("flat", records(count), Kinds::default()), ("nested", nested(count), telegraf)] {
        let limits = Limits::default();
        let mut decoder = Decoder::new(kinds.clone(), limits);
        let learned = measure(&records, |bytes| decoder.decode(bytes).map_or(0, |decoded| decoded.metrics.len()));
        let general = measure(&records, |bytes| decode(bytes, &kinds, &limits).map_or(0, |decoded| decoded.metrics.len()));
        let scan = measure(&records, |bytes| 6 + memchr::memchr_iter(b'\n', bytes).count());
        let bytes = records.iter().map(String::len).sum::<usize>() / records.len();
        let mut out = std::io::stdout();
        let _ = writeln!(
            out,
            "{what:6}  a record of {bytes} bytes   learned {learned:6.1} ns   serde_json {general:6.1} ns   scan for line feeds {scan:6.1} ns"
        );
    }
}
