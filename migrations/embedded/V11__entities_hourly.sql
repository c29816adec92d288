-- Entities by the hour: the same as in PostgreSQL, as a view, and what is looked for of one series.
CREATE INDEX anomalies_by_series ON anomalies (series_id, timestamp);
CREATE VIEW entities_hourly AS
SELECT hour, entity_type, entity_id, count(*) AS series, sum(buckets) AS buckets, max(z_score_max) AS z_score_max, sum(anomalous) AS anomalous,
    sum(missing) AS missing
FROM buckets_hourly JOIN series ON series.series_id = buckets_hourly.series_id
GROUP BY hour, entity_type, entity_id;
