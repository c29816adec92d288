//! Tidewatch seen from outside: the binary, its command line, its files, and the shape of its sources.

mod accompanying;
mod alerts;
mod another;
mod cadence;
mod command_line;
mod compose;
mod configuration;
#[path = "../dashboards/mod.rs"]
mod dashboards;
mod deployment;
mod digests;
mod direction;
mod disk;
mod documents;
mod drift;
mod failures;
mod files;
mod grafana;
mod hostile;
mod identity;
mod incidents;
mod jump;
mod labels;
mod limits;
mod mail;
mod main_job;
mod missing;
mod namespaces;
mod notebooks;
mod peers;
mod processes;
mod provisional;
#[path = "../receivers/mod.rs"]
mod receivers;
mod restart;
mod secrets;
mod serve;
mod sheets;
mod stall;
mod tune;
mod young;

mod support;
mod tls;
mod upkeep;
