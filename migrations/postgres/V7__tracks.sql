-- What the method of a series goes on from after a restart: its state after the bucket that starts at last_start, as JSON. Written over and over, so
-- that rows keep room for their next version.
CREATE TABLE tracks (
    series_id  BIGINT      NOT NULL PRIMARY KEY,
    last_start TIMESTAMPTZ NOT NULL,
    track      TEXT        NOT NULL
) WITH (fillfactor = 50);
