-- A template: syncd/sink_sql.h says what stands in braces.
-- The staged sets of the streams $2, which are called $1 in the table, become the visible ones.  All
-- parts of this statement see the staged rows, also the one that deletes them.
WITH w AS (
    SELECT * FROM unnest($1::text[], $2::bigint[]) AS w (stream_name, stream_id)
), removed AS (
    DELETE FROM {table} t USING w
    WHERE t.stream_name = w.stream_name AND NOT EXISTS (
        SELECT FROM ds_sync.state_staged s WHERE s.stream_id = w.stream_id AND s.type = t.type AND s.key = t.key)
    RETURNING 1
), put AS (
    INSERT INTO {table} AS t (stream_name, type, key, seq{state_columns})
    SELECT w.stream_name, s.type, s.key, s.seq{staged_values} FROM w JOIN ds_sync.state_staged s USING (stream_id)
    ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq{state_assigned}
        WHERE t.seq < excluded.seq
    RETURNING 1
), used AS (
    DELETE FROM ds_sync.state_staged s USING w WHERE s.stream_id = w.stream_id RETURNING 1
)
SELECT (SELECT count(*) FROM used) - (SELECT count(*) FROM put),
       (SELECT count(*) FROM put) + (SELECT count(*) FROM removed)
