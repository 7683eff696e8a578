-- As sink_state_clear.sql, of a staged set: the next $5 rows behind ($3, $4) of the stream $2, called $1; where
-- there are fewer, sink_state_stage.sql takes them along.
WITH page AS MATERIALIZED (
    SELECT s.type, s.key FROM ds_sync.state_staged s
    WHERE s.stream_id = $2::bigint AND $1::text IS NOT NULL
      AND ($3::text IS NULL OR (s.type, s.key) > ($3::text, $4::text))
    ORDER BY s.type, s.key LIMIT $5::bigint
), last AS (
    SELECT p.type, p.key FROM page p ORDER BY p.type DESC, p.key DESC LIMIT 1
), removed AS (
    DELETE FROM ds_sync.state_staged s
    WHERE s.stream_id = $2::bigint AND ($3::text IS NULL OR (s.type, s.key) > ($3::text, $4::text))
      AND (s.type, s.key) <= ((SELECT l.type FROM last l), (SELECT l.key FROM last l))
      AND (SELECT count(*) FROM page) = $5::bigint
    RETURNING 1
)
SELECT 0, 0 * (SELECT count(*) FROM removed), (SELECT count(*) FROM page), (SELECT l.type FROM last l),
       (SELECT l.key FROM last l)
