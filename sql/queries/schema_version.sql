SELECT version, min_compatible FROM ds_sync.schema_version ORDER BY version DESC LIMIT 1
