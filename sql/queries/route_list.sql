-- The routes that are declared, and those that were removed; $1: a name, or NULL for all.  What instances said of
-- each counts while one of them lives, for the version that they looked at; that it is stopped counts until
-- somebody acts.  The built-in route is only listed while it is stopped.
SELECT r.name, r.spec::text, r.version, r.paused, r.removed,
       (SELECT count(*) FROM ds_sync.stream s WHERE s.route = r.name) AS streams,
       (SELECT count(*) FROM ds_sync.stream s WHERE s.route = r.name AND s.state IN ('stopped', 'failed'))
           AS stopped,
       to_char(r.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at,
       t.state, t.reason, t.version AS seen_version, t.instance,
       to_char(t.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS seen_at
FROM (
    SELECT name, spec, version, paused, false AS removed, updated_at FROM ds_sync.route
    UNION ALL
    SELECT name, spec, 0, false, true, removed_at FROM ds_sync.route_removed
    UNION ALL
    SELECT b.name, '{"as": "events", "table": "ds_sync.session_events"}', 0, false, false, b.changed_at
    FROM ds_sync.route_state b WHERE b.name = 'default' AND b.state = 'stopped' AND ($1::text IS NULL OR $1::text = 'default')
) AS r
LEFT JOIN ds_sync.route_state t ON t.name = r.name AND NOT r.removed AND (t.state = 'stopped' OR EXISTS (
    SELECT FROM ds_sync.instance i
    WHERE i.seen_at > clock_timestamp() - interval '5 minutes'
      AND i.seen_at < clock_timestamp() + interval '10 minutes'))
WHERE $1::text IS NULL OR r.name = $1::text
ORDER BY r.name
