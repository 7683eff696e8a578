-- Instances, and whoever owns a partition without a row of its own; free partitions have no instance.
SELECT coalesce(i.instance, p.owner) AS instance,
       split_part(i.host, '/', 1) AS host, i.pid, i.version,
       coalesce(p.partitions, 0) AS partitions,
       (SELECT count(*) FROM ds_sync.stream_offset o WHERE o.owner = coalesce(i.instance, p.owner)) AS streams,
       p.lease_left_ms,
       round(extract(epoch FROM clock_timestamp() - i.seen_at) * 1000)::bigint AS seen_age_ms,
       to_char(i.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS started_at
FROM ds_sync.instance i
FULL JOIN (
    SELECT owner, count(*) AS partitions,
           round(extract(epoch FROM min(lease_until) - clock_timestamp()) * 1000)::bigint AS lease_left_ms
    FROM ds_sync.work_partition GROUP BY owner
) p ON p.owner = i.instance
ORDER BY 1 NULLS LAST
