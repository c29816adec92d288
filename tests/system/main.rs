//! Tidewatch seen from outside: the binary, its command line, its files, and the shape of its sources.

mod command_line;
mod compose;
mod configuration;
#[path = "../dashboards/mod.rs"]
mod dashboards;
mod deployment;
mod digests;
mod direction;
mod disk;
mod drift;
mod failures;
mod files;
mod grafana;
mod hostile;
mod incidents;
mod limits;
mod main_job;
mod missing;
mod namespaces;
mod notebooks;
mod processes;
mod provisional;
mod restart;
mod secrets;
mod serve;

mod support;
mod upkeep;
