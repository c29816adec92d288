-- SQLite has no partitions. The number is kept so that both stores tell one story.
SELECT 1;
