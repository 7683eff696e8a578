-- The guarded update of all streams of a transaction.  Each must be hit: own epoch, and standing where
-- we left it.  Locks are taken in stream_id order, so two writers cannot block each other for good.
WITH wanted AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::bigint[],
                       $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::boolean[])
        AS w (stream_id, epoch, generation, old_offset, old_skip, first_seq, new_offset, new_skip, steps, closed)
), locked AS (
    SELECT o.stream_id FROM ds_sync.stream_offset o JOIN wanted USING (stream_id)
    ORDER BY o.stream_id FOR UPDATE OF o
)
UPDATE ds_sync.stream_offset o
SET ds_offset = w.new_offset, skip = w.new_skip, next_seq = w.first_seq + w.steps,
    closed = o.closed OR w.closed, updated_at = clock_timestamp()
FROM wanted w JOIN locked USING (stream_id)
WHERE o.stream_id = w.stream_id AND o.generation = w.generation
  AND o.epoch = w.epoch
  AND o.ds_offset = w.old_offset AND o.skip = w.old_skip AND o.next_seq = w.first_seq
RETURNING o.stream_id
