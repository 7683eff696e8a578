-- 006: what is remembered of a stream between two sessions, and since when a route takes its streams.

SET LOCAL ROLE ds_sync_owner;

--   from_start  it came into being under its route, which `start: now` has nothing of to leave out
--   gone        it was seen gone, or another one than before, and nobody has decided since.  Where offsets do not
--               say which life of a stream they are of, what is there later is not taken for what was loaded.
--               An operator who knows that it is the same sets this to false.
ALTER TABLE ds_sync.stream ADD COLUMN from_start boolean NOT NULL DEFAULT false;
ALTER TABLE ds_sync.stream ADD COLUMN gone boolean NOT NULL DEFAULT false;

-- `start: now` leaves out what came before this: since when the route has these streams, from this server, with
-- this start.  Other changes, a pause among them, do not move it.
ALTER TABLE ds_sync.route ADD COLUMN applied_at timestamptz NOT NULL DEFAULT clock_timestamp();
DO $known$
BEGIN
    IF EXISTS (SELECT FROM ds_sync.route) THEN -- else nothing has changed that instances must notice
        UPDATE ds_sync.route SET applied_at = created_at;
    END IF;
END
$known$;

CREATE FUNCTION ds_sync.route_applied() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF (NEW.spec->'streams', NEW.spec->'server', NEW.spec->'start')
        IS DISTINCT FROM (OLD.spec->'streams', OLD.spec->'server', OLD.spec->'start') THEN
        NEW.applied_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION ds_sync.route_applied() FROM PUBLIC;
CREATE TRIGGER route_applied BEFORE UPDATE OF spec ON ds_sync.route
    FOR EACH ROW EXECUTE FUNCTION ds_sync.route_applied();

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (6, 2, 'stream_life');
