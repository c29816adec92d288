//! The whole way with real services: Kafka, PostgreSQL and Redis, on real series and on simulated ones.

mod hostile;
mod kills;
mod real_series;
mod simulated;
mod support;
