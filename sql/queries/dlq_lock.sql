-- $1 stream_ids: held as a transaction of syncd holds them, so that it commits no letter of theirs until this one
-- ends.  A statement of its own, so that what comes behind it sees what was committed meanwhile.
SELECT FROM ds_sync.stream_offset WHERE stream_id = ANY ($1::bigint[]) ORDER BY stream_id FOR UPDATE
