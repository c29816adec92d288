-- Hours are summed with the buckets they are made of, in the same transaction, and entities from their series: whoever looks reads sums and nothing else.
-- Before, hours were summed once a minute, a day at a time, and for whoever asked meanwhile; after a backfill that took a dashboard most of a minute.

-- What is looked for of one series is few rows; over the first column of the key it was all anomalies of the time.
CREATE INDEX anomalies_by_series ON anomalies (series_id, timestamp);

DO $$
DECLARE
    home TEXT := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb');
    columns CONSTANT TEXT := '
        count(*)                         AS series,
        sum(buckets.buckets)::bigint     AS buckets,
        max(buckets.z_score_max)         AS z_score_max,
        sum(buckets.anomalous)::bigint   AS anomalous,
        sum(buckets.missing)::bigint     AS missing
    FROM buckets_hourly AS buckets JOIN series ON series.series_id = buckets.series_id GROUP BY 1, 2, 3';
BEGIN
    IF to_regclass(quote_ident(current_schema()) || '.stale_hours') IS NOT NULL THEN
        RETURN;
    END IF;
    -- A hypertable takes no triggers like those below. With TimescaleDB it is a continuous aggregate of the one that there is by series.
    IF home IS NOT NULL THEN
        PERFORM set_config('search_path', current_setting('search_path') || ', ' || quote_ident(home), true);
        BEGIN
            EXECUTE 'CREATE MATERIALIZED VIEW entities_hourly WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
                SELECT time_bucket(INTERVAL ''1 hour'', buckets.hour) AS hour, series.entity_type, series.entity_id,' || columns || ' WITH NO DATA';
            BEGIN
                PERFORM add_continuous_aggregate_policy('entities_hourly'::regclass, start_offset => INTERVAL '390 days',
                    end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '1 hour');
            EXCEPTION WHEN OTHERS THEN
                RAISE NOTICE 'entities_hourly is not refreshed: %', SQLERRM;
            END;
            RETURN;
        EXCEPTION WHEN OTHERS THEN -- releases before 2.16 refuse the join
            RAISE NOTICE 'entities_hourly is a plain view: %', SQLERRM;
        END;
    END IF;
    EXECUTE 'CREATE VIEW entities_hourly AS SELECT buckets.hour AS hour, series.entity_type, series.entity_id,' || columns;
END $$;

-- Outside of 1e-200 and 1e200 a product or a quotient may have no room in a number, which is an error here, and no sum is worth a commit that fails.
DO $$
DECLARE
    sums CONSTANT TEXT := '
        INSERT INTO hours AS known (series_id, hour, buckets, count, mean, min, max, z_score_max, anomalous, missing)
        SELECT touched.series_id, touched.hour, summed.*
        FROM touched CROSS JOIN LATERAL (
            SELECT count(*) AS buckets, sum(count),
                   sum(CASE WHEN abs(mean) BETWEEN 1e-200 AND 1e200 THEN mean * count WHEN count > 0 THEN 0 END) / nullif(sum(count), 0),
                   min(min), max(max), max(abs(z_score)), count(*) FILTER (WHERE state = ''anomalous''), count(*) FILTER (WHERE state = ''missing'')
            FROM buckets
            WHERE buckets.series_id = touched.series_id AND bucket_start >= touched.hour AND bucket_start < touched.hour + INTERVAL ''1 hour''
        ) AS summed
        WHERE summed.buckets > 0
        ON CONFLICT (series_id, hour) DO UPDATE SET buckets = excluded.buckets, count = excluded.count, mean = excluded.mean, min = excluded.min,
            max = excluded.max, z_score_max = excluded.z_score_max, anomalous = excluded.anomalous, missing = excluded.missing';
    entities CONSTANT TEXT := '
        INSERT INTO entities_hourly AS known (hour, entity_type, entity_id, series, buckets, z_score_max, anomalous, missing)
        SELECT touched.hour, touched.entity_type, touched.entity_id, summed.*
        FROM (SELECT DISTINCT touched.hour, entity_type, entity_id FROM touched JOIN series USING (series_id)) AS touched
        CROSS JOIN LATERAL (
            SELECT count(*) AS series, sum(hours.buckets), max(hours.z_score_max), sum(hours.anomalous), sum(hours.missing)
            FROM series JOIN hours USING (series_id)
            WHERE series.entity_id = touched.entity_id AND series.entity_type = touched.entity_type AND hours.hour = touched.hour
        ) AS summed
        WHERE summed.series > 0
        ON CONFLICT (hour, entity_type, entity_id) DO UPDATE SET series = excluded.series, buckets = excluded.buckets,
            z_score_max = excluded.z_score_max, anomalous = excluded.anomalous, missing = excluded.missing';
BEGIN
    IF to_regclass(quote_ident(current_schema()) || '.stale_hours') IS NULL THEN
        RETURN;
    END IF;
    DROP TRIGGER mark_inserted ON buckets;
    DROP TRIGGER mark_updated ON buckets;
    DROP TRIGGER mark_deleted ON buckets;
    DROP TRIGGER sum_hours ON commits;
    DROP FUNCTION mark_hours();
    DROP FUNCTION sum_hours();
    CREATE OR REPLACE VIEW buckets_hourly AS SELECT * FROM hours;

    CREATE TABLE entities_hourly (
        hour        TIMESTAMPTZ NOT NULL,
        entity_type TEXT        NOT NULL,
        entity_id   TEXT        NOT NULL,
        series      BIGINT      NOT NULL, -- that have a bucket in the hour
        buckets     BIGINT      NOT NULL,
        z_score_max DOUBLE PRECISION,     -- the largest |z_score|
        anomalous   BIGINT      NOT NULL, -- buckets
        missing     BIGINT      NOT NULL, -- buckets
        PRIMARY KEY (hour, entity_type, entity_id)
    );

    -- What is stale now, and the entities of all hours.
    DELETE FROM hours WHERE hour IN (SELECT hour FROM stale_hours);
    EXECUTE 'WITH touched AS MATERIALIZED (SELECT series_id, hour FROM series CROSS JOIN (SELECT DISTINCT hour FROM stale_hours) AS stale)' || sums;
    DROP TABLE stale_hours;
    EXECUTE 'WITH touched AS MATERIALIZED (SELECT series_id, hour FROM hours)' || entities;

    -- Sums are made anew from all that is there, so that a bucket that is revised, or written twice, is counted once.
    EXECUTE 'CREATE FUNCTION sum_hours() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $sum$
    DECLARE
        series_ids BIGINT[];
        hours_touched TIMESTAMPTZ[];
    BEGIN
        SELECT array_agg(series_id), array_agg(hour) INTO series_ids, hours_touched
        FROM (SELECT DISTINCT series_id, date_trunc(''hour'', bucket_start, ''UTC'') AS hour FROM changed ORDER BY 1, 2) AS touched;
        IF series_ids IS NULL THEN
            RETURN NULL;
        END IF;
        -- Of two that commit at once, with series of one entity, the second sums what the first has written.
        PERFORM pg_advisory_xact_lock(hashtext(''tidewatch hours''), hashtext(TG_TABLE_SCHEMA));
        WITH touched AS (SELECT * FROM unnest(series_ids, hours_touched) AS one (series_id, hour))' || sums || ';
        IF TG_OP = ''DELETE'' THEN
            DELETE FROM hours USING unnest(series_ids, hours_touched) AS touched (series_id, hour)
            WHERE hours.series_id = touched.series_id AND hours.hour = touched.hour
              AND NOT EXISTS (SELECT FROM buckets WHERE buckets.series_id = touched.series_id
                              AND bucket_start >= touched.hour AND bucket_start < touched.hour + INTERVAL ''1 hour'');
            DELETE FROM entities_hourly AS known USING unnest(series_ids, hours_touched) AS touched (series_id, hour) JOIN series USING (series_id)
            WHERE known.hour = touched.hour AND known.entity_type = series.entity_type AND known.entity_id = series.entity_id
              AND NOT EXISTS (SELECT FROM hours JOIN series AS one USING (series_id)
                              WHERE hours.hour = known.hour AND one.entity_type = known.entity_type AND one.entity_id = known.entity_id);
        END IF;
        WITH touched AS (SELECT * FROM unnest(series_ids, hours_touched) AS one (series_id, hour))' || entities || ';
        RETURN NULL;
    END $sum$';
    CREATE TRIGGER sum_inserted AFTER INSERT ON buckets REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sum_hours();
    CREATE TRIGGER sum_updated AFTER UPDATE ON buckets REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sum_hours();
    CREATE TRIGGER sum_deleted AFTER DELETE ON buckets REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sum_hours();
END $$;

-- What a dashboard asks for is many small joins, for which compiling takes longer than running, and sums that fit in a little memory.
DO $$
BEGIN
    ALTER ROLE tidewatch_reader SET jit = off;
    ALTER ROLE tidewatch_reader SET work_mem = '32MB';
EXCEPTION WHEN OTHERS THEN -- a managed server, or another database of the same server at this moment
    RAISE NOTICE 'tidewatch_reader is left as it is: %', SQLERRM;
END $$;
