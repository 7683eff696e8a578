-- $1: names to show, or NULL for all; $2: a route, or NULL for all.  Dead letters are counted for these streams only.
SELECT s.name,
       s.source,
       s.route,
       s.content_type,
       s.state,
       s.reason,
       o.ds_offset,
       o.skip,
       o.next_seq,
       o.generation,
       o.epoch,
       o.closed,
       o.owner,
       (SELECT count(*) FROM ds_sync.dead_letter d WHERE d.stream_id = s.stream_id) AS dead_letters,
       to_char(o.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at,
       round(extract(epoch FROM clock_timestamp() - o.updated_at) * 1000)::bigint AS age_ms
FROM ds_sync.stream s
LEFT JOIN ds_sync.stream_offset o USING (stream_id)
WHERE ($1::text[] IS NULL OR s.name = ANY ($1::text[])) AND ($2::text IS NULL OR s.route = $2::text)
ORDER BY s.source, s.name, s.route
