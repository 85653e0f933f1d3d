-- The application's owner role, the pooler's role, and the database. Run in the maintenance database.
-- psql reads the passwords itself, so that they are in no process's arguments.
\set app_password `cat /run/secrets/app_password`
\set pgbouncer_password `cat /run/secrets/pgbouncer_password`

-- An unreadable secret would leave an empty password, which PostgreSQL takes as "no password".
SELECT :'app_password' = '' OR :'pgbouncer_password' = '' AS secret_missing \gset
\if :secret_missing
  \warn 'node-post-init: /run/secrets/app_password or pgbouncer_password is missing or empty'
  SELECT 1/0;
\endif

SELECT format('CREATE ROLE %I', name)
  FROM unnest(ARRAY['app', 'pgbouncer']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

SET password_encryption = 'scram-sha-256';
ALTER ROLE app LOGIN NOSUPERUSER NOREPLICATION NOCREATEROLE NOCREATEDB PASSWORD :'app_password';
ALTER ROLE pgbouncer LOGIN NOSUPERUSER NOREPLICATION NOCREATEROLE NOCREATEDB PASSWORD :'pgbouncer_password';

SELECT format('CREATE DATABASE %I OWNER app', :'database')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
\gexec
