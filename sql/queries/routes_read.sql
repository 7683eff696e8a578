-- The declared routes, and why one is stopped (NULL: it is not).  Without a spec: the built-in one, which
-- is only listed while it is stopped.  The last two: since when `start: now` counts, and what time it is here,
-- in milliseconds.
SELECT r.name, r.version, r.paused, r.spec::text, s.reason, (extract(epoch FROM r.applied_at) * 1000)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint
FROM ds_sync.route r
LEFT JOIN ds_sync.route_state s ON s.name = r.name AND s.version = r.version AND s.state = 'stopped'
UNION ALL
SELECT s.name, 0, false, NULL, s.reason, 0, 0
FROM ds_sync.route_state s WHERE s.name = 'default' AND s.state = 'stopped'
ORDER BY name
