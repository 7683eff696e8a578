-- $1 stream_ids, $2 how long to wait for a lock.  FOR UPDATE waits for whoever still holds the rows, so that what is
-- read is settled.  Not without end, behind a pooler neither: a lock_timeout counts from the statement on that sets it,
-- and ends with it.
WITH bounded AS MATERIALIZED (SELECT pg_catalog.set_config('lock_timeout', $2::text, true))
SELECT o.stream_id, o.epoch, o.generation, o.ds_offset, o.skip, o.next_seq, o.closed
FROM ds_sync.stream_offset o CROSS JOIN bounded
WHERE o.stream_id = ANY ($1::bigint[])
ORDER BY o.stream_id
FOR UPDATE OF o
