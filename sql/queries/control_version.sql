-- $1 instance.  What moves when there is something to look at; and whether what the instance said of routes
-- is not there although the instance is: it has just joined, or was forgotten meanwhile.
SELECT c.version,
       EXISTS (SELECT FROM ds_sync.instance i WHERE i.instance = $1::text)
           AND NOT EXISTS (SELECT FROM ds_sync.route_instance s WHERE s.instance = $1::text)
FROM ds_sync.control c
