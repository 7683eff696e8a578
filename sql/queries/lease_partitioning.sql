SELECT partition_count, hash FROM ds_sync.work_partitioning
