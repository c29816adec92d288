//! Tidewatch seen from outside: the binary, its command line, its files, and the shape of its sources.

mod command_line;
mod configuration;
mod direction;
mod failures;
mod files;
mod hostile;
mod limits;
mod main_job;
mod restart;

mod support;
