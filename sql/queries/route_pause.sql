-- $1 name, $2 whether it shall rest.  No row: there is no such route.  The answer is how it was.
WITH found AS (
    SELECT name, paused FROM ds_sync.route WHERE name = $1::text FOR UPDATE
), changed AS (
    UPDATE ds_sync.route r SET paused = $2::boolean, updated_at = clock_timestamp()
    FROM found WHERE r.name = found.name AND found.paused <> $2::boolean
    RETURNING r.name
), noted AS (
    INSERT INTO ds_sync.audit (action, target)
    SELECT CASE WHEN $2::boolean THEN 'route.pause' ELSE 'route.resume' END, name FROM changed
)
SELECT paused FROM found
