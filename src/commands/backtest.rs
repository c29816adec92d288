//! `tidewatch backtest`: the same graph over a file of the past, as fast as it goes.

use crate::kind::Kinds;
use anyhow::Result;
use clap::Args;

/// What.
#[derive(Clone, Debug, Args)]
pub struct BacktestArgs {}

/// Runs.
pub fn backtest(_: &BacktestArgs, _: Kinds) -> Result<()> {
    Ok(())
}
