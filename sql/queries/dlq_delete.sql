-- $1 stream_ids, $2 generations, $3 seqs: a batch of dead letters, of streams that dlq_lock.sql holds.
WITH gone AS (
    DELETE FROM ds_sync.dead_letter d
    USING unnest($1::bigint[], $2::integer[], $3::bigint[]) AS w (stream_id, generation, seq)
    WHERE d.stream_id = w.stream_id AND d.generation = w.generation AND d.seq = w.seq
    RETURNING d.stream_id, d.stream_name, d.seq
)
INSERT INTO ds_sync.audit (action, target, details)
SELECT 'dlq.rm', stream_name, jsonb_build_object('letters', count(*), 'first', min(seq), 'last', max(seq))
FROM gone GROUP BY stream_id, stream_name
