-- Whether there is a stream of the name $1 in Postgres, and whether a route of the name $2 was ever declared or has
-- streams; NULL: not asked, so true.
SELECT $1::text IS NULL OR EXISTS (SELECT FROM ds_sync.stream WHERE name = $1::text),
       $2::text IS NULL OR $2::text = 'default'
           OR EXISTS (SELECT FROM ds_sync.route WHERE name = $2::text)
           OR EXISTS (SELECT FROM ds_sync.route_removed WHERE name = $2::text)
           OR EXISTS (SELECT FROM ds_sync.stream WHERE route = $2::text)
