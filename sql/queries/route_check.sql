-- What is wrong with a route's table, and what mends it; no rows when all is well or the table is not
-- there yet.  $1 schema, $2 table, $3 kind, $4 payload column, $5 its type, $6 mapped columns, $7 their
-- types, $8 which of them are required, $9 layout, $10 number of hash partitions, $11 whether it is
-- published.
WITH target AS (
    SELECT format('%I.%I', $1::text, $2::text) AS quoted, to_regnamespace(quote_ident($1::text)) AS schema_oid,
           to_regclass(format('%I.%I', $1::text, $2::text)) AS oid
), rel AS (
    SELECT c.oid, c.relkind, c.relpersistence, t.quoted,
           CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END AS part_key
    FROM target t JOIN pg_class c ON c.oid = t.oid
), tree AS (
    SELECT p.relid::oid AS oid, p.level, p.isleaf, c.relreplident, p.relid::regclass::text AS quoted,
           pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM rel CROSS JOIN pg_partition_tree(rel.oid) AS p JOIN pg_class c ON c.oid = p.relid
    WHERE rel.relkind = 'p'
    UNION ALL
    SELECT rel.oid, 0, true, c.relreplident, rel.quoted, NULL
    FROM rel JOIN pg_class c USING (oid) WHERE rel.relkind = 'r'
), wanted (name, type, mandatory, may_be_null, mapped) AS (
    SELECT v.name, v.type, v.mandatory, v.may_be_null, false
    FROM (VALUES ('events chunks state', 'stream_name', 'text', true, false),
                 ('events chunks', 'generation', 'integer', true, false),
                 ('events chunks state', 'seq', 'bigint', true, false),
                 ('events chunks', 'ds_offset', 'text', true, false),
                 ('events', 'event_key', 'text', false, true),
                 ('events', 'event_type', 'text', false, true),
                 ('events', 'operation', 'text', false, true),
                 ('state', 'type', 'text', true, false),
                 ('state', 'key', 'text', true, false)) AS v (kinds, name, type, mandatory, may_be_null)
    WHERE v.kinds ~ ('\m' || $3::text || '\M')
    UNION ALL
    SELECT $4::text, $5::text, true, false, false
    UNION ALL
    SELECT m.name, m.type, true, NOT m.required, true
    FROM unnest($6::text[], $7::text[], $8::boolean[]) AS m (name, type, required)
), present AS (
    SELECT a.attname::text AS name, a.atttypid, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
           a.atthasdef OR a.attidentity <> '' AS fills_itself,
           a.attgenerated <> '' OR a.attidentity = 'a' AS closed, c.collname
    FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid LEFT JOIN pg_collation c ON c.oid = a.attcollation
    WHERE a.attnum > 0 AND NOT a.attisdropped
), primary_key AS (
    SELECT i.indisvalid AND i.indimmediate AS usable,
           (SELECT array_agg(a.attname::text ORDER BY k.at)
            FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, at)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) AS columns
    FROM rel JOIN pg_index i ON i.indrelid = rel.oid AND i.indisprimary
), wanted_key AS (
    SELECT CASE $3::text WHEN 'state' THEN ARRAY['stream_name', 'type', 'key']
                         ELSE ARRAY['stream_name', 'seq'] END AS columns
), layout AS (
    SELECT rel.quoted,
           CASE WHEN rel.relkind = 'r' THEN 'none'
                WHEN rel.part_key = 'HASH (stream_name)' THEN 'hash'
                WHEN rel.part_key = 'RANGE (stream_name)' THEN 'list'
                ELSE 'other' END AS found,
           coalesce(rel.part_key, 'not partitioned') AS says,
           (SELECT count(*) FROM tree WHERE level = 1) AS leaves,
           (SELECT count(*) FROM tree
            JOIN generate_series(0, $10::integer - 1) AS r
              ON tree.bound = format('FOR VALUES WITH (modulus %s, remainder %s)', $10::integer, r))
               AS hash_leaves
    FROM rel WHERE rel.relkind IN ('r', 'p')
), publication AS (
    SELECT p.pubviaroot,
           EXISTS (SELECT FROM pg_publication_tables t
                   WHERE t.pubname = p.pubname AND t.schemaname = $1::text AND t.tablename = $2::text) AS has_it
    FROM pg_publication p WHERE p.pubname = 'electric_publication_default'
), problems (place, problem, mend) AS (
    SELECT 1, format('there is no schema %I', $1::text),
           format('CREATE SCHEMA %1$I; GRANT USAGE ON SCHEMA %1$I TO ds_sync_writer, ds_sync_reader', $1::text)
    FROM target WHERE schema_oid IS NULL
    UNION ALL
    SELECT 2, format('column %I: Postgres has no type %s that a column can have', w.name, w.type),
           'correct its "type" in the route'
    FROM wanted w LEFT JOIN pg_type t ON t.oid = to_regtype(w.type)
    WHERE t.oid IS NULL OR t.typtype = 'p'
    UNION ALL
    SELECT 3, format('%s is no table', rel.quoted), 'name another "table" in the route'
    FROM rel WHERE relkind NOT IN ('r', 'p')
    UNION ALL
    SELECT 4, format('%s is not logged: a crash of Postgres would empty it while the positions stay', quoted),
           format('ALTER TABLE %s SET LOGGED', quoted)
    FROM rel WHERE relkind = 'r' AND relpersistence <> 'p'
    UNION ALL
    SELECT 5, format('column %I is missing', w.name),
           format('ALTER TABLE %s ADD COLUMN %I %s%s', rel.quoted, w.name, w.type,
                  CASE WHEN w.mapped OR w.name = $4::text THEN '' ELSE ' NOT NULL' END)
    FROM rel CROSS JOIN wanted w
    WHERE w.mandatory AND rel.relkind IN ('r', 'p') AND w.name NOT IN (SELECT name FROM present)
    UNION ALL
    SELECT 6, format('column %I is %s, and the route writes %s', w.name, p.type, w.type),
           CASE WHEN w.mapped OR w.name = $4::text
                THEN format('set its "type" in the route to "%s", or ', p.type) ELSE '' END ||
           format('ALTER TABLE %s ALTER COLUMN %I TYPE %s USING %2$I::%3$s', rel.quoted, w.name, w.type)
    FROM rel CROSS JOIN wanted w JOIN present p USING (name)
    WHERE p.atttypid <> to_regtype(w.type)
    UNION ALL
    SELECT 7, format('column %I is generated, so nobody can write it', p.name),
           format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION', rel.quoted, p.name)
    FROM rel CROSS JOIN present p JOIN wanted w USING (name) WHERE p.closed
    UNION ALL
    SELECT 8, format('column %I is NOT NULL, and the route may write NULL there', p.name),
           CASE WHEN w.mapped THEN 'set "required" to true in the route, or ' ELSE '' END ||
           format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', rel.quoted, p.name)
    FROM rel CROSS JOIN present p JOIN wanted w USING (name) WHERE p.attnotnull AND w.may_be_null
    UNION ALL
    SELECT 9, format('column %I is NOT NULL without a default, and the route does not write it', p.name),
           format('add it to "columns" in the route, or ALTER TABLE %s ALTER COLUMN %I SET DEFAULT ...',
                  rel.quoted, p.name)
    FROM rel CROSS JOIN present p
    WHERE p.attnotnull AND NOT p.fills_itself AND NOT p.closed AND p.name NOT IN (SELECT name FROM wanted)
    UNION ALL
    SELECT 10, format('the primary key is %s and must be (%s), checked at once',
                      coalesce('(' || array_to_string((SELECT columns FROM primary_key), ', ') || ')', 'missing'),
                      array_to_string(k.columns, ', ')),
           format('ALTER TABLE %s ADD PRIMARY KEY (%s)', rel.quoted, array_to_string(k.columns, ', '))
    FROM rel CROSS JOIN wanted_key k
    WHERE rel.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM primary_key p WHERE p.usable AND p.columns = k.columns)
    UNION ALL
    SELECT 11, format('its layout is %s%s, and the route says %s', l.says,
                      CASE WHEN l.found <> 'none' THEN format(' in %s partitions', l.leaves) ELSE '' END,
                      CASE $9::text WHEN 'none' THEN '"none"'
                                    WHEN 'hash' THEN format('{"hash": %s}', $10::integer)
                                    ELSE '{"list": ...}' END),
           CASE l.found WHEN 'none' THEN 'set "layout" to "none"'
                        WHEN 'hash' THEN format('set "layout" to {"hash": %s}', l.leaves)
                        WHEN 'list' THEN 'set "layout" to {"list": [...]} with the prefixes of its partitions'
                        ELSE 'name a "table" that is partitioned by HASH (stream_name) or not at all' END ||
           ', or name a "table" that does not exist, which is then made: a layout cannot be changed in place'
    FROM layout l
    WHERE l.found <> $9::text
       OR (l.found = 'hash' AND (l.leaves <> $10::integer OR l.hash_leaves <> $10::integer))
    UNION ALL
    SELECT 12, format('column stream_name has the collation %I, and a list of prefixes needs "C"', p.collname),
           'name a "table" that does not exist, which is then made'
    FROM present p CROSS JOIN layout l
    WHERE l.found = 'list' AND $9::text = 'list' AND p.name = 'stream_name' AND p.collname NOT IN ('C', 'POSIX')
    UNION ALL
    SELECT 13, format('%s is a partition of a partition, which Electric does not see', quoted),
           'keep to one level of partitions'
    FROM tree WHERE level > 1
    UNION ALL
    SELECT 14, format('%s has not REPLICA IDENTITY FULL (it does not cascade to partitions)', quoted),
           format('ALTER TABLE %s REPLICA IDENTITY FULL', quoted)
    FROM tree WHERE $11::boolean AND relreplident <> 'f'
    UNION ALL
    SELECT 15, 'there is no publication electric_publication_default',
           'CREATE PUBLICATION electric_publication_default WITH (publish_via_partition_root = true), or set '
           '"publish" to false in the route'
    FROM target WHERE $11::boolean AND NOT EXISTS (SELECT FROM publication)
    UNION ALL
    SELECT 16, 'the publication electric_publication_default names partitions instead of their table',
           'ALTER PUBLICATION electric_publication_default SET (publish_via_partition_root = true)'
    FROM publication WHERE $11::boolean AND $9::text <> 'none' AND NOT pubviaroot
    UNION ALL
    SELECT 17, 'it is not published',
           format('ALTER PUBLICATION electric_publication_default ADD TABLE %s, or set "publish" to false in the '
                  'route', rel.quoted)
    FROM rel CROSS JOIN publication p WHERE $11::boolean AND NOT p.has_it AND (p.pubviaroot OR rel.relkind = 'r')
    UNION ALL
    SELECT 18, 'it is published, and the route says that it is not',
           format('ALTER PUBLICATION electric_publication_default DROP TABLE %s, or set "publish" to true in the '
                  'route', rel.quoted)
    FROM rel CROSS JOIN publication p WHERE NOT $11::boolean AND p.has_it
    UNION ALL
    SELECT 19, format('%s may not %s it', g.role, string_agg(g.privilege, ', ' ORDER BY g.privilege)),
           format('GRANT %s ON %s TO %s', string_agg(g.privilege, ', ' ORDER BY g.privilege), rel.quoted, g.role)
    FROM rel CROSS JOIN (VALUES ('ds_sync_writer', 'SELECT', true), ('ds_sync_writer', 'INSERT', true),
                                ('ds_sync_writer', 'UPDATE', $3::text = 'state'),
                                ('ds_sync_writer', 'DELETE', $3::text = 'state'),
                                ('ds_sync_reader', 'SELECT', $11::boolean)) AS g (role, privilege, needed)
    WHERE g.needed AND NOT has_table_privilege(g.role, rel.oid, g.privilege)
    GROUP BY rel.quoted, g.role
    UNION ALL
    SELECT 20, format('%s may not use the schema %I', g.role, $1::text),
           format('GRANT USAGE ON SCHEMA %I TO %s', $1::text, g.role)
    FROM rel JOIN target t USING (oid)
    CROSS JOIN (VALUES ('ds_sync_writer', true), ('ds_sync_reader', $11::boolean)) AS g (role, needed)
    WHERE g.needed AND NOT has_schema_privilege(g.role, t.schema_oid, 'USAGE')
)
SELECT problem, mend FROM problems ORDER BY place, problem
