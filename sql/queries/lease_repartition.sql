-- $1 how many partitions there shall be, free all of them, and with epochs above every one that was ever given: an
-- instance that still works by the old number is shut out wherever another one loads.  It is forgotten, too, and when
-- it joins again finds the new number.
WITH newest AS (
    SELECT greatest((SELECT max(epoch) FROM ds_sync.work_partition),
                    (SELECT max(epoch) FROM ds_sync.stream_offset), 0) + 1 AS epoch
), gone AS (
    DELETE FROM ds_sync.work_partition WHERE partition_no >= $1::integer
), kept AS (
    UPDATE ds_sync.work_partition SET owner = NULL, lease_until = NULL, epoch = newest.epoch
    FROM newest WHERE partition_no < $1::integer
), added AS (
    INSERT INTO ds_sync.work_partition (partition_no, epoch)
    SELECT n, newest.epoch FROM generate_series(0, $1::integer - 1) AS n, newest
    WHERE NOT EXISTS (SELECT FROM ds_sync.work_partition p WHERE p.partition_no = n)
), forgotten AS (
    DELETE FROM ds_sync.instance
), before AS (
    SELECT partition_count FROM ds_sync.work_partitioning
), noted AS (
    INSERT INTO ds_sync.audit (action, target, details)
    SELECT 'lease.repartition', 'work_partitioning',
           jsonb_build_object('before', partition_count, 'after', $1::integer)
    FROM before
)
UPDATE ds_sync.work_partitioning SET partition_count = $1::integer
RETURNING partition_count
