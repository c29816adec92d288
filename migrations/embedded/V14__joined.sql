-- Which incident an incident became part of, where that is why it is none of its own any more.
ALTER TABLE incidents ADD COLUMN joined_id INTEGER;
ALTER TABLE outbox ADD COLUMN joined_id INTEGER;
