-- $1 names or NULL for all that are stopped or failed; $2 a route, $3 a source, NULL: any.  Where each stream
-- stands; nothing is locked.
SELECT s.stream_id, s.name, s.source, s.route, s.state, s.reason, s.content_type, o.owner, o.generation,
       o.ds_offset, o.skip, o.next_seq,
       (SELECT r.spec->>'as' FROM ds_sync.route r WHERE r.name = s.route
        UNION ALL
        SELECT r.spec->>'as' FROM ds_sync.route_removed r WHERE r.name = s.route LIMIT 1)
FROM ds_sync.stream s JOIN ds_sync.stream_offset o USING (stream_id)
WHERE CASE WHEN $1::text[] IS NULL THEN s.state IN ('stopped', 'failed') ELSE s.name = ANY ($1::text[]) END
  AND ($2::text IS NULL OR s.route = $2::text) AND ($3::text IS NULL OR s.source = $3::text)
ORDER BY s.name, s.source, s.route
