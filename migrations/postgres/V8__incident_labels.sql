-- What people said of incidents. The latest word counts; none is a row that is not there.
CREATE TABLE incident_labels (
    incident_id BIGINT      PRIMARY KEY,
    label       TEXT        NOT NULL CHECK (label IN ('useful', 'not_useful')),
    labelled_at TIMESTAMPTZ NOT NULL
);
