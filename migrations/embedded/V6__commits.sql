-- How the commits went: the same as in PostgreSQL, whose roles and views for dashboards have no counterpart here.

-- One row per source and minute of the wall clock in which something was committed. To look at, not to count on.
CREATE TABLE commits (
    source           TEXT    NOT NULL,
    minute_at        INTEGER NOT NULL,
    commits          INTEGER NOT NULL,
    records          INTEGER NOT NULL, -- events and refused ones
    dead_letters     INTEGER NOT NULL, -- refused records, kept or not
    verdicts         INTEGER NOT NULL,
    anomalies        INTEGER NOT NULL,
    revisions        INTEGER NOT NULL, -- verdicts that took the place of an earlier one, and those that were taken back
    milliseconds     REAL    NOT NULL, -- that all commits took together
    milliseconds_max REAL    NOT NULL, -- that the slowest one took
    watermark        INTEGER,          -- event time; none before the first
    generation       INTEGER NOT NULL, -- of the models in use
    models           INTEGER NOT NULL, -- in use, one per series
    oldest_model     INTEGER,          -- where the training of the oldest one ended
    newest_model     INTEGER,
    PRIMARY KEY (source, minute_at)
) WITHOUT ROWID;
