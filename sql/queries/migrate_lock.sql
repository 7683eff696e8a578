SELECT pg_advisory_xact_lock(hashtextextended('ds_sync.migrate', 0))
