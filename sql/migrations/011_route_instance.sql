-- 011: what became of a route on each instance.
--
-- Instances differ: in the servers that they have, their version, their clock, their rights.  Each says here
-- what it makes of each route.  ds_sync.route_state is for routes that are stopped, which is so on all of
-- them; programs of before 011 say the rest there, too.

SET LOCAL ROLE ds_sync_owner;

-- An instance that is gone, or is declared dead, takes its rows along.
CREATE TABLE ds_sync.route_instance (
    instance   text COLLATE "C" NOT NULL REFERENCES ds_sync.instance (instance)
        ON UPDATE CASCADE ON DELETE CASCADE,
    name       text COLLATE "C" NOT NULL REFERENCES ds_sync.route (name)
        ON UPDATE CASCADE ON DELETE CASCADE,
    version    bigint NOT NULL,                     -- of the route that was looked at
    state      text NOT NULL CHECK (state IN ('running', 'paused', 'failed')),
    reason     text,                                -- why it failed, for people
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (instance, name)
);
CREATE INDEX route_instance_name ON ds_sync.route_instance (name);
GRANT SELECT, INSERT, UPDATE ON ds_sync.route_instance TO ds_sync_writer;

-- No instance writes over what is there of another version any more.
CREATE TRIGGER route_state_of_version AFTER UPDATE OF version ON ds_sync.route
    FOR EACH ROW WHEN (old.version <> new.version) EXECUTE FUNCTION ds_sync.route_state_follow();

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (11, 2, 'route_instance');
