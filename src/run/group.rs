//! Epochs on their way from the graph to the committing thread, several to a transaction.

use super::RunError;
use super::output::Output;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use dataflows::{EpisodeId, Epoch, Epochs, Past, Silence};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A group of epochs is committed early once it holds so much, and takes no more: what is looked at several times should not have left the processor's cache.
const GROUP_OUTPUTS: usize = 50_000;
/// As above, in records read.
const GROUP_RECORDS: u64 = 100_000;
/// Groups on their way at once: one that is committed, and the next.
const GROUPS: usize = 2;

/// What the committing thread tells worker 0.
pub enum News {
    /// Everything up to this epoch is durable; these episodes can change no more.
    Durable(Epoch, Vec<EpisodeId>),
    /// The silences that hold from now on, and what series with living episodes go on from, which they may have changed in history.
    Silences(Vec<Silence>, Vec<Past>),
}

/// The way to the committing thread, and its news.
pub type Commits = (Sender<(Epoch, Vec<Vec<Output>>)>, Receiver<News>);

/// Epochs on their way from the graph to the committing thread, on worker 0.
pub struct Group {
    channel: Option<Commits>,
    /// In the pieces in which they came: to move them into one would cost as much as to read them.
    outputs: Vec<Vec<Output>>,
    /// How many they are, each raw event counted.
    count: usize,
    records: u64,
    /// Whether a worker of any process has no room before they are durable.
    is_waited_for: bool,
    last: Option<Epoch>,
    sent_at: Instant,
    outstanding: usize,
}

impl Group {
    /// Nothing yet; `channel` is there on worker 0 alone.
    pub fn new(channel: Option<Commits>) -> Self {
        Self {
            channel,
            outputs: Vec::new(),
            count: 0,
            records: 0,
            is_waited_for: false,
            last: None,
            sent_at: Instant::now(),
            outstanding: 0,
        }
    }

    /// Whether this is worker 0, which has a committing thread beside it.
    pub fn commits(&self) -> bool {
        self.channel.is_some()
    }

    /// Moves complete epochs along, and hands over what there is once the last time was an `interval` ago, or somebody waits for it. Returns what the
    /// committing thread had to say.
    ///
    /// # Errors
    /// A committing thread that gave up.
    pub fn turn(&mut self, queue: &RefCell<Epochs<Output>>, interval: Duration) -> Result<Vec<News>, RunError> {
        let mut heard = Vec::new();
        let Some((commits, done)) = &self.channel else { return Ok(heard) };
        loop {
            match done.try_recv() {
                Ok(news) => {
                    self.outstanding -= usize::from(matches!(news, News::Durable(..)));
                    heard.push(news);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(RunError::CommitterEnded),
            }
        }
        while self.count <= GROUP_OUTPUTS
            && let Some((epoch, outputs)) = queue.borrow_mut().take()
        {
            self.count += outputs.iter().map(Vec::len).sum::<usize>();
            for output in outputs.iter().flatten() {
                match output {
                    Output::Progress(_, records) => self.records += records,
                    Output::Raw(samples) => self.count += samples.events.len(),
                    Output::Full => self.is_waited_for = true,
                    _ => {}
                }
            }
            self.outputs.extend(outputs);
            self.last = Some(epoch);
        }
        let is_large = self.count > GROUP_OUTPUTS || self.records > GROUP_RECORDS;
        let due = is_large || self.is_waited_for || self.sent_at.elapsed() >= interval;
        if let Some(epoch) = self.last.filter(|_| due && self.outstanding < GROUPS) {
            commits.send((epoch, std::mem::take(&mut self.outputs))).map_err(|_| RunError::CommitterEnded)?;
            (self.last, self.count, self.records, self.sent_at) = (None, 0, 0, Instant::now());
            self.is_waited_for = false;
            self.outstanding += 1;
        }
        Ok(heard)
    }
}
