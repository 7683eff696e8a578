-- $1 stream_ids: begun again from where they stand, by whoever has them; $2 whether somebody said that those that
-- were gone are the same streams, which are left alone else.  So are those whose route is stopped: nobody would try
-- them before it is resumed, and the reason would be gone.  A row for each of $1, in order: what became of it.
WITH stopped AS (
    SELECT name FROM ds_sync.route_state t
    WHERE state = 'stopped'
      AND version = coalesce((SELECT version FROM ds_sync.route r WHERE r.name = t.name), 0)
), asked AS (
    SELECT stream_id, name, source, route, state, reason, gone FROM ds_sync.stream s
    WHERE stream_id = ANY ($1::bigint[]) AND ($2::boolean OR NOT gone)
      AND NOT EXISTS (SELECT FROM stopped WHERE stopped.name = s.route)
    ORDER BY stream_id FOR UPDATE
), bumped AS (
    UPDATE ds_sync.control SET version = version + 1
    WHERE (SELECT count(*) FROM asked) > 0
    RETURNING version
), told AS (
    UPDATE ds_sync.stream s
    SET asked_version = b.version, state = 'new', reason = NULL, gone = false, state_changed_at = clock_timestamp()
    FROM asked a, bumped b WHERE s.stream_id = a.stream_id
    RETURNING s.stream_id
), noted AS (
    INSERT INTO ds_sync.audit (action, target, details)
    SELECT 'sync.retry', name,
           jsonb_build_object('source', source, 'route', route, 'state', state, 'reason', reason, 'gone', gone)
    FROM asked
)
SELECT CASE WHEN told.stream_id IS NOT NULL THEN 'asked'
            WHEN EXISTS (SELECT FROM ds_sync.stream s JOIN stopped ON stopped.name = s.route
                         WHERE s.stream_id = w.stream_id) THEN 'route stopped'
            ELSE 'gone' END
FROM unnest($1::bigint[]) WITH ORDINALITY AS w (stream_id, number) LEFT JOIN told USING (stream_id)
ORDER BY w.number
