-- $1 instance, $2 when it started, $3 lease in ms, $4 how many.  Takes free partitions; the epoch rises above
-- that of every stream, so that loading a position with it shuts out whoever held it before.
WITH free AS (
    SELECT p.partition_no FROM ds_sync.work_partition p
    WHERE (p.lease_until IS NULL OR p.lease_until < clock_timestamp()
           OR p.lease_until > clock_timestamp() + interval '10 minutes')
      AND EXISTS (SELECT FROM ds_sync.instance i
                  WHERE i.instance = $1::text AND extract(epoch FROM i.started_at) = $2::numeric)
    ORDER BY p.partition_no
    LIMIT $4::bigint
    FOR UPDATE OF p SKIP LOCKED
), newest AS (
    SELECT coalesce(max(epoch), 0) AS epoch FROM ds_sync.stream_offset
)
UPDATE ds_sync.work_partition p
SET owner = $1::text, epoch = greatest(p.epoch, newest.epoch) + 1,
    lease_until = clock_timestamp() + $3::bigint * interval '1 ms'
FROM free, newest
WHERE p.partition_no = free.partition_no
RETURNING p.partition_no, p.epoch
