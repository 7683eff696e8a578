-- $1 name of a removed route: what of it is left.
SELECT r.spec::text,
       (SELECT count(*) FROM ds_sync.stream s WHERE s.route = r.name),
       (SELECT count(*) FROM ds_sync.dead_letter d JOIN ds_sync.stream s USING (stream_id)
        WHERE s.route = r.name)
FROM ds_sync.route_removed r
WHERE r.name = $1::text
