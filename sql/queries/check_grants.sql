-- What this role may not do and syncd does: all that ds_sync_writer was ever granted, what loading
-- needs in any case, and what the tables of routes need; then the tables of routes that are missing.
WITH target AS (
    SELECT route.name, route.spec ->> 'table' AS declared,
           to_regclass(format('%I.%I', split_part(route.spec ->> 'table', '.', 1),
                              split_part(route.spec ->> 'table', '.', 2))) AS relation,
           route.spec ->> 'as' = 'state' AS is_state
    FROM ds_sync.route AS route
), needed AS (
    SELECT class.oid::regclass AS relation, acl.privilege_type AS privilege
    FROM pg_class AS class
    CROSS JOIN aclexplode(class.relacl) AS acl
    JOIN pg_roles AS writer ON writer.oid = acl.grantee AND writer.rolname = 'ds_sync_writer'
    WHERE class.relnamespace = 'ds_sync'::regnamespace
    UNION
    SELECT to_regclass('ds_sync.' || name), privilege
    FROM (VALUES ('session_events', 'INSERT'), ('stream_chunks', 'INSERT'), ('dead_letter', 'INSERT'),
                 ('stream', 'INSERT'), ('stream', 'UPDATE'), ('stream_offset', 'SELECT'),
                 ('stream_offset', 'INSERT'), ('stream_offset', 'UPDATE'), ('electric_pad', 'UPDATE')
         ) AS always (name, privilege)
    UNION
    SELECT relation, privilege
    FROM target
    CROSS JOIN (VALUES ('SELECT', false), ('INSERT', false), ('UPDATE', true), ('DELETE', true)
         ) AS sink (privilege, of_state)
    WHERE is_state OR NOT of_state
), missing AS (
    SELECT relation::text AS relation, string_agg(privilege, ', ' ORDER BY privilege) AS privileges
    FROM needed
    WHERE relation IS NOT NULL AND NOT has_table_privilege(relation, privilege)
    GROUP BY needed.relation
)
SELECT (SELECT string_agg(privileges || ' on ' || relation, ', ' ORDER BY relation) FROM missing),
       (SELECT string_agg(declared || ' of the route ' || name, ', ' ORDER BY name)
        FROM target WHERE relation IS NULL)
