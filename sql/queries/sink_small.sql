-- A template: syncd/sink_sql.h says what stands in braces.
-- One round trip for a few rows: the guard as in guard.sql feeds them, so a stream whose guard misses
-- writes nothing, and the others are not held up by it.  $11 ... are the rows.
WITH wanted AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::bigint[],
                       $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::boolean[])
        AS w (stream_id, epoch, generation, old_offset, old_skip, first_seq, new_offset, new_skip, steps, closed)
), locked AS (
    SELECT o.stream_id FROM ds_sync.stream_offset o JOIN wanted USING (stream_id)
    ORDER BY o.stream_id FOR UPDATE OF o
), guard AS (
    UPDATE ds_sync.stream_offset o
    SET ds_offset = w.new_offset, skip = w.new_skip, next_seq = w.first_seq + w.steps,
        closed = o.closed OR w.closed, updated_at = clock_timestamp()
    FROM wanted w JOIN locked USING (stream_id)
    WHERE o.stream_id = w.stream_id AND o.generation = w.generation
      AND o.epoch = w.epoch
      AND o.ds_offset = w.old_offset AND o.skip = w.old_skip AND o.next_seq = w.first_seq
    RETURNING o.stream_id, o.generation
), incoming AS (
    SELECT r.stream_name, guard.generation, r.seq, r.ds_offset{values}
    FROM unnest($11::bigint[], $12::text[], $13::bigint[], $14::text[]{params})
        AS r (stream_id, stream_name, seq, ds_offset{fields})
    JOIN guard USING (stream_id)
), written AS (
    INSERT INTO {table} ({columns})
    SELECT * FROM incoming
    RETURNING 1
)
-- A trigger that drops a row must not pass for a commit: the division makes an error of it.
SELECT stream_id,
       1 / CASE WHEN (SELECT count(*) FROM written) = (SELECT count(*) FROM incoming) THEN 1 ELSE 0 END
FROM guard
ORDER BY stream_id
