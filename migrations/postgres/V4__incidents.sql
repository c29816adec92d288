-- Where entities stand, what their anomalies come to, and what an operator has declared to be expected.
--
-- Plain tables with TimescaleDB as well: they are small, and an incident is found by its number, not by its time.

-- Buckets that start before this are settled for good, whatever lateness a later run allows.
ALTER TABLE sources ADD COLUMN settled TIMESTAMPTZ;

-- One row per entity and move: since when it has stood where.
CREATE TABLE placements (
    source      TEXT        NOT NULL,
    entity_type TEXT        NOT NULL,
    entity_id   TEXT        NOT NULL,
    since       TIMESTAMPTZ NOT NULL,
    zone        TEXT        NOT NULL,         -- empty: none
    rack        TEXT        NOT NULL,         -- empty: none
    PRIMARY KEY (source, entity_type, entity_id, since)
);

-- Runs of anomalous and missing buckets of one series.
CREATE TABLE episodes (
    series_id     BIGINT      NOT NULL,
    opened        TIMESTAMPTZ NOT NULL,       -- the start of the first bucket of evidence
    last          TIMESTAMPTZ NOT NULL,       -- the start of the last one
    status        TEXT        NOT NULL CHECK (status IN ('open', 'closed', 'withdrawn')),
    settled       BOOLEAN     NOT NULL,       -- whether nothing can change it any more
    severity      TEXT        NOT NULL,
    anomalous     BIGINT      NOT NULL,       -- buckets
    missing       BIGINT      NOT NULL,       -- buckets
    peak_start    TIMESTAMPTZ,                -- the bucket furthest from what was expected; none where all are missing
    peak_mean     DOUBLE PRECISION,
    peak_expected DOUBLE PRECISION,
    peak_sigma    DOUBLE PRECISION,
    peak_z_score  DOUBLE PRECISION,
    incident_id   BIGINT      NOT NULL,
    revision      BIGINT      NOT NULL,
    known_at      TIMESTAMPTZ NOT NULL,
    revised_at    TIMESTAMPTZ,
    PRIMARY KEY (series_id, opened)
);
CREATE INDEX episodes_by_incident ON episodes (incident_id);
CREATE INDEX episodes_unsettled ON episodes (series_id) WHERE NOT settled;

-- Episodes that belong together.
CREATE TABLE incidents (
    incident_id      BIGINT      PRIMARY KEY,
    source           TEXT        NOT NULL,
    scope            TEXT        NOT NULL CHECK (scope IN ('entity', 'rack', 'zone', 'kind')),
    entity_type      TEXT        NOT NULL,
    entity_id        TEXT        NOT NULL,    -- the first that was hit
    zone             TEXT        NOT NULL,    -- where that one stands
    rack             TEXT        NOT NULL,
    opened           TIMESTAMPTZ NOT NULL,
    last             TIMESTAMPTZ NOT NULL,
    status           TEXT        NOT NULL CHECK (status IN ('open', 'closed', 'withdrawn')),
    settled          BOOLEAN     NOT NULL,
    severity         TEXT        NOT NULL,
    entities         BIGINT      NOT NULL,    -- hit
    peers            BIGINT      NOT NULL,    -- of the rack, zone or kind, hit or not
    metrics          TEXT        NOT NULL,    -- JSON array of names
    anomalous        BIGINT      NOT NULL,    -- buckets
    missing          BIGINT      NOT NULL,    -- buckets
    peak_entity_id   TEXT,
    peak_metric      TEXT,
    peak_start       TIMESTAMPTZ,
    peak_mean        DOUBLE PRECISION,
    peak_expected    DOUBLE PRECISION,
    peak_z_score     DOUBLE PRECISION,
    withdrawn_reason TEXT,
    revision         BIGINT      NOT NULL,
    known_at         TIMESTAMPTZ NOT NULL,
    revised_at       TIMESTAMPTZ
);
CREATE INDEX incidents_by_time ON incidents (opened);
CREATE INDEX incidents_unsettled ON incidents (source) WHERE NOT settled;

-- Stretches of time in which deviations of some series are expected.
CREATE TABLE silences (
    silence_id BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity     TEXT        NOT NULL,          -- a pattern: * and ?
    metric     TEXT,                          -- none: all
    from_time  TIMESTAMPTZ NOT NULL,
    until_time TIMESTAMPTZ NOT NULL,
    reason     TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    removed_at TIMESTAMPTZ
);

-- An anomaly may now be provisional, while its bucket is open; its revision is 0 then.
ALTER TABLE anomalies DROP CONSTRAINT anomalies_status_check;
ALTER TABLE anomalies ADD CONSTRAINT anomalies_status_check CHECK (status IN ('provisional', 'open', 'withdrawn'));
CREATE INDEX anomalies_provisional ON anomalies (timestamp) WHERE status = 'provisional';
