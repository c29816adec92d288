//! The application: sources, history, models, trainer, and the commands that join them to the graphs.

pub mod alerts;
pub mod cli;
pub mod commands;
pub mod console;
mod decimal;
pub mod embedded;
pub mod generate;
pub mod history;
pub mod instant;
pub mod kind;
pub mod layers;
pub mod limits;
pub mod line;
pub mod models;
pub mod notify;
pub mod number;
pub mod policy;
pub mod quality;
pub mod run;
pub mod secret;
pub mod series;
pub mod serve;
pub mod source;
pub mod stl;
pub mod telemetry;
pub mod train;
pub mod tuning;
