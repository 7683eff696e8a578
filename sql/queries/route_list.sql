-- The routes that are declared, and those that were removed; $1: a name, or NULL for all.
SELECT r.name, r.spec::text, r.version, r.paused, r.removed,
       (SELECT count(*) FROM ds_sync.stream s WHERE s.route = r.name) AS streams,
       (SELECT count(*) FROM ds_sync.stream s WHERE s.route = r.name AND s.state IN ('stopped', 'failed'))
           AS stopped,
       to_char(r.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at
FROM (
    SELECT name, spec, version, paused, false AS removed, updated_at FROM ds_sync.route
    UNION ALL
    SELECT name, spec, 0, false, true, removed_at FROM ds_sync.route_removed
) AS r
WHERE $1::text IS NULL OR r.name = $1::text
ORDER BY r.name
