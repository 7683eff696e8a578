-- $1 instance, $2 failed or running, $3 reason: what became of the built-in route.  It has a row while it fails
-- anywhere; that it is well again is for who said that it is not.  What is stopped stays so.
INSERT INTO ds_sync.route_state AS s (name, version, state, reason, instance)
SELECT 'default', 0, $2::text, nullif($3::text, ''), $1::text
WHERE $2::text = 'failed' OR EXISTS (SELECT FROM ds_sync.route_state WHERE name = 'default')
ON CONFLICT (name) DO UPDATE
    SET state = excluded.state, reason = excluded.reason, instance = excluded.instance, changed_at = clock_timestamp()
    WHERE s.state <> 'stopped' AND (excluded.state = 'failed' OR s.instance = excluded.instance)
      AND (s.state, s.reason, s.instance) IS DISTINCT FROM (excluded.state, excluded.reason, excluded.instance)
