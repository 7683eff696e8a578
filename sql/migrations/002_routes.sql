-- 002: routes.
--
-- One stream may go several ways, so what stood for a stream stands for a stream on a route from here
-- on; SYNCD_STREAMS is the route "default".  A program of version 1 finds a stream by (source, name)
-- alone, which cannot stay unique: min_compatible rises, and syncd is stopped for this migration.

SET LOCAL ROLE ds_sync_owner;

ALTER TABLE ds_sync.stream ADD COLUMN route text COLLATE "C" NOT NULL DEFAULT 'default';
ALTER TABLE ds_sync.stream DROP CONSTRAINT stream_source_name_key;
ALTER TABLE ds_sync.stream ADD UNIQUE (source, name, route);
CREATE INDEX stream_route ON ds_sync.stream (route);

ALTER TABLE ds_sync.route ADD CHECK (name <> 'default');

-- A route that was removed while there are positions of its streams: they continue when it is declared
-- again, and until they are forgotten nobody else may write rows of the same names into its table.
CREATE TABLE ds_sync.route_removed (
    name       text COLLATE "C" PRIMARY KEY,
    spec       jsonb NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What running instances must notice: they poll the version each second.
CREATE TABLE ds_sync.control (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 50);
INSERT INTO ds_sync.control DEFAULT VALUES;

-- Whoever may change routes may say so.  The update also makes concurrent changes wait for each other.
CREATE FUNCTION ds_sync.control_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE ds_sync.control SET version = version + 1;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION ds_sync.control_changed() FROM PUBLIC;
CREATE TRIGGER control_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ds_sync.route
    FOR EACH STATEMENT EXECUTE FUNCTION ds_sync.control_changed();

GRANT SELECT ON ds_sync.control TO ds_sync_writer;

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (2, 2, 'routes');
