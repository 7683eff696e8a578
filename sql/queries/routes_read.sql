-- The last two: since when `start: now` counts, and what time it is here, in milliseconds.
SELECT name, version, paused, spec::text, (extract(epoch FROM applied_at) * 1000)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint
FROM ds_sync.route ORDER BY name
