-- The series that is why a receiver is told again of an incident: one of a metric that went off after it was told of the others.
ALTER TABLE outbox ADD COLUMN added_series_id INTEGER;
