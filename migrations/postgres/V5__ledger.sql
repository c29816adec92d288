-- What a restart must know to decide on records as before, and what became of every record.

-- Which series a partition knows: since and until which offset, and when it was heard last, to an eighth of --forget.
CREATE TABLE census (
    source       TEXT        NOT NULL,
    partition    TEXT        NOT NULL,
    entity       BIGINT      NOT NULL,       -- the 64-bit identity, read as signed
    metric       BIGINT      NOT NULL,       -- the 32-bit identity
    since_offset BIGINT      NOT NULL,
    until_offset BIGINT,                     -- NULL: it is known still
    last_heard   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source, partition, entity, metric, since_offset)
);
CREATE INDEX census_left ON census (source, partition, until_offset) WHERE until_offset IS NOT NULL;

-- How many records of a partition came to what: `event`, or the reason of a refusal. Dead letters may be fewer than were refused.
CREATE TABLE outcomes (
    source    TEXT   NOT NULL,
    partition TEXT   NOT NULL,
    outcome   TEXT   NOT NULL,
    records   BIGINT NOT NULL,
    PRIMARY KEY (source, partition, outcome)
);
INSERT INTO outcomes SELECT source, partition, reason, count(*) FROM dead_letters GROUP BY source, partition, reason;

-- Records that were refused by the clock, as far as they may be read again.
CREATE TABLE refusals (
    source        TEXT   NOT NULL,
    partition     TEXT   NOT NULL,
    record_offset BIGINT NOT NULL,
    PRIMARY KEY (source, partition, record_offset)
);
INSERT INTO refusals SELECT source, partition, record_offset FROM dead_letters WHERE reason = 'future';

CREATE INDEX dead_letters_by_time ON dead_letters (known_at);
