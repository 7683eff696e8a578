-- A template: syncd/sink_sql.h says what stands in braces.
-- The end of a snapshot, a page of it: of the next $5 visible rows behind ($3, $4) of the stream $2, which is
-- called $1 in the table, those go that the staged set does not have.  Each is looked for by its key, however
-- large the sets are.  The answer, of all pages: rows left alone, rows changed, rows looked at, the last of them.
WITH page AS MATERIALIZED (
    SELECT t.type, t.key FROM {table} t
    WHERE t.stream_name = $1::text AND ($3::text IS NULL OR (t.type, t.key) > ($3::text, $4::text))
    ORDER BY t.type, t.key LIMIT $5::bigint
), last AS (
    SELECT p.type, p.key FROM page p ORDER BY p.type DESC, p.key DESC LIMIT 1
), removed AS (
    DELETE FROM {table} t
    WHERE t.stream_name = $1::text AND ($3::text IS NULL OR (t.type, t.key) > ($3::text, $4::text))
      AND (t.type, t.key) <= ((SELECT l.type FROM last l), (SELECT l.key FROM last l))
      AND (SELECT count(*) FROM ds_sync.state_staged s
           WHERE s.stream_id = $2::bigint AND s.type = t.type AND s.key = t.key) = 0
    RETURNING 1
)
SELECT 0, (SELECT count(*) FROM removed), (SELECT count(*) FROM page), (SELECT l.type FROM last l),
       (SELECT l.key FROM last l)
