-- A template: syncd/sink_sql.h says what stands in braces.
-- The next $5 rows behind ($3, $4) of a stream, called $1 in the table, of which no row stays; as in
-- sink_state_remove.sql.  Nothing is done where there are fewer: sink_state_apply.sql takes those along.
WITH page AS MATERIALIZED (
    SELECT t.type, t.key FROM {table} t
    WHERE t.stream_name = $1::text AND $2::bigint > 0
      AND ($3::text IS NULL OR (t.type, t.key) > ($3::text, $4::text))
    ORDER BY t.type, t.key LIMIT $5::bigint
), last AS (
    SELECT p.type, p.key FROM page p ORDER BY p.type DESC, p.key DESC LIMIT 1
), removed AS (
    DELETE FROM {table} t
    WHERE t.stream_name = $1::text AND ($3::text IS NULL OR (t.type, t.key) > ($3::text, $4::text))
      AND (t.type, t.key) <= ((SELECT l.type FROM last l), (SELECT l.key FROM last l))
      AND (SELECT count(*) FROM page) = $5::bigint
    RETURNING 1
)
SELECT 0, (SELECT count(*) FROM removed), (SELECT count(*) FROM page), (SELECT l.type FROM last l),
       (SELECT l.key FROM last l)
