//! The whole way with real services: Kafka, PostgreSQL and Redis, on real series and on simulated ones.

mod alerts;
mod benches;
mod compose;
#[path = "../dashboards/mod.rs"]
mod dashboards;
mod grafana;
mod hostile;
mod kills;
mod notebooks;
mod order;
mod page;
mod panels;
mod processes;
mod real_series;
#[path = "../receivers/mod.rs"]
mod receivers;
mod silence;
mod simulated;
mod support;
mod trust;
