-- How the promises of models were kept: one row per day of event time and series, over the scored buckets of the day that can change no more. A row is
-- always a whole count, so that it may be written over; it keeps room for its next version. Sums are in millionths, scales are those of the model.
CREATE TABLE calibration (
    day                      TIMESTAMPTZ      NOT NULL,
    series_id                BIGINT           NOT NULL,
    scored                   BIGINT           NOT NULL,
    alarms                   BIGINT           NOT NULL, -- |z_score| above 3
    beyond                   BIGINT           NOT NULL, -- further than two scales from what was expected
    squares                  BIGINT           NOT NULL, -- of deviations, each at most three scales
    products                 BIGINT           NOT NULL, -- of deviations and those before them
    recent_square            DOUBLE PRECISION NOT NULL, -- the mean square of about the last day
    promised_square          DOUBLE PRECISION, -- what training saw of the same; NULL: the model says nothing
    promised_high            DOUBLE PRECISION, -- what the recent square stayed below in nineteen buckets of twenty
    promised_beyond          DOUBLE PRECISION, -- shares of all buckets
    promised_alarms          DOUBLE PRECISION,
    promised_autocorrelation DOUBLE PRECISION,
    drifting_since           TIMESTAMPTZ,               -- NULL: at the end of what is counted, the promise is kept
    broken_at                TIMESTAMPTZ,               -- when a promise was found broken last
    PRIMARY KEY (day, series_id)
) WITH (fillfactor = 50);
-- For what came last of a series.
CREATE INDEX calibration_by_series ON calibration (series_id, day);
