-- $1 stream_id, $2 epoch, $3 generation that ends, $4 how long to wait for a lock (as in read_positions.sql).  The
-- stream was made anew: read it from its start, and go on counting.  That it was gone is over with it: remembered, it would make another generation of the same.
WITH bounded AS MATERIALIZED (
    SELECT pg_catalog.set_config('lock_timeout', $4::text, true)
), begun AS (
    UPDATE ds_sync.stream_offset
    SET generation = generation + 1, ds_offset = '-1', skip = 0, closed = false, updated_at = clock_timestamp()
    FROM bounded
    WHERE stream_id = $1::bigint AND epoch = $2::bigint AND generation = $3::integer
    RETURNING stream_id, epoch, generation, ds_offset, skip, next_seq, closed
), there AS (
    UPDATE ds_sync.stream s SET gone = false FROM begun b WHERE s.stream_id = b.stream_id AND s.gone
)
SELECT stream_id, epoch, generation, ds_offset, skip, next_seq, closed FROM begun
