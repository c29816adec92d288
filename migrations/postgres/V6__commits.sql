-- What dashboards ask for: how the commits went, where series stand, and a role that may only read.

-- One row per source and minute of the wall clock in which something was committed. To look at, not to count on: a minute in which the process was
-- killed is missing, and one whose storing failed half way may be counted twice.
CREATE TABLE commits (
    source           TEXT             NOT NULL,
    minute_at        TIMESTAMPTZ      NOT NULL,
    commits          BIGINT           NOT NULL,
    records          BIGINT           NOT NULL, -- events and refused ones
    dead_letters     BIGINT           NOT NULL, -- refused records, kept or not
    verdicts         BIGINT           NOT NULL,
    anomalies        BIGINT           NOT NULL,
    revisions        BIGINT           NOT NULL, -- verdicts that took the place of an earlier one, and those that were taken back
    milliseconds     DOUBLE PRECISION NOT NULL, -- that all commits took together
    milliseconds_max DOUBLE PRECISION NOT NULL, -- that the slowest one took
    watermark        TIMESTAMPTZ,               -- event time; none before the first
    generation       BIGINT           NOT NULL, -- of the models in use
    models           BIGINT           NOT NULL, -- in use, one per series
    oldest_model     TIMESTAMPTZ,               -- where the training of the oldest one ended
    newest_model     TIMESTAMPTZ,
    PRIMARY KEY (source, minute_at)
);
CREATE INDEX commits_by_time ON commits (minute_at);

-- Series with the place where their entity stands now.
CREATE VIEW placed_series AS
    SELECT series.series_id, series.entity_type, series.entity_id, series.metric,
           coalesce(nullif(places.zone, ''), 'none') AS zone, coalesce(nullif(places.rack, ''), 'none') AS rack
    FROM series
    LEFT JOIN (SELECT DISTINCT ON (source, entity_type, entity_id) source, entity_type, entity_id, zone, rack
               FROM placements ORDER BY source, entity_type, entity_id, since DESC) AS places
        USING (source, entity_type, entity_id);

-- Without TimescaleDB `buckets_hourly` was a view that summed all buckets anew for whoever asked. From here on hours are kept as they were summed last,
-- and only those whose buckets have changed since are summed on the way: the answer is the same, some fifty times sooner.
DO $$
DECLARE
    continuous BOOLEAN := false;
    sums CONSTANT TEXT := '
        count(*)                                                AS buckets,
        sum(count)                                              AS count,
        sum(mean * count) / nullif(sum(count), 0)               AS mean,
        min(min)                                                AS min,
        max(max)                                                AS max,
        max(abs(z_score))                                       AS z_score_max,
        sum(CASE WHEN state = ''anomalous'' THEN 1 ELSE 0 END)  AS anomalous,
        sum(CASE WHEN state = ''missing'' THEN 1 ELSE 0 END)    AS missing
    FROM buckets WHERE bucket_start >= (SELECT min(hour) FROM stale_hours)
                   AND date_trunc(''hour'', bucket_start, ''UTC'') IN (SELECT hour FROM stale_hours)
    GROUP BY 1, 2';
BEGIN
    IF to_regclass('timescaledb_information.continuous_aggregates') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM timescaledb_information.continuous_aggregates
                                WHERE view_name = ''buckets_hourly'' AND view_schema = current_schema())' INTO continuous;
    END IF;
    -- A hypertable takes no triggers like these.
    IF continuous OR EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    CREATE TABLE hours AS SELECT * FROM buckets_hourly WITH NO DATA;
    ALTER TABLE hours ADD PRIMARY KEY (series_id, hour);
    CREATE INDEX hours_by_time ON hours USING brin (hour) WITH (pages_per_range = 32);
    -- One row per hour and statement that changed a bucket in it. No key: two that commit at once must neither wait for one another nor miss a mark.
    CREATE TABLE stale_hours (hour TIMESTAMPTZ NOT NULL);
    INSERT INTO stale_hours SELECT DISTINCT date_trunc('hour', bucket_start, 'UTC') FROM buckets;

    CREATE FUNCTION mark_hours() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $mark$
    BEGIN
        INSERT INTO stale_hours SELECT DISTINCT date_trunc('hour', bucket_start, 'UTC') FROM changed;
        RETURN NULL;
    END $mark$;
    CREATE TRIGGER mark_inserted AFTER INSERT ON buckets REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_hours();
    CREATE TRIGGER mark_updated AFTER UPDATE ON buckets REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_hours();
    CREATE TRIGGER mark_deleted AFTER DELETE ON buckets REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_hours();

    -- Once a minute, as a row of `commits` is written: at most a day, the newest first, so that a backfill keeps no commit waiting for long.
    EXECUTE 'CREATE FUNCTION sum_hours() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $sum$
    DECLARE
        newest TIMESTAMPTZ := (SELECT max(hour) FROM stale_hours);
        summed TIMESTAMPTZ[];
    BEGIN
        IF newest IS NULL OR NOT pg_try_advisory_xact_lock(hashtext(''tidewatch hours''), hashtext(TG_TABLE_SCHEMA)) THEN
            RETURN NULL;
        END IF;
        -- The marks go first: what is marked after this moment stays marked, whether its buckets are in these sums or not.
        WITH taken AS (DELETE FROM stale_hours WHERE hour > newest - INTERVAL ''1 day'' AND hour <= newest RETURNING hour)
        SELECT array_agg(DISTINCT hour) INTO summed FROM taken;
        DELETE FROM hours WHERE hour = ANY (summed);
        INSERT INTO hours SELECT series_id, date_trunc(''hour'', bucket_start, ''UTC''), ' ||
            replace(replace(sums, 'SELECT min(hour) FROM stale_hours)', 'SELECT min(hour) FROM unnest(summed) AS hour)
                   AND bucket_start < newest + INTERVAL ''1 hour'''), 'SELECT hour FROM stale_hours', 'SELECT unnest(summed)') || ';
        RETURN NULL;
    END $sum$';
    CREATE TRIGGER sum_hours AFTER INSERT OR UPDATE ON commits FOR EACH STATEMENT EXECUTE FUNCTION sum_hours();

    EXECUTE 'CREATE OR REPLACE VIEW buckets_hourly AS
        SELECT * FROM hours WHERE hour <> ALL (ARRAY(SELECT hour FROM stale_hours))
        UNION ALL
        SELECT series_id, date_trunc(''hour'', bucket_start, ''UTC''), ' || sums;
END $$;

-- Dashboards read as tidewatch_reader. Whoever runs the server gives it a password: ALTER ROLE tidewatch_reader LOGIN PASSWORD '…'.
-- A managed server may allow neither the role nor the grants, which is no reason to stop: each is tried on its own.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidewatch_reader') THEN
        BEGIN
            CREATE ROLE tidewatch_reader NOLOGIN;
            ALTER ROLE tidewatch_reader SET default_transaction_read_only = on;
            ALTER ROLE tidewatch_reader SET statement_timeout = '30s';
        EXCEPTION WHEN OTHERS THEN -- another database of the same server may make it at this moment
            RAISE NOTICE 'the role tidewatch_reader was not made: %', SQLERRM;
        END;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidewatch_reader') THEN
        RETURN;
    END IF;
    BEGIN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO tidewatch_reader', current_database());
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO tidewatch_reader', current_schema());
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO tidewatch_reader', current_schema());
        -- Tables of later migrations.
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO tidewatch_reader', current_schema());
    EXCEPTION WHEN OTHERS THEN
        RAISE NOTICE 'tidewatch_reader may not read: %', SQLERRM;
    END;
    IF current_schema() <> 'public' THEN
        BEGIN
            EXECUTE format('ALTER ROLE tidewatch_reader IN DATABASE %I SET search_path = %I, public', current_database(), current_schema());
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'tidewatch_reader does not find the schema %: %', current_schema(), SQLERRM;
        END;
    END IF;
END $$;
