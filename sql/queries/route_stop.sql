-- $1 name, $2 version, $3 reason, $4 instance: until somebody acts.  Not of a version that is gone.
INSERT INTO ds_sync.route_state (name, version, state, reason, instance)
SELECT $1::text, $2::bigint, 'stopped', $3::text, $4::text
WHERE $1::text = 'default' OR EXISTS (SELECT FROM ds_sync.route r WHERE r.name = $1::text AND r.version = $2::bigint)
ON CONFLICT (name) DO UPDATE
    SET version = excluded.version, state = excluded.state, reason = excluded.reason,
        instance = excluded.instance, changed_at = clock_timestamp()
