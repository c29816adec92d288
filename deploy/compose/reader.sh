#!/bin/sh
# Runs once, when the database is made: the role that the migrations grant their tables to, with the password that Grafana has.
set -eu
psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set password="$(cat /run/secrets/reader)" <<'SQL'
CREATE ROLE tidewatch_reader LOGIN PASSWORD :'password';
ALTER ROLE tidewatch_reader SET default_transaction_read_only = on;
ALTER ROLE tidewatch_reader SET statement_timeout = '30s';
SQL
