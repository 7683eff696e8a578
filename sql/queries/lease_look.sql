-- $1 lease in ms: who lives, and what is free.  A time too far ahead was written before Postgres's clock was set
-- back, and says nothing.
SELECT w.partition_count, w.hash,
       (SELECT count(*) FROM ds_sync.instance
        WHERE seen_at > clock_timestamp() - $1::bigint * interval '1 ms'
          AND seen_at < clock_timestamp() + interval '10 minutes') AS living,
       (SELECT count(*) FROM ds_sync.work_partition
        WHERE lease_until IS NULL OR lease_until < clock_timestamp()
           OR lease_until > clock_timestamp() + interval '10 minutes') AS free
FROM ds_sync.work_partitioning w
