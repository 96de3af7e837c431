-- Who may do what in PostgreSQL, for the database `callbox` of the role callbox_migrate, which makes and owns the
-- tables. A superuser runs this once in that database, before the first `callbox migrate`; again, it changes nothing.
-- Passwords come afterwards (docs/production.md).
--
-- What a migration adds gets the same rights at once: they are defaults of the owner.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['callbox_worker', 'callbox_operator', 'callbox_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON DATABASE callbox FROM PUBLIC;
GRANT CONNECT ON DATABASE callbox TO callbox_worker, callbox_operator, callbox_reader;

-- The workers store and mark, and remove nothing.
ALTER DEFAULT PRIVILEGES FOR ROLE callbox_migrate GRANT SELECT, INSERT, UPDATE ON TABLES TO callbox_worker;
-- The commands also replay, which stores a callback anew, and remove tests.
ALTER DEFAULT PRIVILEGES FOR ROLE callbox_migrate GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO callbox_operator;
-- Reports and your own queries read.
ALTER DEFAULT PRIVILEGES FOR ROLE callbox_migrate GRANT SELECT ON TABLES TO callbox_reader;
