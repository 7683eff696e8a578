-- The declared routes, and why one is stopped (NULL: it is not).  Without a spec: the built-in one, always.  The next
-- two: since when `start: now` counts, and what time it is here, in milliseconds.  The last: whether the tables of the
-- built-in one hold rows, or did; as in table_columns.sql, one that somebody has for himself counts as written.
SELECT r.name, r.version, r.paused, r.spec::text, s.reason, (extract(epoch FROM r.applied_at) * 1000)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint, NULL
FROM ds_sync.route r
LEFT JOIN ds_sync.route_state s ON s.name = r.name AND s.version = r.version AND s.state = 'stopped'
UNION ALL
SELECT b.name, 0, false, NULL, s.reason, 0, 0, EXISTS (
    SELECT FROM (
        SELECT t.oid FROM unnest(ARRAY['ds_sync.session_events', 'ds_sync.stream_chunks']::regclass[]) AS t (oid)
        UNION ALL
        SELECT i.inhrelid FROM pg_catalog.pg_inherits i
        WHERE i.inhparent = ANY (ARRAY['ds_sync.session_events', 'ds_sync.stream_chunks']::regclass[])
    ) AS parts WHERE CASE
        WHEN parts.oid IN (
            SELECT l.relation
            FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database
            WHERE d.datname = current_database() AND l.mode = 'AccessExclusiveLock') THEN true
        ELSE pg_relation_size(parts.oid) > 0 END)
FROM (VALUES ('default')) AS b (name)
LEFT JOIN ds_sync.route_state s ON s.name = b.name AND s.state = 'stopped'
ORDER BY name
