#!/bin/sh
# Creates the two accounts that Moonlatch uses and gives the first the database: moonlatch_owner migrates, moonlatch_server serves.
# PostgreSQL's image runs it on a new volume. Running it again sets the passwords again.
#
# On a volume from before there were two accounts it also hands over the tables; run it before the new version starts:
#   docker compose up --detach database && docker compose exec database sh /docker-entrypoint-initdb.d/accounts.sh
set -e

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --single-transaction --file=- --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv server_password SERVER_PASSWORD
SELECT 'CREATE ROLE ' || name FROM unnest(ARRAY['moonlatch_owner', 'moonlatch_server']) AS name WHERE to_regrole(name) IS NULL \gexec
ALTER ROLE moonlatch_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE moonlatch_server LOGIN PASSWORD :'server_password';
ALTER DATABASE :"DBNAME" OWNER TO moonlatch_owner;
SELECT format('ALTER TABLE %s OWNER TO moonlatch_owner', oid::regclass) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \gexec
SELECT format('ALTER FUNCTION %s OWNER TO moonlatch_owner', oid::regprocedure) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype \gexec
-- The superuser logs in from inside the container alone, which takes no password.
ALTER ROLE CURRENT_USER PASSWORD NULL;
SQL
