-- $1 stream_ids, of letters that dlq_delete.sql dropped before: with the last letter of a stream of state go the
-- marks of what was deleted, which only replaying needs.  One letter is looked for, from the end: those that were
-- dropped are at the beginning, and the key still holds them.
DELETE FROM ds_sync.state_tombstone t
USING (SELECT DISTINCT stream_id FROM unnest($1::bigint[]) AS w (stream_id)) AS w
WHERE t.stream_id = w.stream_id AND (
    SELECT d.seq FROM ds_sync.dead_letter d WHERE d.stream_id = w.stream_id
    ORDER BY d.stream_id DESC, d.generation DESC, d.seq DESC LIMIT 1) IS NULL
