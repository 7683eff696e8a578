-- $1 source, $2 name, $3 owner, $4 route, $5 epoch of the work partition's lease, $6 whether it came into being under
-- its route, $7 how long to wait for a lock (as in read_positions.sql).  Loading is the fence: whoever holds an older
-- epoch can commit no more, and who comes with an older one than is there gets no row.  Whether a snapshot of state is open
-- is for people: of a transaction that the lock waited for it does not know, the next commit does.
WITH bounded AS MATERIALIZED (
    SELECT pg_catalog.set_config('lock_timeout', $7::text, true)
), known AS (
    INSERT INTO ds_sync.stream AS s (source, name, route, from_start)
    SELECT $1::text, $2::text, $4::text, $6::boolean FROM bounded
    ON CONFLICT (source, name, route) DO UPDATE SET from_start = s.from_start OR excluded.from_start
    RETURNING s.stream_id, s.from_start, s.gone
), loaded AS (
    INSERT INTO ds_sync.stream_offset AS o (stream_id, epoch, owner)
    SELECT stream_id, $5::bigint, $3::text FROM known
    ON CONFLICT (stream_id) DO UPDATE
        SET epoch = excluded.epoch, owner = excluded.owner, updated_at = clock_timestamp()
        WHERE o.epoch <= excluded.epoch
    RETURNING o.stream_id, o.epoch, o.generation, o.ds_offset, o.skip, o.next_seq, o.closed
)
SELECT l.stream_id, l.epoch, l.generation, l.ds_offset, l.skip, l.next_seq, l.closed, k.from_start, k.gone,
       t.snapshot_seq IS NOT NULL
FROM loaded l JOIN known k USING (stream_id)
LEFT JOIN ds_sync.state_stream t ON t.stream_id = l.stream_id AND t.generation = l.generation
