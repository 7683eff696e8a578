-- $1: names to show, or NULL for all; $2: a route, or NULL for all.  Dead letters are counted for these streams only.
-- The reason is syncd's; of a stream that has none, what else keeps it from going on, or its rows from being seen.
SELECT s.name,
       s.source,
       s.route,
       s.content_type,
       s.state,
       CASE WHEN s.reason IS NOT NULL THEN s.reason
            WHEN r.state = 'stopped' THEN 'its route is stopped, and goes on with dsctl route resume: ' || r.reason
            WHEN d.paused THEN 'its route is paused'
            WHEN d.name IS NULL AND s.route <> 'default' THEN 'its route is removed'
            WHEN t.opened_seq IS NOT NULL THEN
                'a snapshot is open since seq ' || t.opened_seq || ': until its end the table holds the set of before'
       END AS reason,
       o.ds_offset,
       o.skip,
       o.next_seq,
       o.generation,
       o.epoch,
       o.closed,
       o.owner,
       (SELECT count(*) FROM ds_sync.dead_letter d WHERE d.stream_id = s.stream_id) AS dead_letters,
       to_char(o.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at,
       round(extract(epoch FROM clock_timestamp() - o.updated_at) * 1000)::bigint AS age_ms,
       d.name IS NULL AND s.route <> 'default' AS removed
FROM ds_sync.stream s
LEFT JOIN ds_sync.stream_offset o USING (stream_id)
LEFT JOIN ds_sync.route d ON d.name = s.route
LEFT JOIN ds_sync.route_state r ON r.name = s.route AND r.version = coalesce(d.version, 0)
LEFT JOIN ds_sync.state_stream t ON t.stream_id = s.stream_id AND t.generation = o.generation
WHERE ($1::text[] IS NULL OR s.name = ANY ($1::text[])) AND ($2::text IS NULL OR s.route = $2::text)
ORDER BY s.source, s.name, s.route
