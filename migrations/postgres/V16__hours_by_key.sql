-- Without TimescaleDB: hours are summed over the keys of their tables, whatever the server believes of these. Where ANALYZE came while a first backfill
-- was under way, it saw many pages and next to no rows, any index was as good as another, and for each hour of each series all buckets were read: a minute
-- for 60,000 buckets, at which a commit is given up, so that nothing ever changed its mind. An OFFSET of nothing keeps a search from being joined otherwise.
DO $$
BEGIN
    IF to_regproc(quote_ident(current_schema()) || '.sum_hours') IS NULL THEN
        RETURN;
    END IF;
    EXECUTE 'CREATE OR REPLACE FUNCTION sum_hours() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $sum$
    DECLARE
        series_ids BIGINT[];
        hours_touched TIMESTAMPTZ[];
        entity_types TEXT[];
        entity_ids TEXT[];
        entity_hours TIMESTAMPTZ[];
    BEGIN
        SELECT array_agg(series_id), array_agg(hour) INTO series_ids, hours_touched
        FROM (SELECT DISTINCT series_id, date_trunc(''hour'', bucket_start, ''UTC'') AS hour FROM changed ORDER BY 1, 2) AS touched;
        IF series_ids IS NULL THEN
            RETURN NULL;
        END IF;
        -- Of two that commit at once, with series of one entity, the second sums what the first has written.
        PERFORM pg_advisory_xact_lock(hashtext(''tidewatch hours''), hashtext(TG_TABLE_SCHEMA));
        -- Outside of 1e-200 and 1e200 a product or a quotient may have no room in a number, which is an error here, and no sum is worth a commit that fails.
        INSERT INTO hours AS known (series_id, hour, buckets, count, mean, min, max, z_score_max, anomalous, missing)
        SELECT touched.series_id, touched.hour, summed.*
        FROM unnest(series_ids, hours_touched) AS touched (series_id, hour) CROSS JOIN LATERAL (
            SELECT count(*) AS buckets, sum(count),
                   sum(CASE WHEN abs(mean) BETWEEN 1e-200 AND 1e200 THEN mean * count WHEN count > 0 THEN 0 END) / nullif(sum(count), 0),
                   min(min), max(max), max(abs(z_score)), count(*) FILTER (WHERE state = ''anomalous''), count(*) FILTER (WHERE state = ''missing'')
            FROM buckets
            WHERE buckets.series_id = touched.series_id AND bucket_start >= touched.hour AND bucket_start < touched.hour + INTERVAL ''1 hour''
        ) AS summed
        WHERE summed.buckets > 0
        ON CONFLICT (series_id, hour) DO UPDATE SET buckets = excluded.buckets, count = excluded.count, mean = excluded.mean, min = excluded.min,
            max = excluded.max, z_score_max = excluded.z_score_max, anomalous = excluded.anomalous, missing = excluded.missing;
        SELECT array_agg(entity_type), array_agg(entity_id), array_agg(hour) INTO entity_types, entity_ids, entity_hours
        FROM (SELECT DISTINCT named.entity_type, named.entity_id, touched.hour
              FROM unnest(series_ids, hours_touched) AS touched (series_id, hour) CROSS JOIN LATERAL
                  (SELECT entity_type, entity_id FROM series WHERE series.series_id = touched.series_id OFFSET 0) AS named
              ORDER BY 1, 2, 3) AS touched;
        IF TG_OP = ''DELETE'' THEN
            DELETE FROM hours WHERE ctid = ANY (ARRAY(
                SELECT gone.ctid FROM unnest(series_ids, hours_touched) AS touched (series_id, hour) CROSS JOIN LATERAL
                    (SELECT hours.ctid FROM hours WHERE hours.series_id = touched.series_id AND hours.hour = touched.hour OFFSET 0) AS gone
                WHERE 0 = (SELECT count(*) FROM buckets WHERE buckets.series_id = touched.series_id
                           AND bucket_start >= touched.hour AND bucket_start < touched.hour + INTERVAL ''1 hour'')));
            DELETE FROM entities_hourly WHERE ctid = ANY (ARRAY(
                SELECT known.ctid FROM unnest(entity_types, entity_ids, entity_hours) AS touched (entity_type, entity_id, hour) CROSS JOIN LATERAL
                    (SELECT entities_hourly.ctid FROM entities_hourly WHERE entities_hourly.hour = touched.hour
                         AND entities_hourly.entity_type = touched.entity_type AND entities_hourly.entity_id = touched.entity_id OFFSET 0) AS known
                WHERE 0 = (SELECT count(*) FROM
                    (SELECT series_id FROM series WHERE series.entity_id = touched.entity_id AND series.entity_type = touched.entity_type OFFSET 0) AS named
                        CROSS JOIN LATERAL
                    (SELECT FROM hours WHERE hours.series_id = named.series_id AND hours.hour = touched.hour OFFSET 0) AS one)));
        END IF;
        INSERT INTO entities_hourly AS known (hour, entity_type, entity_id, series, buckets, z_score_max, anomalous, missing)
        SELECT touched.hour, touched.entity_type, touched.entity_id, summed.*
        FROM unnest(entity_types, entity_ids, entity_hours) AS touched (entity_type, entity_id, hour) CROSS JOIN LATERAL (
            SELECT count(*) AS series, sum(one.buckets), max(one.z_score_max), sum(one.anomalous), sum(one.missing)
            FROM (SELECT series_id FROM series WHERE series.entity_id = touched.entity_id AND series.entity_type = touched.entity_type OFFSET 0) AS named
                CROSS JOIN LATERAL
                (SELECT * FROM hours WHERE hours.series_id = named.series_id AND hours.hour = touched.hour OFFSET 0) AS one
        ) AS summed
        WHERE summed.series > 0
        ON CONFLICT (hour, entity_type, entity_id) DO UPDATE SET series = excluded.series, buckets = excluded.buckets,
            z_score_max = excluded.z_score_max, anomalous = excluded.anomalous, missing = excluded.missing;
        RETURN NULL;
    END $sum$';
END $$;
