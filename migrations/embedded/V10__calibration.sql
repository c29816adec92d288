-- How the promises of models were kept: one row per day of event time and series, over the scored buckets of the day that can change no more. A row is
-- always a whole count, so that it may be written over. Times are milliseconds since 1970; sums are in millionths, scales are those of the model.
CREATE TABLE calibration (
    day                      INTEGER NOT NULL,
    series_id                INTEGER NOT NULL,
    scored                   INTEGER NOT NULL,
    alarms                   INTEGER NOT NULL, -- |z_score| above 3
    beyond                   INTEGER NOT NULL, -- further than two scales from what was expected
    squares                  INTEGER NOT NULL, -- of deviations, each at most three scales
    products                 INTEGER NOT NULL, -- of deviations and those before them
    recent_square            REAL    NOT NULL, -- the mean square of about the last day
    promised_square          REAL,             -- what training saw of the same; NULL: the model says nothing
    promised_high            REAL,             -- what the recent square stayed below in nineteen buckets of twenty
    promised_beyond          REAL,             -- shares of all buckets
    promised_alarms          REAL,
    promised_autocorrelation REAL,
    drifting_since           INTEGER,          -- NULL: at the end of what is counted, the promise is kept
    broken_at                INTEGER,          -- when a promise was found broken last
    PRIMARY KEY (day, series_id)
) WITHOUT ROWID;
-- For what came last of a series.
CREATE INDEX calibration_by_series ON calibration (series_id, day);
