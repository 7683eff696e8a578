SELECT version, min_compatible, name, applied_by,
       to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS applied_at
FROM ds_sync.schema_version
ORDER BY version
