-- What the method of a series goes on from after a restart: its state after the bucket that starts at last_start, as JSON.
CREATE TABLE tracks (
    series_id  INTEGER NOT NULL PRIMARY KEY,
    last_start INTEGER NOT NULL,       -- milliseconds since 1970
    track      TEXT    NOT NULL
) WITHOUT ROWID;
