-- $1: milliseconds.  One at a time makes tables; whoever waits for a lock on a table holds up its writers,
-- so it waits briefly.
SELECT set_config('lock_timeout', $1::text, true), pg_advisory_xact_lock(hashtextextended('ds_sync.route', 0))
