SELECT partition_no, owner, epoch,
       round(extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint AS lease_left_ms
FROM ds_sync.work_partition
ORDER BY partition_no
