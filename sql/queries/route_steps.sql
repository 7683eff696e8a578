-- The statements that a route's table still needs: all of it when there is none, the partitions that are
-- missing when it is laid out as a list.  Statements of one batch are one transaction.  Parameters as
-- route_check.sql has them, and $12 prefixes of the list, $13 where each of them ends.
WITH target AS (
    SELECT format('%I.%I', $1::text, $2::text) AS quoted, to_regnamespace(quote_ident($1::text)) AS schema_oid,
           to_regclass(format('%I.%I', $1::text, $2::text)) AS oid
), columns (place, definition) AS (
    SELECT c.place, c.definition
    FROM (VALUES (1, 'events chunks state', 'stream_name text COLLATE "C" NOT NULL'),
                 (2, 'state', 'type text COLLATE "C" NOT NULL'),
                 (3, 'state', 'key text COLLATE "C" NOT NULL'),
                 (4, 'events chunks', 'generation integer NOT NULL'),
                 (5, 'events chunks state', 'seq bigint NOT NULL'),
                 (6, 'events chunks', 'ds_offset text COLLATE "C" NOT NULL'),
                 (7, 'events', 'event_key text'),
                 (8, 'events', 'event_type text'),
                 (9, 'events', 'operation text'),
                 (2000, 'events chunks', 'received_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()'),
                 (2001, 'events chunks', 'PRIMARY KEY (stream_name, seq)'),
                 (2001, 'state', 'PRIMARY KEY (stream_name, type, key)')) AS c (place, kinds, definition)
    WHERE c.kinds ~ ('\m' || $3::text || '\M')
    UNION ALL
    SELECT 10 + m.at, format('%I %s%s', m.name, m.type, CASE WHEN m.required THEN ' NOT NULL' ELSE '' END)
    FROM unnest($6::text[], $7::text[], $8::boolean[]) WITH ORDINALITY AS m (name, type, required, at)
    UNION ALL
    SELECT 1999, format('%I %s%s', $4::text, $5::text, CASE WHEN $3::text = 'state' THEN '' ELSE ' NOT NULL' END)
    UNION ALL
    SELECT 2002, format('CHECK (octet_length(%I) > 0)', $4::text) WHERE $3::text = 'chunks'
), leaves AS (
    SELECT l.at, format('%I.%I', $1::text, l.name) AS quoted, l.bound, l.condition, l.says
    FROM (
        SELECT r + 1 AS at,
               format('%s_p%s', $2::text, lpad(r::text, greatest(2, length(($10::integer - 1)::text)), '0')) AS name,
               format('FOR VALUES WITH (modulus %s, remainder %s)', $10::integer, r) AS bound,
               NULL AS condition, NULL AS says
        FROM generate_series(0, $10::integer - 1) AS r
        WHERE $9::text = 'hash'
        UNION ALL
        SELECT p.at::integer, format('%s_%s', $2::text, left(md5(p.prefix), 10)),
               format('FOR VALUES FROM (%L) TO (%L)', p.prefix, p.prefix_end),
               format('stream_name >= %L AND stream_name < %L', p.prefix, p.prefix_end),
               format('streams whose name begins with %s', p.prefix)
        FROM unnest($12::text[], $13::text[]) WITH ORDINALITY AS p (prefix, prefix_end, at)
        WHERE $9::text = 'list'
    ) AS l
), missing AS (
    SELECT leaves.*
    FROM leaves CROSS JOIN target t
    WHERE t.oid IS NULL
       OR ($9::text = 'list' AND leaves.bound NOT IN (
               SELECT pg_get_expr(c.relpartbound, c.oid)
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = t.oid))
), steps (batch, leaf, place, statement) AS (
    SELECT 0, 0, s.place, s.statement
    FROM target t CROSS JOIN LATERAL (
        SELECT 1 AS place,
               format('CREATE TABLE %s (%s)%s', t.quoted,
                      (SELECT string_agg(definition, ', ' ORDER BY place) FROM columns),
                      CASE $9::text WHEN 'hash' THEN ' PARTITION BY HASH (stream_name)'
                                    WHEN 'list' THEN ' PARTITION BY RANGE (stream_name)' ELSE '' END) AS statement
        UNION ALL
        SELECT 2, format('ALTER TABLE %s REPLICA IDENTITY FULL', t.quoted)
    ) AS s
    WHERE t.oid IS NULL
    UNION ALL
    SELECT CASE WHEN t.oid IS NULL THEN 0 ELSE m.at END, m.at, s.place, s.statement
    FROM missing m CROSS JOIN target t CROSS JOIN LATERAL (
        SELECT 1 AS place, format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', m.quoted, t.quoted) AS statement
        UNION ALL
        SELECT 2, format('ALTER TABLE %s REPLICA IDENTITY FULL', m.quoted)
        UNION ALL
        SELECT 3, format('ALTER TABLE %s ADD CONSTRAINT bounds CHECK (%s)', m.quoted, m.condition)
        WHERE m.condition IS NOT NULL
        UNION ALL
        SELECT 4, format('COMMENT ON TABLE %s IS %L', m.quoted, m.says) WHERE m.says IS NOT NULL
        UNION ALL
        SELECT 5, format('ALTER TABLE %s ATTACH PARTITION %s %s', t.quoted, m.quoted, m.bound)
        UNION ALL
        SELECT 6, format('ALTER TABLE %s DROP CONSTRAINT bounds', m.quoted) WHERE m.condition IS NOT NULL
    ) AS s
    UNION ALL
    SELECT 0, 1000000, s.place, s.statement
    FROM target t CROSS JOIN LATERAL (
        SELECT 1 AS place, format('GRANT USAGE ON SCHEMA %I TO %s', $1::text, g.role) AS statement
        FROM (VALUES ('ds_sync_writer', true), ('ds_sync_reader', $11::boolean)) AS g (role, needed)
        WHERE g.needed AND NOT has_schema_privilege(g.role, t.schema_oid, 'USAGE')
        UNION ALL
        SELECT 2, format('GRANT SELECT, INSERT%s ON %s TO ds_sync_writer',
                         CASE $3::text WHEN 'state' THEN ', UPDATE, DELETE' ELSE '' END, t.quoted)
        UNION ALL
        SELECT 3, format('GRANT SELECT ON %s TO ds_sync_reader', t.quoted) WHERE $11::boolean
        UNION ALL
        SELECT 4, format('ALTER PUBLICATION electric_publication_default ADD TABLE %s', t.quoted) WHERE $11::boolean
    ) AS s
    WHERE t.oid IS NULL
)
SELECT batch, statement FROM steps ORDER BY batch, leaf, place
