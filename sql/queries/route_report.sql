-- $1 instance; then names, versions, states and reasons ("" for none).  Nothing is stored while the instance
-- has no row; it learns that with the version of ds_sync.control, and says it again.
INSERT INTO ds_sync.route_instance AS s (instance, name, version, state, reason)
SELECT i.instance, r.name, w.version, w.state, nullif(w.reason, '')
FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS w (name, version, state, reason)
JOIN ds_sync.route r USING (name)
JOIN ds_sync.instance i ON i.instance = $1::text
ON CONFLICT (instance, name) DO UPDATE
    SET version = excluded.version, state = excluded.state, reason = excluded.reason,
        changed_at = clock_timestamp()
    WHERE (s.version, s.state, s.reason) IS DISTINCT FROM
          (excluded.version, excluded.state, excluded.reason)
