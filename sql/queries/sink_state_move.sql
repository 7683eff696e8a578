-- A template: syncd/sink_sql.h says what stands in braces.
-- The end of a snapshot, a page of it as in sink_state_remove.sql: the next $5 staged rows of the stream $2
-- become visible ones, and are staged no more.  Those that were staged with other columns are read anew.
WITH page AS MATERIALIZED (
    SELECT s.type, s.key, s.seq, CASE WHEN s.shape = {shape} THEN s.fields ELSE
               ds_sync.state_reshape(s.type, s.key, s.fields, s.message, s.grown, s.shape IS NOT NULL,
                                     ARRAY[{column_literals}], ARRAY[{pointer_literals}]::text[],
                                     ARRAY[{required}]::boolean[], {payload_type}) END AS fields
    FROM ds_sync.state_staged s
    WHERE s.stream_id = $2::bigint AND ($3::text IS NULL OR (s.type, s.key) > ($3::text, $4::text))
    ORDER BY s.type, s.key LIMIT $5::bigint
), last AS (
    SELECT p.type, p.key FROM page p ORDER BY p.type DESC, p.key DESC LIMIT 1
), put AS (
    INSERT INTO {table} AS t (stream_name, type, key, seq{state_columns})
    SELECT $1::text, s.type, s.key, s.seq{staged_values} FROM page s
    ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq{state_assigned}
        WHERE t.seq < excluded.seq
    RETURNING 1
), used AS (
    DELETE FROM ds_sync.state_staged s
    WHERE s.stream_id = $2::bigint AND ($3::text IS NULL OR (s.type, s.key) > ($3::text, $4::text))
      AND (s.type, s.key) <= ((SELECT l.type FROM last l), (SELECT l.key FROM last l))
    RETURNING 1
)
SELECT (SELECT count(*) FROM used) - (SELECT count(*) FROM put), (SELECT count(*) FROM put),
       (SELECT count(*) FROM page), (SELECT l.type FROM last l), (SELECT l.key FROM last l)
