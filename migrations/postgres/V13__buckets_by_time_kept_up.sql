-- Without TimescaleDB: the index of buckets by time knows nothing of pages that came after the last VACUUM, which is when a fifth of the table is new, and
-- whoever asks for a span of time reads all of those. From here on the server is told of every megabyte that is full.
DO $$
BEGIN
    IF to_regclass('buckets_by_time') IS NOT NULL THEN
        ALTER INDEX buckets_by_time SET (autosummarize = on);
        PERFORM brin_summarize_new_values('buckets_by_time');
    END IF;
END $$;
