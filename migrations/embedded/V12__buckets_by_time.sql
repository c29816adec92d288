-- Buckets in the order of time, in which they come: a commit adds to the end of the table instead of a row to a page for each series. Those of one
-- series are found by the moments that there are, each from the one before it:
--     WITH RECURSIVE starts (start) AS (SELECT min(bucket_start) FROM buckets WHERE bucket_start >= :from UNION ALL
--         SELECT (SELECT min(bucket_start) FROM buckets WHERE bucket_start > start) FROM starts WHERE start < :until)
--     SELECT * FROM starts CROSS JOIN buckets ON bucket_start = start AND series_id = :series WHERE start < :until
DROP VIEW entities_hourly;
DROP VIEW buckets_hourly;
CREATE TABLE buckets_by_time (
    series_id    INTEGER NOT NULL,
    bucket_start INTEGER NOT NULL,
    count        INTEGER NOT NULL,
    mean,
    min,
    max,
    stddev,
    expected,
    sigma,
    z_score,
    state        TEXT    NOT NULL,
    PRIMARY KEY (bucket_start, series_id)
) WITHOUT ROWID;
INSERT INTO buckets_by_time SELECT * FROM buckets ORDER BY bucket_start, series_id;
DROP TABLE buckets;
ALTER TABLE buckets_by_time RENAME TO buckets;
CREATE VIEW buckets_hourly AS
SELECT
    series_id,
    bucket_start / 3600000 * 3600000                                AS hour,
    count(*)                                                        AS buckets,
    sum(count)                                                      AS count,
    sum(mean * count) / nullif(sum(count), 0)                       AS mean,
    min(min)                                                        AS min,
    max(max)                                                        AS max,
    max(abs(z_score))                                               AS z_score_max,
    sum(CASE WHEN state = 'anomalous' THEN 1 ELSE 0 END)            AS anomalous,
    sum(CASE WHEN state = 'missing' THEN 1 ELSE 0 END)              AS missing
FROM buckets
GROUP BY series_id, bucket_start / 3600000 * 3600000;
CREATE VIEW entities_hourly AS
SELECT hour, entity_type, entity_id, count(*) AS series, sum(buckets) AS buckets, max(z_score_max) AS z_score_max, sum(anomalous) AS anomalous,
    sum(missing) AS missing
FROM buckets_hourly JOIN series ON series.series_id = buckets_hourly.series_id
GROUP BY hour, entity_type, entity_id;
