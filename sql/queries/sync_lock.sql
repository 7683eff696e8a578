-- $1 stream_id: nothing of it is committed by others until this transaction ends.  In the order of
-- load_checkpoint.sql, so that neither waits for the other for good.
WITH stream AS (
    SELECT stream_id FROM ds_sync.stream WHERE stream_id = $1::bigint FOR UPDATE
)
SELECT FROM ds_sync.stream_offset o JOIN stream USING (stream_id) FOR UPDATE OF o
