-- $1 name.  Its table and the positions of its streams stay: the spec is kept beside them.
WITH gone AS (
    DELETE FROM ds_sync.route WHERE name = $1::text RETURNING name, spec
), kept AS (
    INSERT INTO ds_sync.route_removed (name, spec) SELECT name, spec FROM gone
), noted AS (
    INSERT INTO ds_sync.audit (action, target, details)
    SELECT 'route.rm', name, jsonb_build_object('before', spec) FROM gone
)
SELECT (SELECT count(*) FROM ds_sync.stream WHERE route = $1::text) FROM gone
