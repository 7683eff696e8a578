-- $1 source, $2 name, $3 owner, $4 route, $5 epoch of the work partition's lease.  Loading is the fence: whoever
-- holds an older epoch can commit no more, and who comes with an older one than is there gets no row.
WITH known AS (
    INSERT INTO ds_sync.stream AS s (source, name, route) VALUES ($1::text, $2::text, $4::text)
    ON CONFLICT (source, name, route) DO UPDATE SET name = excluded.name
    RETURNING s.stream_id
)
INSERT INTO ds_sync.stream_offset AS o (stream_id, epoch, owner)
SELECT stream_id, $5::bigint, $3::text FROM known
ON CONFLICT (stream_id) DO UPDATE
    SET epoch = excluded.epoch, owner = excluded.owner, updated_at = clock_timestamp()
    WHERE o.epoch <= excluded.epoch
RETURNING o.stream_id, o.epoch, o.generation, o.ds_offset, o.skip, o.next_seq, o.closed
