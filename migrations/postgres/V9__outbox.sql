-- What is to be sent to people about incidents, and what became of it.

-- One row per incident, change and receiver, written in the transaction that changed the incident. Which columns an incident had then is kept: what is
-- sent says what held when it changed, and what changed is found by comparing with the last row.
CREATE TABLE outbox (
    outbox_id        BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source           TEXT        NOT NULL,
    receiver         TEXT        NOT NULL,    -- the name that the configuration gives it
    change           TEXT        NOT NULL CHECK (change IN ('opened', 'escalated', 'spread', 'closed', 'reopened', 'withdrawn')),
    incident_id      BIGINT      NOT NULL,
    scope            TEXT        NOT NULL,
    entity_type      TEXT        NOT NULL,
    entity_id        TEXT        NOT NULL,
    zone             TEXT        NOT NULL,
    rack             TEXT        NOT NULL,
    opened           TIMESTAMPTZ NOT NULL,
    last             TIMESTAMPTZ NOT NULL,
    status           TEXT        NOT NULL,
    settled          BOOLEAN     NOT NULL,
    severity         TEXT        NOT NULL,
    entities         BIGINT      NOT NULL,
    peers            BIGINT      NOT NULL,
    metrics          TEXT        NOT NULL,
    anomalous        BIGINT      NOT NULL,
    missing          BIGINT      NOT NULL,
    peak_entity_id   TEXT,
    peak_metric      TEXT,
    peak_start       TIMESTAMPTZ,
    peak_mean        DOUBLE PRECISION,
    peak_expected    DOUBLE PRECISION,
    peak_z_score     DOUBLE PRECISION,
    withdrawn_reason TEXT,
    revision         BIGINT      NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    state            TEXT        NOT NULL CHECK (state IN ('pending', 'delivered', 'held_back', 'overtaken', 'failed')),
    attempts         BIGINT      NOT NULL,
    next_try_at      TIMESTAMPTZ NOT NULL,
    ended_at         TIMESTAMPTZ,             -- when it was not pending any more
    problem          TEXT,                    -- why the last attempt failed
    UNIQUE (incident_id, receiver, revision)
);
CREATE INDEX outbox_pending ON outbox (source, receiver, outbox_id) WHERE state = 'pending';
CREATE INDEX outbox_ended ON outbox (source, receiver, ended_at);
