-- The tables that hold messages as rows or chunks: ours, and those of routes, also of removed ones.  $1: one
-- of them, as "schema.table", or NULL for all.  A row for each partition: pages, and the statements that
-- count ($1 before) and delete ($1 and $2 pages from and to, $3 before, $4 the note in ds_sync.audit).
--
-- Rows are found by their place in the file, so each page is looked at once and no index is needed.  Electric
-- 1.4.2 loses a transaction whose changes are a multiple of 100, so another change is added then.
WITH filled AS (
    SELECT 'ds_sync' AS schema_name, 'session_events' AS table_name
    UNION SELECT 'ds_sync', 'stream_chunks'
    UNION
    SELECT split_part(r.spec ->> 'table', '.', 1), split_part(r.spec ->> 'table', '.', 2)
    FROM (SELECT spec FROM ds_sync.route UNION ALL SELECT spec FROM ds_sync.route_removed) AS r
    WHERE r.spec ->> 'as' IN ('events', 'chunks')
), found AS (
    SELECT schema_name || '.' || table_name AS name, c.oid
    FROM filled JOIN pg_class c ON c.oid = to_regclass(format('%I.%I', schema_name, table_name))
    WHERE ($1::text IS NULL OR $1::text = schema_name || '.' || table_name)
      AND EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attname = 'received_at' AND a.atttypid = 'timestamptz'::regtype
                    AND NOT a.attisdropped)
), leaves AS (
    SELECT name, oid FROM found WHERE NOT EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = found.oid)
    UNION ALL
    SELECT name, p.relid FROM found CROSS JOIN pg_partition_tree(found.oid) AS p WHERE p.isleaf
)
SELECT name, pg_relation_size(l.oid) / current_setting('block_size')::bigint AS pages,
       format('SELECT count(*) FROM %I.%I WHERE received_at < $1::timestamptz', n.nspname, c.relname) AS count_sql,
       format('WITH gone AS (DELETE FROM %I.%I WHERE ctid >= $1::tid AND ctid < $2::tid '
                  'AND received_at < $3::timestamptz RETURNING 1), '
              'total AS (SELECT count(*) AS rows FROM gone), '
              'padded AS (UPDATE ds_sync.electric_pad SET counter = counter + 1 '
                  'WHERE (SELECT rows > 0 AND rows %% 100 = 0 FROM total)), '
              'noted AS (UPDATE ds_sync.audit SET details = jsonb_set(details, ''{rows}'', '
                  'to_jsonb((details ->> ''rows'')::bigint + (SELECT rows FROM total))) '
                  'WHERE audit_id = $4::bigint AND (SELECT rows > 0 FROM total)) '
              'SELECT rows FROM total', n.nspname, c.relname) AS delete_sql
FROM leaves l JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY name, c.relname
