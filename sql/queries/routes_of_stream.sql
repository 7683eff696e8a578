-- $1 source, $2 stream: how far every route is with it.  A declared route that has never had it says only what
-- it is; the built-in one counts only if it has had it.
SELECT r.name, CASE WHEN o.stream_id IS NULL THEN r.spec END, o.ds_offset, o.closed
FROM (SELECT name, spec::text FROM ds_sync.route
      UNION ALL
      SELECT 'default', NULL) AS r (name, spec)
LEFT JOIN ds_sync.stream s ON s.source = $1::text AND s.name = $2::text AND s.route = r.name
LEFT JOIN ds_sync.stream_offset o ON o.stream_id = s.stream_id
