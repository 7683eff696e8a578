-- $1 stream_id, $2 generation, $3 seq, $4 a regular expression of the SQLSTATEs that are no row's fault.
SELECT result, code, message FROM ds_sync.letter_replay($1::bigint, $2::integer, $3::bigint, $4::text)
