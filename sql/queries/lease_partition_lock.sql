-- Nobody joins, renews or claims until this transaction ends.
LOCK TABLE ds_sync.instance, ds_sync.work_partition, ds_sync.work_partitioning IN EXCLUSIVE MODE
