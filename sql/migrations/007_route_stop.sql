-- 007: routes that are stopped.
--
-- An instance stops a route whose table takes hardly anything: with a row here of state 'stopped', that
-- lasts until dsctl route resume removes it or the route becomes another version.  The built-in route
-- "default" can be stopped, too, and is none of ds_sync.route, so there is no foreign key any more.

SET LOCAL ROLE ds_sync_owner;

ALTER TABLE ds_sync.route_state DROP CONSTRAINT route_state_name_fkey;
ALTER TABLE ds_sync.route_state DROP CONSTRAINT route_state_state_check;
ALTER TABLE ds_sync.route_state ADD CHECK (state IN ('running', 'paused', 'failed', 'stopped'));

CREATE FUNCTION ds_sync.route_state_follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    DELETE FROM ds_sync.route_state s WHERE s.name = old.name;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION ds_sync.route_state_follow() FROM PUBLIC;
CREATE TRIGGER route_state_follow AFTER DELETE OR UPDATE OF name ON ds_sync.route
    FOR EACH ROW EXECUTE FUNCTION ds_sync.route_state_follow();

-- Other instances stop, too.
CREATE TRIGGER control_changed AFTER INSERT OR UPDATE ON ds_sync.route_state
    FOR EACH ROW WHEN (new.state = 'stopped') EXECUTE FUNCTION ds_sync.control_changed();

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (7, 2, 'route_stop');
