-- $1 stream_ids, $2 generations: how the sets of these streams stand, in the order of their ids, by which
-- they are found.  Who is new gets its row.
WITH wanted AS (
    SELECT * FROM unnest($1::bigint[], $2::integer[]) AS w (stream_id, generation)
), added AS (
    INSERT INTO ds_sync.state_stream AS s (stream_id, generation) SELECT stream_id, generation FROM wanted
    ON CONFLICT (stream_id) DO NOTHING
    RETURNING s.stream_id, s.generation
)
SELECT s.stream_id, s.generation, coalesce(s.snapshot_seq, -1),
       coalesce(CASE WHEN s.opened_seq > s.cleared_seq THEN s.opened_seq END, s.snapshot_seq, -1)
FROM ds_sync.state_stream s JOIN wanted USING (stream_id)
UNION ALL
SELECT stream_id, generation, -1, -1 FROM added
ORDER BY 1
