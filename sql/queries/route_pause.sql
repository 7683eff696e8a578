-- $1 name, $2 whether it shall rest.  No row: there is no such route.  The answer is how it was: paused, or
-- stopped by an instance, which ends with it unless it shall rest; and whether it failed.  The update makes
-- instances look again, whatever it changes.
WITH declared AS (
    SELECT name, paused FROM ds_sync.route WHERE name = $1::text FOR UPDATE
), found AS (
    SELECT name, paused FROM declared
    UNION ALL
    SELECT name, false FROM ds_sync.route_state
    WHERE name = $1::text AND name = 'default' AND state IN ('stopped', 'failed') AND NOT $2::boolean
), cleared AS (
    DELETE FROM ds_sync.route_state s USING found
    WHERE s.name = found.name AND s.state = 'stopped' AND NOT $2::boolean
    RETURNING s.name
), changed AS (
    UPDATE ds_sync.route r SET paused = $2::boolean, updated_at = clock_timestamp()
    FROM found WHERE r.name = found.name AND found.paused <> $2::boolean
    RETURNING r.name
), noted AS (
    INSERT INTO ds_sync.audit (action, target)
    SELECT CASE WHEN $2::boolean THEN 'route.pause' ELSE 'route.resume' END, name
    FROM (SELECT name FROM changed UNION SELECT name FROM cleared) AS either
)
SELECT found.paused OR cleared.name IS NOT NULL,
       EXISTS (SELECT FROM ds_sync.route_instance s JOIN ds_sync.route r USING (name, version)
               WHERE s.name = found.name AND s.state = 'failed')
       OR EXISTS (SELECT FROM ds_sync.route_state s
                  WHERE s.name = found.name AND s.name = 'default' AND s.state = 'failed')
FROM found LEFT JOIN cleared USING (name)
