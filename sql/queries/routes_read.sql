SELECT name, version, paused, spec::text FROM ds_sync.route ORDER BY name
