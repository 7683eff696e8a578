-- $1 stream_id, $2 epoch, $3 state, $4 reason, $5 content type, $6 from_start, $7 gone, $8 how long to wait for a
-- lock (as in read_positions.sql).  Only the owner says how a stream fares.
WITH bounded AS MATERIALIZED (SELECT pg_catalog.set_config('lock_timeout', $8::text, true))
UPDATE ds_sync.stream s
SET state = $3::text, reason = $4::text, content_type = coalesce($5::text, s.content_type),
    from_start = s.from_start OR $6::boolean, gone = $7::boolean, state_changed_at = clock_timestamp()
FROM ds_sync.stream_offset o CROSS JOIN bounded
WHERE s.stream_id = $1::bigint AND o.stream_id = s.stream_id AND o.epoch = $2::bigint
