-- Extensions and the pooler's lookup function. Run in the application's database.
\set app_password `cat /run/secrets/app_password`

SELECT format('CREATE EXTENSION IF NOT EXISTS %I', :'extension') WHERE :'extension' <> ''
\gexec

-- Citus is on where it is preloaded. Patroni would create it right after this script; doing it here
-- lets us register the password with which nodes reach each other in the application's name.
SELECT current_setting('shared_preload_libraries') ~ '(^|,)\s*"?citus"?\s*(,|$)' AS citus \gset
\if :citus
  CREATE EXTENSION IF NOT EXISTS citus;
  -- Node 0 stands for every node. libpq's quoting: backslash before a quote or a backslash.
  DELETE FROM pg_catalog.pg_dist_authinfo WHERE nodeid = 0 AND rolename = 'app';
  INSERT INTO pg_catalog.pg_dist_authinfo (nodeid, rolename, authinfo)
  VALUES (0, 'app', format('password=''%s''', regexp_replace(:'app_password', '([\\''])', '\\\1', 'g')));
\endif

CREATE SCHEMA IF NOT EXISTS pgbouncer;
REVOKE ALL ON SCHEMA pgbouncer FROM PUBLIC;
GRANT USAGE ON SCHEMA pgbouncer TO pgbouncer;

-- The pooler may learn the verifiers of ordinary roles only: never of a superuser, of a replication
-- role, or of one that reads the server's files (pg_rewind's), so that none of them logs in through it.
CREATE OR REPLACE FUNCTION pgbouncer.get_auth(wanted text)
RETURNS TABLE (username text, password text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT rolname::text,
         CASE WHEN rolvaliduntil IS NULL OR rolvaliduntil > now() THEN rolpassword END
    FROM pg_authid
   WHERE rolname = wanted
     AND rolcanlogin
     AND NOT rolsuper
     AND NOT rolreplication
     AND NOT has_function_privilege(oid, 'pg_read_binary_file(text)', 'EXECUTE')
$function$;
REVOKE ALL ON FUNCTION pgbouncer.get_auth(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgbouncer.get_auth(text) TO pgbouncer;
