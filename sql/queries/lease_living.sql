-- Who may be at work: instances that were seen lately, and whoever has a lease that is not over.
SELECT instance FROM ds_sync.instance
WHERE seen_at > clock_timestamp() - interval '5 minutes' AND seen_at < clock_timestamp() + interval '10 minutes'
UNION
SELECT owner FROM ds_sync.work_partition
WHERE owner IS NOT NULL AND lease_until > clock_timestamp()
  AND lease_until < clock_timestamp() + interval '10 minutes'
ORDER BY 1
