-- $1 instance, $2 partitions, $3 their epochs.  Rows that somebody has locked are free when their lease is over.
WITH held AS (
    SELECT p.partition_no
    FROM ds_sync.work_partition p
    JOIN unnest($2::integer[], $3::bigint[]) AS h (partition_no, epoch) USING (partition_no)
    WHERE p.owner = $1::text AND p.epoch = h.epoch
    ORDER BY p.partition_no FOR UPDATE OF p SKIP LOCKED
)
UPDATE ds_sync.work_partition p SET owner = NULL, lease_until = NULL
FROM held WHERE p.partition_no = held.partition_no
