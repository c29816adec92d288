-- PostgreSQL sums hours by their keys whatever its statistics say. SQLite has none, and does. The number is kept so that both stores tell one story.
SELECT 1;
