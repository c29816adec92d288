-- Buckets by the hour, for dashboards that look at weeks: a continuous aggregate with TimescaleDB, a view without it.
--
-- `WITH NO DATA` is what allows a continuous aggregate inside a transaction; its policy fills it. FILTER is written as CASE
-- because older releases refuse it here.

DO $$
DECLARE
    home TEXT := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb');
    columns CONSTANT TEXT := '
        count(*)                                                AS buckets,
        sum(count)                                              AS count,
        sum(mean * count) / nullif(sum(count), 0)               AS mean,
        min(min)                                                AS min,
        max(max)                                                AS max,
        max(abs(z_score))                                       AS z_score_max,
        sum(CASE WHEN state = ''anomalous'' THEN 1 ELSE 0 END)  AS anomalous,
        sum(CASE WHEN state = ''missing'' THEN 1 ELSE 0 END)    AS missing
    FROM buckets GROUP BY 1, 2';
BEGIN
    IF home IS NOT NULL THEN
        PERFORM set_config('search_path', current_setting('search_path') || ', ' || quote_ident(home), true);
        BEGIN
            EXECUTE 'CREATE MATERIALIZED VIEW buckets_hourly WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
                SELECT series_id, time_bucket(INTERVAL ''1 hour'', bucket_start) AS hour,' || columns || ' WITH NO DATA';
            BEGIN
                -- Ends before the retention of `buckets` begins, so that a refresh never forgets an hour whose buckets were dropped.
                PERFORM add_continuous_aggregate_policy('buckets_hourly'::regclass, start_offset => INTERVAL '390 days',
                    end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '1 hour');
            EXCEPTION WHEN OTHERS THEN
                RAISE NOTICE 'buckets_hourly is not refreshed: %', SQLERRM;
            END;
            RETURN;
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'buckets_hourly is a plain view: %', SQLERRM;
        END;
    END IF;
    EXECUTE 'CREATE VIEW buckets_hourly AS
        SELECT series_id, date_trunc(''hour'', bucket_start, ''UTC'') AS hour,' || columns;
END $$;
