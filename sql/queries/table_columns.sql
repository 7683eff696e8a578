-- $1 schema, $2 table: its columns as a sink needs them, and whether it ever held a row.  None: there is no such table.
-- Types of texts and of bits are without their length, and domains are the type below them: a cast to
-- varchar(5) cuts what is longer without a word, where the column itself refuses it.
WITH t AS MATERIALIZED (
    SELECT c.oid, pg_relation_size(c.oid) > 0 OR EXISTS (
        SELECT FROM pg_partition_tree(c.oid) p WHERE p.isleaf AND pg_relation_size(p.relid) > 0) AS was_written
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p')
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
       t.was_written
FROM pg_catalog.pg_attribute a JOIN t ON t.oid = a.attrelid
WHERE a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
