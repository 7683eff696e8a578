-- The routes that are declared, and those that were removed; $1: a name, or NULL for all.  Of what living
-- instances said of each the worst is shown, that of the declared version first, and how many said something of
-- that version, and how many of them this.  That a route is stopped counts until somebody acts.  The built-in
-- route is only listed while it is stopped, or failed where an instance lives.
WITH living AS (
    SELECT i.instance FROM ds_sync.instance i
    WHERE i.seen_at > clock_timestamp() - interval '5 minutes'
      AND i.seen_at < clock_timestamp() + interval '10 minutes'
), said AS (
    SELECT name, version, state, reason, instance, changed_at FROM ds_sync.route_state WHERE state = 'stopped'
    UNION ALL
    SELECT name, version, state, reason, instance, changed_at
    FROM ds_sync.route_instance JOIN living USING (instance)
    UNION ALL
    -- By programs of before 011, and of the built-in route.
    SELECT name, version, state, reason, instance, changed_at
    FROM ds_sync.route_state b JOIN living USING (instance)
    WHERE state <> 'stopped' AND NOT EXISTS (
        SELECT FROM ds_sync.route_instance s WHERE s.instance = b.instance AND s.name = b.name)
)
SELECT r.name, r.spec::text, r.version, r.paused, r.removed,
       (SELECT count(*) FROM ds_sync.stream s WHERE s.route = r.name) AS streams,
       (SELECT count(*) FROM ds_sync.stream s WHERE s.route = r.name AND s.state IN ('stopped', 'failed'))
           AS stopped,
       to_char(r.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at,
       t.state, t.reason, t.version AS seen_version, t.instance,
       to_char(t.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS seen_at,
       CASE WHEN t.state <> 'stopped' THEN
           (SELECT count(*) FROM said WHERE name = r.name AND version = t.version) END AS instances,
       CASE WHEN t.state <> 'stopped' THEN
           (SELECT count(*) FROM said WHERE name = r.name AND version = t.version AND state = t.state) END
           AS agreeing
FROM (
    SELECT name, spec, version, paused, false AS removed, updated_at FROM ds_sync.route
    UNION ALL
    SELECT name, spec, 0, false, true, removed_at FROM ds_sync.route_removed
    UNION ALL
    SELECT b.name, '{"as": "events", "table": "ds_sync.session_events"}', 0, false, false, b.changed_at
    FROM said b WHERE b.name = 'default' AND b.state IN ('stopped', 'failed') AND ($1::text IS NULL OR $1::text = 'default')
) AS r
LEFT JOIN LATERAL (
    SELECT s.* FROM said s
    WHERE s.name = r.name AND NOT r.removed
    ORDER BY s.version = r.version DESC, s.version DESC,
             array_position(ARRAY['stopped', 'failed', 'paused', 'running'], s.state), s.instance
    LIMIT 1
) AS t ON true
WHERE $1::text IS NULL OR r.name = $1::text
ORDER BY r.name
