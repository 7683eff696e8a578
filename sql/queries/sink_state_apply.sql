-- A template: syncd/sink_sql.h says what stands in braces.
-- Changes of the visible sets, at most one of each key.  $6 is what to do: s set, a append, d delete, b
-- delete and leave a tombstone.  $7 are streams, as they are called in the table, of which no other rows
-- stay; $8 to $10 are empty.  A row that has a newer seq is left alone by all of them, and counted: the first
-- column of the answer.  The second is how many rows were changed.
WITH r AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                         $8::text[], $9::bytea[], $10::boolean[]{state_params})
        AS r (stream_name, stream_id, type, key, seq, op, ds_offset, message, grown{fields})
), cleared AS (
    DELETE FROM {table} t
    WHERE t.stream_name = ANY ($7::text[])
      AND NOT EXISTS (SELECT FROM r WHERE r.stream_name = t.stream_name AND r.type = t.type AND r.key = t.key
                                      AND r.op = 's')
    RETURNING 1
), gone AS (
    DELETE FROM {table} t USING r
    WHERE r.op IN ('d', 'b') AND t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key
      AND t.seq < r.seq AND r.stream_name <> ALL ($7::text[])
    RETURNING 1
), kept AS (
    SELECT FROM r
    WHERE r.op IN ('d', 'b') AND r.stream_name <> ALL ($7::text[])
      AND (SELECT count(*) FROM {table} t
           WHERE t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key AND t.seq >= r.seq) > 0
), buried AS (
    INSERT INTO ds_sync.state_tombstone (stream_id, type, key, seq)
    SELECT r.stream_id, r.type, r.key, r.seq FROM r
    WHERE r.op = 'b' OR (r.op = 'd' AND EXISTS (SELECT FROM ds_sync.dead_letter d WHERE d.stream_id = r.stream_id))
    ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq
), appended AS (
    UPDATE {table} t
    SET seq = r.seq, {payload} = ds_sync.state_append(t.{payload}, {payload_value})
    FROM r
    WHERE r.op = 'a' AND t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key AND t.seq < r.seq
    RETURNING 1
), put AS (
    INSERT INTO {table} AS t (stream_name, type, key, seq{state_columns})
    SELECT r.stream_name, r.type, r.key, r.seq{values} FROM r
    WHERE r.op = 's' OR (r.op = 'a' AND NOT EXISTS (
        SELECT FROM {table} t WHERE t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key))
    ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq{state_assigned}
        WHERE t.seq < excluded.seq
    RETURNING 1
), counts AS (
    SELECT (SELECT count(*) FROM r WHERE r.op IN ('s', 'a')) AS wanted,
           (SELECT count(*) FROM put) + (SELECT count(*) FROM appended) AS written,
           (SELECT count(*) FROM kept) AS kept,
           (SELECT count(*) FROM cleared) + (SELECT count(*) FROM gone) AS removed
)
SELECT wanted - written + kept, written + removed FROM counts
