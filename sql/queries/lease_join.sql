-- $1 instance, $2 version, $3 host, $4 pid, $5 lease in ms, $6 whether a row of that name is ours to take over,
-- $7 instances that are known to be dead, $8 the servers that it has, $9 where they are.
-- Begins an instance: its row, and whatever it and the dead ones held is free at once, but for rows that somebody has
-- locked: those are free when their lease is over.  No row: a living instance has that name.  Rows of the long dead are
-- cleared away.
WITH cleared AS (
    DELETE FROM ds_sync.instance WHERE instance IN (
        SELECT d.instance FROM ds_sync.instance d
        WHERE d.instance <> $1::text
          AND (d.instance = ANY ($7::text[]) OR d.seen_at < clock_timestamp() - interval '1 hour')
        FOR UPDATE SKIP LOCKED)
), me AS (
    INSERT INTO ds_sync.instance AS i (instance, version, host, pid, servers, server_urls)
    VALUES ($1::text, $2::text, $3::text, $4::integer, $8::text[], $9::text[])
    ON CONFLICT (instance) DO UPDATE
        SET version = excluded.version, host = excluded.host, pid = excluded.pid,
            servers = excluded.servers, server_urls = excluded.server_urls, started_at = clock_timestamp(), seen_at = clock_timestamp()
        WHERE $6::boolean OR i.seen_at < clock_timestamp() - $5::bigint * interval '1 ms'
    RETURNING extract(epoch FROM i.started_at) AS started
), left_over AS (
    SELECT p.partition_no FROM ds_sync.work_partition p
    WHERE p.owner = ANY ($7::text[] || $1::text) AND EXISTS (SELECT FROM me)
    ORDER BY p.partition_no FOR UPDATE SKIP LOCKED
), freed AS (
    UPDATE ds_sync.work_partition p SET owner = NULL, lease_until = NULL
    FROM left_over l WHERE p.partition_no = l.partition_no
)
SELECT me.started, w.partition_count, w.hash,
       (SELECT count(*) FROM ds_sync.work_partition WHERE partition_no < w.partition_count) AS present,
       (SELECT count(*) FROM ds_sync.work_partition) AS rows
FROM me, ds_sync.work_partitioning w
