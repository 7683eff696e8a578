-- $1 source, $2 stream: how far every route is with it, and what the declared ones are; no position where a
-- route has never had it.
SELECT r.name, r.spec, o.ds_offset, o.closed
FROM (SELECT name, spec::text FROM ds_sync.route
      UNION ALL
      SELECT 'default', NULL) AS r (name, spec)
LEFT JOIN ds_sync.stream s ON s.source = $1::text AND s.name = $2::text AND s.route = r.name
LEFT JOIN ds_sync.stream_offset o ON o.stream_id = s.stream_id
