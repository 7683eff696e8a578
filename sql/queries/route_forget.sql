-- $1 name of a removed route: its positions and dead letters go, and with them what is known of its
-- streams.  References are checked at the end of the statement.
WITH forgotten AS (
    DELETE FROM ds_sync.route_removed WHERE name = $1::text RETURNING name, spec
), known AS (
    SELECT stream_id FROM ds_sync.stream JOIN forgotten ON route = forgotten.name
), letters AS (
    DELETE FROM ds_sync.dead_letter USING known WHERE dead_letter.stream_id = known.stream_id
    RETURNING 1
), positions AS (
    DELETE FROM ds_sync.stream_offset USING known WHERE stream_offset.stream_id = known.stream_id
    RETURNING 1
), streams AS (
    DELETE FROM ds_sync.stream USING known WHERE stream.stream_id = known.stream_id
    RETURNING 1
), noted AS (
    INSERT INTO ds_sync.audit (action, target, details)
    SELECT 'route.forget', name,
           jsonb_build_object('before', spec, 'streams', (SELECT count(*) FROM streams),
                              'positions', (SELECT count(*) FROM positions),
                              'dead_letters', (SELECT count(*) FROM letters))
    FROM forgotten
)
SELECT name FROM forgotten
