-- $1 instance, $2 when it started.  Ends an instance: others need not wait for its leases.
WITH me AS (
    DELETE FROM ds_sync.instance
    WHERE instance = $1::text AND extract(epoch FROM started_at) = $2::numeric
    RETURNING instance
), held AS (
    SELECT p.partition_no FROM ds_sync.work_partition p
    WHERE p.owner = (SELECT instance FROM me)
    ORDER BY p.partition_no FOR UPDATE SKIP LOCKED
)
UPDATE ds_sync.work_partition p SET owner = NULL, lease_until = NULL
FROM held WHERE p.partition_no = held.partition_no
