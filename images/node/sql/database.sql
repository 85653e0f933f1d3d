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

  -- Citus recovers what a lost node had prepared, and asks whomever pg_dist_node names. Until Patroni has changed that, it may be the
  -- lost leader, back as a standby. A standby shows no prepared transactions: Citus would take those that it is to commit for
  -- committed, forget about them, and roll them back once it meets the new leader: one half of a commit that a client was told of.
  -- Clients that read from standbys through Citus are no superusers.
  CREATE SCHEMA IF NOT EXISTS pgclusterctl;
  CREATE OR REPLACE FUNCTION pgclusterctl.refuse_recovery_by_standby()
  RETURNS event_trigger
  LANGUAGE plpgsql
  AS $function$
  BEGIN
    IF pg_catalog.pg_is_in_recovery()
      AND pg_catalog.current_setting('is_superuser') = 'on'
      AND pg_catalog.starts_with(pg_catalog.current_setting('application_name'), 'citus_internal')
    THEN
      RAISE EXCEPTION 'this server is a standby, which knows nothing of prepared transactions';
    END IF;
  END
  $function$;
  DROP EVENT TRIGGER IF EXISTS refuse_recovery_by_standby;
  CREATE EVENT TRIGGER refuse_recovery_by_standby ON login EXECUTE FUNCTION pgclusterctl.refuse_recovery_by_standby();
  ALTER EVENT TRIGGER refuse_recovery_by_standby ENABLE ALWAYS;
\endif

-- Who may be here at all: the owner, the pooler, and whom an operator grants it. Not pg_rewind's role
-- and not the replication role, which PUBLIC would let in.
SELECT format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database())
\gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO pgbouncer', current_database())
\gexec
-- A superuser needs no grant, but Citus splits a superuser's tables through a role of its own that is
-- only a member of it: without this one the split would wait for ever.
SELECT format('GRANT CONNECT ON DATABASE %I TO postgres', current_database())
\gexec

CREATE SCHEMA IF NOT EXISTS pgbouncer;
REVOKE ALL ON SCHEMA pgbouncer FROM PUBLIC;
GRANT USAGE ON SCHEMA pgbouncer TO pgbouncer;

-- The pooler may learn the verifiers of ordinary roles that may connect here: never of a superuser, of
-- a replication role, or its own.
CREATE OR REPLACE FUNCTION pgbouncer.get_auth(wanted text)
RETURNS TABLE (username text, password text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT rolname::text,
         CASE WHEN rolvaliduntil IS NULL OR rolvaliduntil > now() THEN rolpassword END
    FROM pg_authid
   WHERE rolname = wanted
     AND rolname <> 'pgbouncer'
     AND rolcanlogin
     AND NOT rolsuper
     AND NOT rolreplication
     AND has_database_privilege(oid, current_database(), 'CONNECT')
$function$;
REVOKE ALL ON FUNCTION pgbouncer.get_auth(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgbouncer.get_auth(text) TO pgbouncer;
