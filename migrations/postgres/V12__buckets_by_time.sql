-- PostgreSQL keeps rows in the order in which they come. The number is kept so that both stores tell one story.
SELECT 1;
