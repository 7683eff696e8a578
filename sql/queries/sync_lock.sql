-- $1 stream_id: nothing of it is committed by others until this transaction ends.
SELECT FROM ds_sync.stream_offset WHERE stream_id = $1::bigint FOR UPDATE
