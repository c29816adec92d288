//! The six datacenters that can be simulated, by name.

use crate::source::SourceError;

/// Kinds of anomaly, in the order of [`Preset::weights`].
pub(super) const KINDS: usize = 8;

/// The size of a fleet and how often something goes wrong in it.
#[derive(Debug)]
pub(super) struct Preset {
    /// What follows `simulate:`.
    pub(super) name: &'static str,
    /// Zones the racks are spread over.
    pub(super) zones: usize,
    /// Racks, at most 26, as they are lettered.
    pub(super) racks: usize,
    /// Servers in each rack.
    pub(super) servers_per_rack: usize,
    /// Services.
    pub(super) services: usize,
    /// Anomalies of a server in a week of the live part; at most 20, as there is at most one in each eight hours.
    pub(super) server_anomalies_per_week: f64,
    /// Anomalies of a service in a week of the live part; likewise.
    pub(super) service_anomalies_per_week: f64,
    /// How often they happen in the backfill, relative to the live part: training data is never clean, but mostly.
    pub(super) backfill_share: f64,
    /// How likely each kind is, relative to the others that the same entity can have; in the order of `Kind`.
    pub(super) weights: [u32; KINDS],
}

/// Every kind as likely as the next.
const EVEN: [u32; KINDS] = [1; KINDS];

/// Of twenty anomalies of a server fourteen are heat.
const HOT: [u32; KINDS] = [1, 1, 14, 2, 1, 1, 1, 1];

/// Two in three anomalies of a server saturate its network, one in nine its disk; services feel both as latency.
const TRAFFIC: [u32; KINDS] = [1, 1, 1, 1, 12, 2, 4, 1];

/// All presets, the default first.
pub(super) static PRESETS: [Preset; 6] = [
    // Small enough to read every line, with about two anomalies under way at any moment so that a first look sees some.
    Preset {
        name: "dev",
        zones: 2,
        racks: 3,
        servers_per_rack: 10,
        services: 8,
        server_anomalies_per_week: 10.0,
        service_anomalies_per_week: 10.0,
        backfill_share: 0.1,
        weights: EVEN,
    },
    // The fleet that accuracy is measured on: one anomaly per entity and week.
    Preset {
        name: "normal",
        zones: 3,
        racks: 8,
        servers_per_rack: 12,
        services: 24,
        server_anomalies_per_week: 1.0,
        service_anomalies_per_week: 1.0,
        backfill_share: 0.5,
        weights: EVEN,
    },
    // Two a day and entity; the backfill has a tenth of it, else nothing normal would be left to learn.
    Preset {
        name: "chaos",
        zones: 3,
        racks: 8,
        servers_per_rack: 12,
        services: 24,
        server_anomalies_per_week: 14.0,
        service_anomalies_per_week: 14.0,
        backfill_share: 0.1,
        weights: EVEN,
    },
    // A cooling that is failing.
    Preset {
        name: "temperature",
        zones: 2,
        racks: 6,
        servers_per_rack: 12,
        services: 16,
        server_anomalies_per_week: 4.0,
        service_anomalies_per_week: 0.5,
        backfill_share: 0.2,
        weights: HOT,
    },
    // Links that are too narrow.
    Preset {
        name: "network",
        zones: 2,
        racks: 6,
        servers_per_rack: 12,
        services: 16,
        server_anomalies_per_week: 4.0,
        service_anomalies_per_week: 2.0,
        backfill_share: 0.2,
        weights: TRAFFIC,
    },
    // Big and well kept: about ten anomalies a day in 340 entities.
    Preset {
        name: "production",
        zones: 4,
        racks: 15,
        servers_per_rack: 20,
        services: 40,
        server_anomalies_per_week: 0.2,
        service_anomalies_per_week: 0.3,
        backfill_share: 0.5,
        weights: EVEN,
    },
];

/// Finds a preset by name.
///
/// # Errors
/// An unknown name; the message lists those there are.
pub(super) fn find(name: &str) -> Result<&'static Preset, SourceError> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let problem = format!("no such preset; there are {}", names.join(", "));
        SourceError::Url { url: format!("simulate:{name}"), problem }
    })
}
