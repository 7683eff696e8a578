-- $1 stream_ids.  FOR UPDATE waits for whoever still holds the rows, so that what is read is settled.
SELECT stream_id, epoch, generation, ds_offset, skip, next_seq, closed
FROM ds_sync.stream_offset
WHERE stream_id = ANY ($1::bigint[])
ORDER BY stream_id
FOR UPDATE
