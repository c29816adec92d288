//! Tidewatch seen from outside: the binary, its command line, its files, and the shape of its sources.

mod command_line;
mod configuration;
mod deployment;
mod digests;
mod direction;
mod failures;
mod files;
mod hostile;
mod main_job;
mod namespaces;
mod processes;
mod restart;
mod silence;

mod support;
