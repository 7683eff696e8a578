-- $1 schema, $2 table: its columns as a sink needs them, and whether it holds rows, or did.  None: there is no such table.
-- Types of texts and of bits are without their length, and domains are the type below them: a cast to
-- varchar(5) cuts what is longer without a word, where the column itself refuses it.
-- To ask for the size of a table waits for whoever has it for himself, as VACUUM FULL: such a one counts as written.
WITH RECURSIVE t AS (
    SELECT c.oid
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p')
), parts AS (
    SELECT t.oid FROM t
    UNION ALL
    SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent = parts.oid
), w AS MATERIALIZED (
    SELECT EXISTS (
        SELECT FROM parts WHERE CASE
            WHEN parts.oid IN (
                SELECT l.relation
                FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database
                WHERE d.datname = current_database() AND l.mode = 'AccessExclusiveLock') THEN true
            ELSE pg_relation_size(parts.oid) > 0 END) AS was_written
)
SELECT a.attname,
       (WITH RECURSIVE base AS (
            SELECT b.oid, a.atttypmod AS typmod, b.typtype, b.typbasetype, b.typtypmod, b.typcategory
            FROM pg_catalog.pg_type b WHERE b.oid = a.atttypid
            UNION ALL
            SELECT b.oid, base.typtypmod, b.typtype, b.typbasetype, b.typtypmod, b.typcategory
            FROM base JOIN pg_catalog.pg_type b ON b.oid = base.typbasetype WHERE base.typtype = 'd')
        SELECT format_type(oid, CASE WHEN typcategory IN ('S', 'V', 'A') THEN -1 ELSE typmod END)
        FROM base WHERE typtype <> 'd'),
       a.attnotnull,
       a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '',
       a.attgenerated <> '' OR a.attidentity = 'a',
       w.was_written
FROM pg_catalog.pg_attribute a JOIN t ON t.oid = a.attrelid, w
WHERE a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
