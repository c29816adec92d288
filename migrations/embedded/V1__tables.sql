-- Everything that is kept. Times are milliseconds since the epoch: event times but for `known_at` and `revised_at`, which are
-- the wall clock.

-- Names and labels of a series; every other table holds its number.
CREATE TABLE series (
    series_id   INTEGER PRIMARY KEY,         -- the 64-bit identity, read as signed
    entity_type TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    metric      TEXT    NOT NULL,
    labels      TEXT    NOT NULL,            -- JSON
    source      TEXT    NOT NULL,            -- where it was last seen
    partition   TEXT    NOT NULL
);
CREATE INDEX series_by_name ON series (entity_id, metric, entity_type);

-- One verdict per series and bucket. A missing bucket has count 0 and no aggregate, an unscored one no score.
-- The numbers have no declared type: in a REAL column SQLite keeps whole numbers as integers, and -0 comes back as 0.
CREATE TABLE buckets (
    series_id    INTEGER NOT NULL,
    bucket_start INTEGER NOT NULL,
    count        INTEGER NOT NULL,
    mean,
    min,
    max,
    stddev,
    expected,
    sigma,
    z_score,
    state        TEXT    NOT NULL,
    PRIMARY KEY (series_id, bucket_start)
) WITHOUT ROWID;

-- One row per bucket that was ever anomalous; `timestamp` is the start of the bucket.
CREATE TABLE anomalies (
    series_id        INTEGER NOT NULL,
    timestamp        INTEGER NOT NULL,
    entity_id        TEXT    NOT NULL,
    entity_type      TEXT    NOT NULL,
    severity         TEXT    NOT NULL,
    anomaly_score    REAL    NOT NULL,
    details          TEXT    NOT NULL,       -- JSON
    status           TEXT    NOT NULL CHECK (status IN ('open', 'withdrawn')),
    withdrawn_reason TEXT,
    revision         INTEGER NOT NULL,
    known_at         INTEGER NOT NULL,       -- when the first revision was stored
    revised_at       INTEGER,                -- when the last one was, where there were several
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;

-- Events as they came.
CREATE TABLE server_metrics (
    timestamp               INTEGER NOT NULL,
    server_id               TEXT    NOT NULL,
    rack_id                 TEXT,
    zone_id                 TEXT,
    cpu_usage_percent       REAL,
    memory_usage_percent    REAL,
    cpu_temperature_celsius REAL,
    power_consumption_watts REAL,
    network_rx_mbps         REAL,
    network_tx_mbps         REAL,
    labels                  TEXT    NOT NULL, -- JSON
    partition               TEXT    NOT NULL,
    record_offset           INTEGER NOT NULL,
    PRIMARY KEY (timestamp, server_id, partition, record_offset)
) WITHOUT ROWID;
CREATE TABLE application_metrics (
    timestamp          INTEGER NOT NULL,
    service_name       TEXT    NOT NULL,
    request_rate_rps   REAL,
    latency_p50_ms     REAL,
    latency_p95_ms     REAL,
    latency_p99_ms     REAL,
    error_rate_percent REAL,
    labels             TEXT    NOT NULL,     -- JSON
    partition          TEXT    NOT NULL,
    record_offset      INTEGER NOT NULL,
    PRIMARY KEY (timestamp, service_name, partition, record_offset)
) WITHOUT ROWID;

-- How far each log was read; written with the rows that came of it.
CREATE TABLE sources (
    source       TEXT    PRIMARY KEY,
    bucket_width INTEGER NOT NULL,           -- milliseconds
    horizon      INTEGER,
    writer       TEXT    NOT NULL DEFAULT ''  -- who may commit: the last process that claimed the source
) WITHOUT ROWID;
CREATE TABLE progress (
    source        TEXT    NOT NULL,
    partition     TEXT    NOT NULL,
    next_offset   INTEGER NOT NULL,
    replay_offset INTEGER NOT NULL,
    replay_time   INTEGER NOT NULL,          -- the smallest 64-bit number: the partition's beginning
    PRIMARY KEY (source, partition)
) WITHOUT ROWID;

-- Records that were refused.
CREATE TABLE dead_letters (
    source        TEXT    NOT NULL,
    partition     TEXT    NOT NULL,
    record_offset INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    detail        TEXT    NOT NULL,
    bytes         BLOB    NOT NULL,
    known_at      INTEGER NOT NULL,
    PRIMARY KEY (source, partition, record_offset)
) WITHOUT ROWID;
