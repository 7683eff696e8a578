-- $1 stream_ids, $2 generations, $3 snapshot_seqs or -1, $4 cleared_seqs or -1, $5 opened_seqs or -1.  What
-- was deleted before the table was emptied needs no tombstone any more.  The answer is how many were not
-- there, which is none.
WITH wanted AS (
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[])
        AS w (stream_id, generation, snapshot_seq, cleared_seq, opened_seq)
), marked AS (
    UPDATE ds_sync.state_stream s
    SET generation = w.generation, snapshot_seq = nullif(w.snapshot_seq, -1),
        opened_seq = nullif(w.opened_seq, -1),
        cleared_seq = greatest(s.cleared_seq, w.cleared_seq)
    FROM wanted w
    WHERE s.stream_id = w.stream_id
    RETURNING 1
), forgotten AS (
    DELETE FROM ds_sync.state_tombstone t USING wanted w
    WHERE t.stream_id = w.stream_id AND t.seq <= w.cleared_seq
)
SELECT (SELECT count(*) FROM wanted) - (SELECT count(*) FROM marked)
