//! Where generated records go: a Kafka topic, a file, or standard output.

use crate::source::kafka::producer::KafkaLog;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};

/// Bytes gathered before they are written to a file or pipe: about a thousand records.
const BUFFER_BYTES: usize = 256 * 1024;

/// Whether there is still somebody to write for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Write on.
    More,
    /// The reader of the pipe went away, which is its right (`| head`).
    Gone,
}

/// One of the three.
pub(super) enum Sink {
    Kafka(KafkaLog),
    Lines { out: BufWriter<Box<dyn Write>>, place: String },
}

impl Sink {
    /// Opens `kafka://HOST:PORT/TOPIC`, `file:PATH` (which is emptied) or `-`.
    pub(super) fn open(to: &str) -> Result<Self> {
        if to.starts_with("kafka://") {
            return Ok(Self::Kafka(KafkaLog::open(to)?));
        }
        if to == "-" || to == "file:-" {
            return Ok(Self::lines(Box::new(io::stdout().lock()), "standard output"));
        }
        let Some(path) = to.strip_prefix("file:") else {
            bail!("'{to}' is not a place to write to: give kafka://HOST:PORT/TOPIC, file:PATH or - for standard output");
        };
        let file = File::create(path).with_context(|| format!("cannot write '{path}'; is there such a folder?"))?;
        Ok(Self::lines(Box::new(file), path))
    }

    /// Writes lines to anything.
    pub(super) fn lines(out: Box<dyn Write>, place: &str) -> Self {
        Self::Lines { out: BufWriter::with_capacity(BUFFER_BYTES, out), place: place.to_owned() }
    }

    /// Writes one record.
    pub(super) fn write(&mut self, key: &str, bytes: &[u8]) -> Result<Demand> {
        match self {
            Self::Kafka(log) => {
                log.write(key, bytes)?;
                Ok(Demand::More)
            }
            Self::Lines { out, place } => demand(out.write_all(bytes).and_then(|()| out.write_all(b"\n")), place),
        }
    }

    /// Lets others see what was written so far.
    pub(super) fn flush(&mut self) -> Result<Demand> {
        match self {
            Self::Kafka(log) => {
                log.poll()?;
                Ok(Demand::More)
            }
            Self::Lines { out, place } => demand(out.flush(), place),
        }
    }

    /// Waits until everything has arrived.
    pub(super) fn finish(&mut self) -> Result<Demand> {
        match self {
            Self::Kafka(log) => {
                log.finish()?;
                Ok(Demand::More)
            }
            Self::Lines { .. } => self.flush(),
        }
    }
}

fn demand(written: io::Result<()>, place: &str) -> Result<Demand> {
    match written {
        Ok(()) => Ok(Demand::More),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Demand::Gone),
        Err(error) => Err(error).with_context(|| format!("cannot write to {place}")),
    }
}
