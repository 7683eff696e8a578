-- $1 stream_ids: begun again from where they stand, by whoever has them; $2 whether somebody said that those that
-- were gone are the same streams, which are left alone else.  A row for each of $1, in order: whether it was asked.
WITH asked AS (
    SELECT stream_id, name, source, route, state, reason, gone FROM ds_sync.stream
    WHERE stream_id = ANY ($1::bigint[]) AND ($2::boolean OR NOT gone)
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
SELECT told.stream_id IS NOT NULL
FROM unnest($1::bigint[]) WITH ORDINALITY AS w (stream_id, number) LEFT JOIN told USING (stream_id)
ORDER BY w.number
