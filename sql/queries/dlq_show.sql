-- $1: stream, $2: seq, $3: generation or NULL for the newest.
SELECT stream_name, generation, seq, ds_offset, reason, sqlstate, message,
       octet_length(payload) AS bytes,
       to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
       encode(payload, 'hex') AS payload
FROM ds_sync.dead_letter
WHERE stream_name = $1::text AND seq = $2::bigint
  AND ($3::integer IS NULL OR generation = $3::integer)
ORDER BY dead_letter.generation DESC
LIMIT 1
