-- $1: a stream's name or NULL for all; $2: how many, newest first.
SELECT stream_name, generation, seq, ds_offset, reason, sqlstate, message,
       octet_length(payload) AS bytes,
       to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at
FROM ds_sync.dead_letter
WHERE $1::text IS NULL OR stream_name = $1::text
ORDER BY dead_letter.created_at DESC, stream_id DESC, generation DESC, seq DESC
LIMIT $2::bigint
