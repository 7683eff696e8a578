-- $1 lease in ms, $2 how long a statement may take in ms: who lives, and what is free.  A time too far ahead was written
-- before Postgres's clock was set back, and says nothing.
-- Ends sessions of writers that froze: Postgres heeds no timeout while COPY waits for its client, so that of one which
-- was stopped there, or whose machine is gone, would hold positions of streams for as long as its connection lasts.
WITH frozen AS MATERIALIZED (
    SELECT a.pid FROM pg_catalog.pg_stat_activity a
    WHERE a.datname = current_database() AND a.usename = session_user
      AND a.state = 'active' AND a.wait_event = 'ClientRead'
      AND a.query_start < clock_timestamp() - $2::bigint * interval '1 ms'
      AND EXISTS (SELECT FROM pg_catalog.pg_locks l
                  WHERE l.pid = a.pid AND l.granted AND l.relation = 'ds_sync.stream_offset'::regclass)
)
SELECT w.partition_count, w.hash,
       (SELECT count(*) FROM ds_sync.instance
        WHERE seen_at > clock_timestamp() - $1::bigint * interval '1 ms'
          AND seen_at < clock_timestamp() + interval '10 minutes') AS living,
       (SELECT count(*) FROM ds_sync.work_partition
        WHERE lease_until IS NULL OR lease_until < clock_timestamp()
           OR lease_until > clock_timestamp() + interval '10 minutes') AS free,
       (SELECT count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid)) FROM frozen) AS ended
FROM ds_sync.work_partitioning w
