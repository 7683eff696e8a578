-- $1 a server: the instances that live and say which servers they have, and whether this is one of them.
SELECT i.instance, $1::text = ANY (i.servers) AS has, array_to_string(i.servers, ', ') AS servers
FROM ds_sync.instance i
WHERE i.servers IS NOT NULL AND i.seen_at > clock_timestamp() - interval '5 minutes'
  AND i.seen_at < clock_timestamp() + interval '10 minutes'
ORDER BY 2 DESC, 1
