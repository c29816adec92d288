//! What other policies would have made of history: it is scored once, and judged by each of a grid of them.
//!
//! A verdict's score does not depend on thresholds, so that one pass by [`dataflows::judge::judge`] serves all of them; what opens an episode is
//! found by folding its verdicts through [`dataflows::episode::Fold`], as a run does.

mod budget;
mod choice;
mod grid;
mod table;
mod trial;
mod written;

pub use budget::Budget;
pub use choice::{Choice, Tried, choose};
pub use grid::{Candidate, candidates};
pub use table::table;
pub use trial::{Scored, Tally, Trials, score};
pub use written::{WriteError, check_writable, write};
