-- 004: what became of a route.
--
-- Instances say here whether a declared route runs, and why it does not; ds_sync.route itself is the
-- operator's.

SET LOCAL ROLE ds_sync_owner;

CREATE TABLE ds_sync.route_state (
    name       text COLLATE "C" PRIMARY KEY REFERENCES ds_sync.route (name)
        ON UPDATE CASCADE ON DELETE CASCADE,
    version    bigint NOT NULL,                     -- of the route that was looked at
    state      text NOT NULL CHECK (state IN ('running', 'paused', 'failed')),
    reason     text,                                -- why it failed, for people
    instance   text NOT NULL,                       -- who said so
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT, INSERT, UPDATE ON ds_sync.route_state TO ds_sync_writer;

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (4, 2, 'route_state');
