-- $1 a stream or NULL, $2 a route or NULL, $3 a generation or NULL, $4 a seq or NULL, $5 older than this or NULL; $6 to
-- $8 the letter to go on behind; $9 how many; $10 a source or NULL.  In the order of each stream's messages.
SELECT d.stream_id, d.stream_name, s.route, s.source, d.generation, d.seq, d.reason
FROM ds_sync.dead_letter d JOIN ds_sync.stream s USING (stream_id)
WHERE ($1::text IS NULL OR d.stream_name = $1::text) AND ($2::text IS NULL OR s.route = $2::text)
  AND ($3::integer IS NULL OR d.generation = $3::integer) AND ($4::bigint IS NULL OR d.seq = $4::bigint)
  AND ($10::text IS NULL OR s.source = $10::text)
  AND ($5::text IS NULL OR d.created_at < $5::timestamptz)
  AND (d.stream_id, d.generation, d.seq) > ($6::bigint, $7::integer, $8::bigint)
ORDER BY d.stream_id, d.generation, d.seq
LIMIT $9::bigint
