-- With TimescaleDB: hypertables, compression and retention. Without it: the plain tables, and a small index over time.
--
-- The names of TimescaleDB's functions are those that every release from 2.13 knows (2.18 added `columnstore` names and kept these).
-- Compression and policies are refused by the Apache-licensed build and never worth a failed migration: each is tried on its own.

DO $$
BEGIN
    -- The loader defines this setting. Without it, CREATE EXTENSION would end the session instead of failing.
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
       AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       AND (current_setting('timescaledb.disable_load', true) IS NOT NULL
            OR current_setting('timescaledb.max_background_workers', true) IS NOT NULL) THEN
        BEGIN
            EXECUTE 'CREATE EXTENSION timescaledb';
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'timescaledb is available but was not created: %', SQLERRM;
        END;
    END IF;
END $$;

DO $$
DECLARE
    home TEXT := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb');
    plan RECORD;
BEGIN
    IF home IS NULL THEN
        -- A block range index: buckets arrive nearly in time order, and a B-tree over millions of rows would cost every insert.
        CREATE INDEX buckets_by_time ON buckets USING brin (bucket_start);
        RETURN;
    END IF;
    PERFORM set_config('search_path', current_setting('search_path') || ', ' || quote_ident(home), true);
    -- Raw rows: 30 days. Buckets and anomalies: 400 days, so that a year can be compared with the one before.
    -- A chunk: small enough that those being written fit in memory, large enough that a year is a few hundred.
    FOR plan IN
        SELECT * FROM (VALUES
            ('buckets', 'bucket_start', INTERVAL '1 day', 'series_id', 'bucket_start', INTERVAL '7 days', INTERVAL '400 days'),
            ('anomalies', 'timestamp', INTERVAL '30 days', NULL, NULL, NULL, INTERVAL '400 days'),
            ('server_metrics', 'timestamp', INTERVAL '1 day', 'server_id', 'timestamp, partition, record_offset',
                INTERVAL '2 days', INTERVAL '30 days'),
            ('application_metrics', 'timestamp', INTERVAL '1 day', 'service_name', 'timestamp, partition, record_offset',
                INTERVAL '2 days', INTERVAL '30 days')
        ) AS plans (relation, time_column, chunk, segment, ordering, compress_after, drop_after)
    LOOP
        EXECUTE format('SELECT create_hypertable(%L::regclass, %L::name, chunk_time_interval => %L::interval, create_default_indexes => false)',
                       plan.relation, plan.time_column, plan.chunk);
        IF plan.segment IS NOT NULL THEN
            BEGIN
                EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                               plan.relation, plan.segment, plan.ordering);
                EXECUTE format('SELECT add_compression_policy(%L::regclass, %L::interval)', plan.relation, plan.compress_after);
            EXCEPTION WHEN OTHERS THEN
                RAISE NOTICE 'no compression of %: %', plan.relation, SQLERRM;
            END;
        END IF;
        BEGIN
            EXECUTE format('SELECT add_retention_policy(%L::regclass, %L::interval)', plan.relation, plan.drop_after);
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'no retention of %: %', plan.relation, SQLERRM;
        END;
    END LOOP;
END $$;
