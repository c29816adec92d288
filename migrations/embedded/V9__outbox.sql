-- What is to be sent to people about incidents, and what became of it.

-- One row per incident, change and receiver, written in the transaction that changed the incident. Which columns an incident had then is kept: what is
-- sent says what held when it changed, and what changed is found by comparing with the last row.
CREATE TABLE outbox (
    outbox_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    source           TEXT    NOT NULL,
    receiver         TEXT    NOT NULL,       -- the name that the configuration gives it
    change           TEXT    NOT NULL CHECK (change IN ('opened', 'escalated', 'spread', 'closed', 'reopened', 'withdrawn')),
    incident_id      INTEGER NOT NULL,
    scope            TEXT    NOT NULL,
    entity_type      TEXT    NOT NULL,
    entity_id        TEXT    NOT NULL,
    zone             TEXT    NOT NULL,
    rack             TEXT    NOT NULL,
    opened           INTEGER NOT NULL,
    last             INTEGER NOT NULL,
    status           TEXT    NOT NULL,
    settled          INTEGER NOT NULL,
    severity         TEXT    NOT NULL,
    entities         INTEGER NOT NULL,
    peers            INTEGER NOT NULL,
    metrics          TEXT    NOT NULL,
    anomalous        INTEGER NOT NULL,
    missing          INTEGER NOT NULL,
    peak_entity_id   TEXT,
    peak_metric      TEXT,
    peak_start       INTEGER,
    peak_mean,
    peak_expected,
    peak_z_score,
    withdrawn_reason TEXT,
    revision         INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'held_back', 'overtaken', 'failed')),
    attempts         INTEGER NOT NULL,
    next_try_at      INTEGER NOT NULL,
    ended_at         INTEGER,                -- when it was not pending any more
    problem          TEXT,                   -- why the last attempt failed
    UNIQUE (incident_id, receiver, revision)
);
CREATE INDEX outbox_pending ON outbox (source, receiver, outbox_id) WHERE state = 'pending';
CREATE INDEX outbox_ended ON outbox (source, receiver, ended_at);
