-- $1 instance, $2 when it started, $3 lease in ms, $4 partitions, $5 their epochs.  The sign of life and the
-- leases in one.  The row -1 says that the instance is still a member, -2 - N that the row of partition N is locked by
-- somebody, so that only its lease was not renewed; a partition that is missing is lost.
WITH me AS (
    UPDATE ds_sync.instance SET seen_at = clock_timestamp()
    WHERE instance = $1::text AND extract(epoch FROM started_at) = $2::numeric
    RETURNING instance
), held AS (
    SELECT p.partition_no
    FROM ds_sync.work_partition p
    JOIN unnest($4::integer[], $5::bigint[]) AS h (partition_no, epoch) USING (partition_no)
    WHERE p.owner = (SELECT instance FROM me) AND p.epoch = h.epoch
    ORDER BY p.partition_no FOR UPDATE OF p SKIP LOCKED
), renewed AS (
    UPDATE ds_sync.work_partition p SET lease_until = clock_timestamp() + $3::bigint * interval '1 ms'
    FROM held WHERE p.partition_no = held.partition_no
    RETURNING p.partition_no
)
SELECT -1 AS partition_no FROM me UNION ALL SELECT partition_no FROM renewed UNION ALL
SELECT -2 - p.partition_no
FROM ds_sync.work_partition p
JOIN unnest($4::integer[], $5::bigint[]) AS h (partition_no, epoch) USING (partition_no)
WHERE p.owner = (SELECT instance FROM me) AND p.epoch = h.epoch
  AND p.partition_no NOT IN (SELECT partition_no FROM held)
