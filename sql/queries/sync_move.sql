-- $1 what is done, $2 stream_id; $3 generation, $4 offset, $5 skip and $6 next_seq that it must stand at; $7 to $10
-- the same where it goes; $11 a message that it goes past, in hexadecimal, which becomes a dead letter, and $12 why
-- it does.  No row: it stands elsewhere by now.  Whoever loads it can commit nothing from the old place, and begins
-- again from the new one.
WITH found AS (
    SELECT stream_id, name, source, route, state, reason FROM ds_sync.stream WHERE stream_id = $2::bigint
    FOR UPDATE
), moved AS (
    UPDATE ds_sync.stream_offset o
    SET generation = $7::integer, ds_offset = $8::text, skip = $9::bigint, next_seq = $10::bigint, closed = false,
        updated_at = clock_timestamp()
    FROM found
    WHERE o.stream_id = found.stream_id AND o.generation = $3::integer AND o.ds_offset = $4::text
      AND o.skip = $5::bigint AND o.next_seq = $6::bigint
    RETURNING o.stream_id
), letter AS (
    INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, message, payload)
    SELECT stream_id, found.name, $3::integer, $6::bigint, $4::text, 'skipped', $12::text, decode($11::text, 'hex')
    FROM moved JOIN found USING (stream_id) WHERE $11::text IS NOT NULL
), bumped AS (
    UPDATE ds_sync.control SET version = version + 1
    WHERE (SELECT count(*) FROM moved) > 0
    RETURNING version
), told AS (
    UPDATE ds_sync.stream s
    SET asked_version = b.version, state = 'new', reason = NULL, gone = false, state_changed_at = clock_timestamp()
    FROM moved m, bumped b WHERE s.stream_id = m.stream_id
), noted AS (
    INSERT INTO ds_sync.audit (action, target, details)
    SELECT $1::text, name, jsonb_build_object(
        'source', source, 'route', route, 'state', state, 'reason', reason,
        'before', jsonb_build_object('generation', $3::integer, 'offset', $4::text, 'skip', $5::bigint,
                                     'next_seq', $6::bigint),
        'after', jsonb_build_object('generation', $7::integer, 'offset', $8::text, 'skip', $9::bigint,
                                    'next_seq', $10::bigint))
    FROM moved JOIN found USING (stream_id)
)
SELECT stream_id FROM moved
