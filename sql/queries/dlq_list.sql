-- $1: a stream's name or NULL for all; $2: how many, newest first; $3: a route or NULL for all.
SELECT d.stream_name, s.route, d.generation, d.seq, d.ds_offset, d.reason, d.sqlstate, d.message,
       octet_length(d.payload) AS bytes,
       to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at
FROM ds_sync.dead_letter d JOIN ds_sync.stream s USING (stream_id)
WHERE ($1::text IS NULL OR d.stream_name = $1::text) AND ($3::text IS NULL OR s.route = $3::text)
ORDER BY d.created_at DESC, d.stream_id DESC, d.generation DESC, d.seq DESC
LIMIT $2::bigint
