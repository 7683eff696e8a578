-- $1 names, $2 specs, $3 the version that the caller looked at: all or nothing, and nothing (no rows)
-- when somebody else changed routes meanwhile.
WITH looked_at AS (
    SELECT FROM ds_sync.control WHERE version = $3::bigint FOR UPDATE
), incoming AS (
    SELECT i.name, i.spec::jsonb AS spec
    FROM looked_at CROSS JOIN unnest($1::text[], $2::text[]) AS i (name, spec)
), revived AS (
    DELETE FROM ds_sync.route_removed r USING incoming i WHERE r.name = i.name
    RETURNING r.name, r.spec
), stored AS (
    -- A route that comes again has a greater version than before, which instances may still know.
    INSERT INTO ds_sync.route AS r (name, spec, version) SELECT name, spec, $3::bigint FROM incoming
    ON CONFLICT (name) DO UPDATE
        SET spec = excluded.spec, version = r.version + 1, updated_at = clock_timestamp()
    RETURNING r.name, r.version
), noted AS (
    INSERT INTO ds_sync.audit (action, target, details)
    SELECT 'route.apply', i.name,
           jsonb_build_object('before', coalesce(r.spec, revived.spec), 'after', i.spec)
    FROM incoming i LEFT JOIN ds_sync.route r USING (name) LEFT JOIN revived USING (name)
)
SELECT name, version FROM stored
