-- Where entities stand, what their anomalies come to, and what an operator has declared to be expected.

-- Buckets that start before this are settled for good, whatever lateness a later run allows.
ALTER TABLE sources ADD COLUMN settled INTEGER;

-- One row per entity and move: since when it has stood where.
CREATE TABLE placements (
    source      TEXT    NOT NULL,
    entity_type TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    since       INTEGER NOT NULL,
    zone        TEXT    NOT NULL,            -- empty: none
    rack        TEXT    NOT NULL,            -- empty: none
    PRIMARY KEY (source, entity_type, entity_id, since)
) WITHOUT ROWID;

-- Runs of anomalous and missing buckets of one series.
CREATE TABLE episodes (
    series_id     INTEGER NOT NULL,
    opened        INTEGER NOT NULL,          -- the start of the first bucket of evidence
    last          INTEGER NOT NULL,          -- the start of the last one
    status        TEXT    NOT NULL CHECK (status IN ('open', 'closed', 'withdrawn')),
    settled       INTEGER NOT NULL,          -- whether nothing can change it any more
    severity      TEXT    NOT NULL,
    anomalous     INTEGER NOT NULL,          -- buckets
    missing       INTEGER NOT NULL,          -- buckets
    peak_start    INTEGER,                   -- the bucket furthest from what was expected; none where all are missing
    peak_mean,
    peak_expected,
    peak_sigma,
    peak_z_score,
    incident_id   INTEGER NOT NULL,
    revision      INTEGER NOT NULL,
    known_at      INTEGER NOT NULL,
    revised_at    INTEGER,
    PRIMARY KEY (series_id, opened)
) WITHOUT ROWID;
CREATE INDEX episodes_by_incident ON episodes (incident_id);
CREATE INDEX episodes_unsettled ON episodes (series_id) WHERE NOT settled;

-- Episodes that belong together.
CREATE TABLE incidents (
    incident_id      INTEGER PRIMARY KEY,
    source           TEXT    NOT NULL,
    scope            TEXT    NOT NULL CHECK (scope IN ('entity', 'rack', 'zone', 'kind')),
    entity_type      TEXT    NOT NULL,
    entity_id        TEXT    NOT NULL,       -- the first that was hit
    zone             TEXT    NOT NULL,       -- where that one stands
    rack             TEXT    NOT NULL,
    opened           INTEGER NOT NULL,
    last             INTEGER NOT NULL,
    status           TEXT    NOT NULL CHECK (status IN ('open', 'closed', 'withdrawn')),
    settled          INTEGER NOT NULL,
    severity         TEXT    NOT NULL,
    entities         INTEGER NOT NULL,       -- hit
    peers            INTEGER NOT NULL,       -- of the rack, zone or kind, hit or not
    metrics          TEXT    NOT NULL,       -- JSON array of names
    anomalous        INTEGER NOT NULL,       -- buckets
    missing          INTEGER NOT NULL,       -- buckets
    peak_entity_id   TEXT,
    peak_metric      TEXT,
    peak_start       INTEGER,
    peak_mean,
    peak_expected,
    peak_z_score,
    withdrawn_reason TEXT,
    revision         INTEGER NOT NULL,
    known_at         INTEGER NOT NULL,
    revised_at       INTEGER
);
CREATE INDEX incidents_by_time ON incidents (opened);
CREATE INDEX incidents_unsettled ON incidents (source) WHERE NOT settled;

-- Stretches of time in which deviations of some series are expected.
CREATE TABLE silences (
    silence_id INTEGER PRIMARY KEY,
    entity     TEXT    NOT NULL,             -- a pattern: * and ?
    metric     TEXT,                         -- none: all
    from_time  INTEGER NOT NULL,
    until_time INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    removed_at INTEGER
);

-- SQLite cannot change a check; an anomaly may now be provisional, while its bucket is open.
CREATE TABLE anomalies_with_provisional (
    series_id        INTEGER NOT NULL,
    timestamp        INTEGER NOT NULL,
    entity_id        TEXT    NOT NULL,
    entity_type      TEXT    NOT NULL,
    severity         TEXT    NOT NULL,
    anomaly_score    REAL    NOT NULL,
    details          TEXT    NOT NULL,       -- JSON
    status           TEXT    NOT NULL CHECK (status IN ('provisional', 'open', 'withdrawn')),
    withdrawn_reason TEXT,
    revision         INTEGER NOT NULL,       -- 0 while provisional
    known_at         INTEGER NOT NULL,       -- when the first revision was stored
    revised_at       INTEGER,                -- when the last one was, where there were several
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;
INSERT INTO anomalies_with_provisional SELECT * FROM anomalies;
DROP TABLE anomalies;
ALTER TABLE anomalies_with_provisional RENAME TO anomalies;
CREATE INDEX anomalies_provisional ON anomalies (timestamp) WHERE status = 'provisional';
