-- $1 stream_id, $2 generation, $3 seq.
SELECT result, code, message FROM ds_sync.letter_replay($1::bigint, $2::integer, $3::bigint)
