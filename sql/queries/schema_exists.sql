SELECT to_regclass('ds_sync.schema_version') IS NOT NULL
