-- Everything that is kept. Times are event times but for `known_at` and `revised_at`, which are the wall clock.

-- Names and labels of a series; every other table holds its number.
CREATE TABLE series (
    series_id   BIGINT PRIMARY KEY,          -- the 64-bit identity, read as signed
    entity_type TEXT   NOT NULL,
    entity_id   TEXT   NOT NULL,
    metric      TEXT   NOT NULL,
    labels      JSONB  NOT NULL,
    source      TEXT   NOT NULL,             -- where it was last seen
    partition   TEXT   NOT NULL
);
CREATE INDEX series_by_name ON series (entity_id, metric, entity_type);

-- One verdict per series and bucket. A missing bucket has count 0 and no aggregate, an unscored one no score.
CREATE TABLE buckets (
    series_id    BIGINT           NOT NULL,
    bucket_start TIMESTAMPTZ      NOT NULL,
    count        BIGINT           NOT NULL,
    mean         DOUBLE PRECISION,
    min          DOUBLE PRECISION,
    max          DOUBLE PRECISION,
    stddev       DOUBLE PRECISION,
    expected     DOUBLE PRECISION,
    sigma        DOUBLE PRECISION,
    z_score      DOUBLE PRECISION,
    state        TEXT             NOT NULL,
    PRIMARY KEY (series_id, bucket_start)
);

-- One row per bucket that was ever anomalous; `timestamp` is the start of the bucket.
CREATE TABLE anomalies (
    series_id        BIGINT           NOT NULL,
    timestamp        TIMESTAMPTZ      NOT NULL,
    entity_id        TEXT             NOT NULL,
    entity_type      TEXT             NOT NULL,
    severity         TEXT             NOT NULL,
    anomaly_score    DOUBLE PRECISION NOT NULL,
    details          JSONB            NOT NULL,
    status           TEXT             NOT NULL CHECK (status IN ('open', 'withdrawn')),
    withdrawn_reason TEXT,
    revision         BIGINT           NOT NULL,
    known_at         TIMESTAMPTZ      NOT NULL, -- when the first revision was stored
    revised_at       TIMESTAMPTZ,               -- when the last one was, where there were several
    PRIMARY KEY (timestamp, series_id)
);

-- Events as they came.
CREATE TABLE server_metrics (
    timestamp               TIMESTAMPTZ NOT NULL,
    server_id               TEXT        NOT NULL,
    rack_id                 TEXT,
    zone_id                 TEXT,
    cpu_usage_percent       DOUBLE PRECISION,
    memory_usage_percent    DOUBLE PRECISION,
    cpu_temperature_celsius DOUBLE PRECISION,
    power_consumption_watts DOUBLE PRECISION,
    network_rx_mbps         DOUBLE PRECISION,
    network_tx_mbps         DOUBLE PRECISION,
    labels                  JSONB       NOT NULL,
    partition               TEXT        NOT NULL,
    record_offset           BIGINT      NOT NULL,
    PRIMARY KEY (timestamp, server_id, partition, record_offset)
);
CREATE TABLE application_metrics (
    timestamp          TIMESTAMPTZ NOT NULL,
    service_name       TEXT        NOT NULL,
    request_rate_rps   DOUBLE PRECISION,
    latency_p50_ms     DOUBLE PRECISION,
    latency_p95_ms     DOUBLE PRECISION,
    latency_p99_ms     DOUBLE PRECISION,
    error_rate_percent DOUBLE PRECISION,
    labels             JSONB       NOT NULL,
    partition          TEXT        NOT NULL,
    record_offset      BIGINT      NOT NULL,
    PRIMARY KEY (timestamp, service_name, partition, record_offset)
);

-- How far each log was read; written with the rows that came of it.
CREATE TABLE sources (
    source       TEXT   PRIMARY KEY,
    bucket_width BIGINT NOT NULL,             -- milliseconds
    horizon      TIMESTAMPTZ,
    writer       TEXT   NOT NULL DEFAULT ''   -- who may commit: the last process that claimed the source
);
CREATE TABLE progress (
    source        TEXT        NOT NULL,
    partition     TEXT        NOT NULL,
    next_offset   BIGINT      NOT NULL,
    replay_offset BIGINT      NOT NULL,
    replay_time   TIMESTAMPTZ NOT NULL,       -- -infinity: the partition's beginning
    PRIMARY KEY (source, partition)
);

-- Records that were refused.
CREATE TABLE dead_letters (
    source        TEXT        NOT NULL,
    partition     TEXT        NOT NULL,
    record_offset BIGINT      NOT NULL,
    reason        TEXT        NOT NULL,
    detail        TEXT        NOT NULL,
    bytes         BYTEA       NOT NULL,
    known_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source, partition, record_offset)
);
