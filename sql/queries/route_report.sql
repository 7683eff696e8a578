-- $1 instance; then names, versions, states and reasons ("" for none).  All instances find the same, so
-- one row for each route will do, and a route that is gone takes its row along.  What is stopped stays so.
INSERT INTO ds_sync.route_state AS s (name, version, state, reason, instance)
SELECT r.name, w.version, w.state, nullif(w.reason, ''), $1::text
FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS w (name, version, state, reason)
JOIN ds_sync.route r USING (name)
ON CONFLICT (name) DO UPDATE
    SET version = excluded.version, state = excluded.state, reason = excluded.reason,
        instance = excluded.instance, changed_at = clock_timestamp()
    WHERE NOT (s.state = 'stopped' AND s.version = excluded.version)
      AND (s.version, s.state, s.reason) IS DISTINCT FROM
          (excluded.version, excluded.state, excluded.reason)
