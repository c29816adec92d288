-- SQLite has no such index. The number is kept so that both stores tell one story.
SELECT 1;
