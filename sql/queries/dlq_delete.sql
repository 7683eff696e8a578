-- $1 stream_ids, $2 generations, $3 seqs: a batch of dead letters.  With the last one of a stream of state go the
-- marks of what was deleted, which only replaying needs.
WITH wanted AS (
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS w (stream_id, generation, seq)
), gone AS (
    DELETE FROM ds_sync.dead_letter d USING wanted w
    WHERE d.stream_id = w.stream_id AND d.generation = w.generation AND d.seq = w.seq
    RETURNING d.stream_id, d.stream_name, d.generation, d.seq
), tidied AS (
    DELETE FROM ds_sync.state_tombstone t
    WHERE t.stream_id = ANY ($1::bigint[]) AND NOT EXISTS (
        SELECT FROM ds_sync.dead_letter d
        WHERE d.stream_id = t.stream_id
          AND (d.generation, d.seq) NOT IN (SELECT g.generation, g.seq FROM gone g WHERE g.stream_id = d.stream_id))
), noted AS (
    INSERT INTO ds_sync.audit (action, target, details)
    SELECT 'dlq.rm', stream_name, jsonb_build_object('letters', count(*), 'first', min(seq), 'last', max(seq))
    FROM gone GROUP BY stream_id, stream_name
)
SELECT count(*) FROM gone
