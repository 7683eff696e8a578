-- $1: stream, $2: seq, $3: generation or NULL for the newest, $4: a route or NULL for any.
SELECT d.stream_name, s.route, d.generation, d.seq, d.ds_offset, d.reason, d.sqlstate, d.message,
       octet_length(d.payload) AS bytes,
       to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
       encode(d.payload, 'hex') AS payload
FROM ds_sync.dead_letter d JOIN ds_sync.stream s USING (stream_id)
WHERE d.stream_name = $1::text AND d.seq = $2::bigint
  AND ($3::integer IS NULL OR d.generation = $3::integer)
  AND ($4::text IS NULL OR s.route = $4::text)
ORDER BY d.generation DESC, d.created_at DESC
LIMIT 1
