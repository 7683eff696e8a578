-- $1: a server.  What SYNCD_STREAMS brought from it.
SELECT name FROM ds_sync.stream WHERE route = 'default' AND source = $1::text ORDER BY name
