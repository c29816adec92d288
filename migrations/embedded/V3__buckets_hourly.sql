-- Buckets by the hour, for dashboards that look at weeks.
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
